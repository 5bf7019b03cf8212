"""k-means, codes and what distances to codes are."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.retrieval.indexes import FlatIndex, InvertedFileIndex, Metric
from teachllm.stack.retrieval.indexes.kmeans import kmeans, nearest_centroids, nearest_centroids_readable
from teachllm.stack.retrieval.indexes.product_quantizer import ProductQuantizer, adc_search
from teachllm.stack.retrieval.indexes.rotation import learn_rotation
from teachllm.stack.retrieval.indexes.scalar_quantizer import ScalarQuantizer


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (7, 3, 5), (130, 17, 64), (65, 8, 200)])
def test_the_nearest_centroid_is_the_nearest(n: int, d: int, k: int) -> None:
    """With whole numbers, ties are many and exact: the first of them is taken."""
    rng = np.random.default_rng(n)
    points = rng.integers(-3, 4, size=(n, d)).astype(np.float32)
    centroids = rng.integers(-3, 4, size=(k, d)).astype(np.float32)
    np.testing.assert_array_equal(
        nearest_centroids(points, centroids), nearest_centroids_readable(points, centroids)
    )


def test_kmeans_finds_clusters_that_are_there_and_leaves_no_cell_empty() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(8, 6)) * 20
    points = (centres.repeat(60, 0) + rng.normal(size=(480, 6))).astype(np.float32)
    centroids = kmeans(points, 32, seed=3, n_iterations=12)
    assert set(nearest_centroids(points, centroids)) == set(range(32))
    error = ((points - centroids[nearest_centroids(points, centroids)]) ** 2).sum(1).mean()
    assert error < 6  # 6 is that of the 8 true centres
    np.testing.assert_array_equal(centroids, kmeans(points, 32, seed=3, n_iterations=12))
    duplicates = np.repeat(points[:2], 40, axis=0)
    assert np.isfinite(kmeans(duplicates, 8, seed=0)).all()


def test_a_scalar_code_is_half_a_step_away_at_most() -> None:
    vectors = normal(500, 5, seed=2) * np.array([1, 10, 0.1, 3, 0], dtype=np.float32)
    quantizer = ScalarQuantizer(5)
    quantizer.train(vectors)
    step = (vectors.max(0) - vectors.min(0)) / 255
    error = np.abs(quantizer.decode(quantizer.encode(vectors)) - vectors)
    assert (error <= step / 2 * 1.001 + 1e-7).all()
    np.testing.assert_allclose((error**2).mean(0)[:4], step[:4] ** 2 / 12, rtol=0.2)
    assert quantizer.encode(np.full((1, 5), 1e6, dtype=np.float32))[0, 0] == 255  # beyond the range: its end


def test_asymmetric_distances_are_those_to_what_the_codes_stand_for() -> None:
    vectors, queries = normal(600, 24, seed=3), normal(5, 24, seed=4)
    quantizer = ProductQuantizer(24, 6)
    quantizer.train(vectors, n_iterations=3)
    codes = quantizer.encode(vectors)
    decoded = quantizer.decode(codes)
    index = FlatIndex(24, codes="PQ6")
    index._storage.quantizer.codebooks = quantizer.codebooks  # pyright: ignore[reportAttributeAccessIssue]
    index.add(vectors)
    hits = index.search(queries, 7)
    for query, ids, scores in zip(queries, hits.ids, hits.scores, strict=True):
        distances = ((decoded - query) ** 2).sum(1)
        numbers, found = adc_search(query, codes, quantizer.codebooks, 7)  # pyright: ignore[reportArgumentType]
        np.testing.assert_allclose(found, np.sort(distances)[:7], rtol=1e-5)
        np.testing.assert_array_equal(numbers, ids)
        np.testing.assert_allclose(-scores, found, rtol=1e-5)
    with pytest.raises(ValueError, match="6 codebooks of 4 numbers do not fit a query of 20"):
        adc_search(queries[0, :20], codes, quantizer.codebooks, 1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
def test_codes_of_residuals_give_the_distance_to_centroid_and_residual(metric: Metric) -> None:
    vectors, queries = normal(900, 16, seed=5) + 3, normal(5, 16, seed=6) + 3
    index = InvertedFileIndex(16, metric, n_cells=4, codes="PQ4", n_probe=4)
    index.train(vectors)
    index.add(vectors)
    quantizer, codes = index._storage.quantizer, index._storage.codes.array  # pyright: ignore[reportAttributeAccessIssue]
    cells = np.repeat(np.arange(4), index.cell_sizes)
    decoded = quantizer.decode(codes) + index._centroids[cells][:, :16]  # pyright: ignore[reportOptionalSubscript]
    hits = index.search(queries, 900)
    for query, ids, scores in zip(queries, hits.ids, hits.scores, strict=True):
        expected = -((decoded - query) ** 2).sum(1) if metric == "l2" else decoded @ query
        by_id = dict(zip(index.ids.tolist(), expected.tolist(), strict=True))
        np.testing.assert_allclose(scores, [by_id[one] for one in ids.tolist()], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
def test_distances_to_bytes_are_those_to_what_they_stand_for(metric: Metric) -> None:
    vectors, queries = normal(203, 13, seed=7), normal(4, 13, seed=8)
    index = FlatIndex(13, metric, codes="SQ8")
    index.train(vectors)
    index.add(vectors)
    decoded = index._storage.quantizer.decode(index._storage.codes.array)[:, :13]  # pyright: ignore[reportAttributeAccessIssue]
    hits = index.search(queries, 203)
    for query, ids, scores in zip(queries, hits.ids, hits.scores, strict=True):
        expected = -((decoded - query) ** 2).sum(1) if metric == "l2" else decoded @ query
        np.testing.assert_allclose(scores, expected[ids], rtol=1e-4, atol=1e-4)


def test_residuals_lose_less_than_vectors_and_a_rotation_less_than_none() -> None:
    rng = np.random.default_rng(9)
    spread = np.geomspace(4, 0.05, 16)  # the first part would get nearly all of the variance
    vectors = (
        (rng.normal(size=(16, 16)) * 3)[rng.integers(16, size=1500)] + rng.normal(size=(1500, 16)) * spread
    ).astype(np.float32)

    def error(x: np.ndarray) -> float:
        quantizer = ProductQuantizer(16, 4)
        quantizer.train(x, n_iterations=6)
        return float(((quantizer.decode(quantizer.encode(x)) - x) ** 2).sum(1).mean())

    centroids = kmeans(vectors, 16)
    plain = error(vectors)
    assert error(vectors - centroids[nearest_centroids(vectors, centroids)]) < 0.8 * plain
    rotation = learn_rotation(vectors, 4)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(16), atol=1e-5)
    assert error(vectors @ rotation) < 0.9 * plain

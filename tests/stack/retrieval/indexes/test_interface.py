"""What every index promises: exactness where it is exact, errors that say what to do, ids, filters, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from teachllm.stack.retrieval.indexes import (
    HNSWIndex,
    InvertedFileIndex,
    Metric,
    VectorIndex,
    make_index,
    recall,
)
from teachllm.stack.retrieval.saved_index import SavedIndexError

EVERY = ("Flat", "SQ8", "PQ4", "IVF8,Flat", "IVF8,SQ8", "IVF8,PQ4", "OPQ4,IVF8,PQ4", "HNSW8", "Vamana16")
METRICS: tuple[Metric, ...] = ("l2", "inner_product", "cosine")


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def true_scores(vectors: np.ndarray, queries: np.ndarray, metric: Metric) -> np.ndarray:
    """In float64, by definition."""
    x, q = vectors.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        x, q = x / np.linalg.norm(x, axis=1, keepdims=True), q / np.linalg.norm(q, axis=1, keepdims=True)
    return -((q[:, None] - x[None]) ** 2).sum(-1) if metric == "l2" else q @ x.T


def filled(
    description: str, vectors: np.ndarray, metric: Metric = "l2", ids: np.ndarray | None = None
) -> VectorIndex:
    index = make_index(description, vectors.shape[1], metric)
    index.train(vectors)
    index.add(vectors, ids)
    if isinstance(index, InvertedFileIndex):
        index.n_probe = index.n_cells
    return index


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("description", ["Flat", "IVF8,Flat", "HNSW8", "Vamana16"])
def test_full_vectors_give_exact_scores_in_order(description: str, metric: Metric) -> None:
    vectors, queries = normal(301, 19, seed=1), normal(7, 19, seed=2)
    ids = np.random.default_rng(3).permutation(10_000)[:301]
    index = filled(description, vectors, metric, ids)
    if description in ("HNSW8", "Vamana16"):
        index.ef_search = 301  # pyright: ignore[reportAttributeAccessIssue]
    hits = index.search(queries, 10)
    scores = true_scores(vectors, queries, metric)
    order = np.lexsort((np.broadcast_to(ids, scores.shape), -scores))[:, :10]
    np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, order, 1), rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(hits.ids, ids[order])


def test_equal_scores_are_in_the_order_of_their_ids() -> None:
    vectors = np.zeros((5, 3), dtype=np.float32)
    index = filled("Flat", vectors, ids=np.array([40, 7, 99, 1, 12]))
    assert index.search(vectors[:1], 5).ids.tolist() == [[1, 7, 12, 40, 99]]


@pytest.mark.parametrize("description", EVERY)
def test_files_filters_and_removing(description: str, tmp_path: Path) -> None:
    vectors, queries = normal(300, 16, seed=4), normal(6, 16, seed=5)
    ids = np.arange(300) * 3
    index = filled(description, vectors, ids=ids)
    hits = index.search(queries, 8)
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    index.save(tmp_path / "index")
    opened = VectorIndex.open(tmp_path / "index")
    np.testing.assert_array_equal(opened.search(queries, 8).ids, hits.ids)
    np.testing.assert_array_equal(opened.search(queries, 8).scores, hits.scores)
    assert opened.n_bytes == index.n_bytes

    if not description.startswith("Vamana"):
        few = opened.search(queries, 4, filter=[3, 30, 299 * 3, 1])  # 1 is no id
        assert all(sorted(row[:3]) == [3, 30, 897] and row[3] == -1 for row in few.ids.tolist())
        assert np.isneginf(few.scores[:, 3]).all()
        half = ids[ids % 2 == 0]
        assert set(opened.search(queries, 8, filter=half).ids.ravel().tolist()) <= set(half.tolist())
        assert (opened.search(queries, 2, filter=[]).ids == -1).all()

    gone = hits.ids[:, 0]
    assert opened.remove([*gone.tolist(), 5]) == len(set(gone.tolist()))
    assert len(opened) == 300 - len(set(gone.tolist()))
    assert not set(gone.tolist()) & set(opened.search(queries, 20).ids.ravel().tolist())
    opened.add(vectors[:2], ids=[5, 100_000])
    assert opened.search(vectors[:2], 3).ids[1].tolist().count(100_000) == 1
    np.testing.assert_array_equal(index.search(queries, 8).ids, hits.ids)  # the file's changes are its own


@pytest.mark.parametrize("description", ["IVF8,Flat", "HNSW8"])
def test_threads_find_the_same(description: str) -> None:
    vectors, queries = normal(600, 16, seed=6), normal(50, 16, seed=7)
    index = filled(description, vectors)
    alone = index.search(queries, 5)
    index.threads = 2
    np.testing.assert_array_equal(index.search(queries, 5).ids, alone.ids)


def test_errors_say_what_to_do() -> None:
    index = make_index("Flat", 4)
    vectors = normal(3, 4, seed=8)
    with pytest.raises(ValueError, match="the index is empty: add vectors"):
        index.search(vectors, 1)
    with pytest.raises(ValueError, match=r"shape \(3, 3\): this index takes \(n, 4\)"):
        index.add(vectors[:, :3])
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        index.add(vectors[0])
    broken = vectors.copy()
    broken[1, 2] = np.nan
    with pytest.raises(ValueError, match="vector number 1: it contains NaN"):
        index.add(broken)
    with pytest.raises(ValueError, match="infinity"):
        index.add(np.full((1, 4), 1e300))
    with pytest.raises(TypeError, match="numbers are expected"):
        index.add([["a", "b", "c", "d"]])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="need as many ids, and 2 were given"):
        index.add(vectors, ids=[1, 2])
    with pytest.raises(ValueError, match="id 1 was given to two"):
        index.add(vectors, ids=[1, 2, 1])
    with pytest.raises(TypeError, match="whole numbers"):
        index.add(vectors, ids=np.array([0.5, 1, 2]))
    index.add(vectors)
    assert index.ids.tolist() == [0, 1, 2]  # nothing of the failed ones was added
    with pytest.raises(ValueError, match="id 2 is in the index already"):
        index.add(vectors[:1], ids=[2])
    with pytest.raises(ValueError, match="k is 4, and the index holds 3 vectors: ask for 1 to 3"):
        index.search(vectors, 4)
    with pytest.raises(ValueError, match="k is 0"):
        index.search(vectors, 0)
    with pytest.raises(ValueError, match="train before the first add"):
        index.train(vectors)
    with pytest.raises(ValueError, match="must be trained first"):
        make_index("IVF2,Flat", 4).add(vectors)
    with pytest.raises(ValueError, match="9 centroids need at least as many vectors"):
        make_index("IVF9,Flat", 4).train(vectors)
    with pytest.raises(ValueError, match="it is zero, and has no cosine"):
        make_index("Flat", 4, "cosine").add(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="3 parts do not divide vectors of 4 numbers evenly: take 1, 2, 4"):
        make_index("PQ3", 4)
    with pytest.raises(ValueError, match="no index is called 'IVF,Flat'; examples are Flat"):
        make_index("IVF,Flat", 4)
    with pytest.raises(ValueError, match="OPQ4 prepares vectors for PQ4"):
        make_index("OPQ4,IVF8,PQ2", 4)
    with pytest.raises(ValueError, match="the metric is one of l2"):
        make_index("Flat", 4, "dot")  # pyright: ignore[reportArgumentType]
    assert len(index.search(np.empty((0, 4)), 2)) == 0


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    filled("HNSW8", normal(50, 8, seed=9)).save(folder)
    file = folder / "vectors.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SavedIndexError, match="cut off"):
        VectorIndex.open(folder)
    header = (folder / "index.json").read_text().replace("hnsw", "hsnw")
    filled("HNSW8", normal(50, 8, seed=9)).save(folder)
    (folder / "index.json").write_text(header)
    with pytest.raises(SavedIndexError, match="a kind that is not known here: 'hsnw'"):
        VectorIndex.open(folder)


def test_recall_counts_ties_as_found() -> None:
    """Ten vectors in pairs of equal ones: whichever of a pair is returned is right; a farther one is not."""
    vectors = np.repeat(normal(5, 4, seed=10), 2, axis=0)
    index = filled("Flat", vectors)
    exact = index.search(vectors[:1], 10)
    found = index.search(vectors[:1], 3)
    swapped = type(found)(np.array([[1, 0, exact.ids[0, 3]]]), found.scores)
    assert recall(swapped, exact.scores[:, :3]) == 1
    worse = type(found)(found.ids, np.array([[*found.scores[0, :2], exact.scores[0, 5]]], dtype=np.float32))
    assert recall(worse, exact.scores[:, :3]) == pytest.approx(2 / 3)


def test_more_probes_find_more_and_all_find_everything() -> None:
    vectors, queries = normal(2000, 16, seed=11), normal(40, 16, seed=12)
    truth = filled("Flat", vectors).search(queries, 10).scores
    index = make_index("IVF16,Flat", 16)
    assert isinstance(index, InvertedFileIndex)
    index.train(vectors)
    for part in np.split(vectors, 4):  # several adds sort the lists anew each time
        index.add(part)
    found = []
    for index.n_probe in (1, 4, 16):
        found.append(recall(index.search(queries, 10), truth).mean())
    assert found[0] < found[1] < found[2] == 1
    assert index.cell_sizes.sum() == 2000


def test_hnsw_finds_with_a_filter_that_most_vectors_pass() -> None:
    vectors, queries = normal(3000, 16, seed=13), normal(20, 16, seed=14)
    allowed = np.flatnonzero(np.random.default_rng(15).random(3000) < 0.7)
    index = HNSWIndex(16, m=8, ef_construction=60, ef_search=60)
    index.add(vectors)
    hits = index.search(queries, 10, filter=allowed)
    assert np.isin(hits.ids, allowed).all()
    truth = filled("Flat", vectors).search(queries, 10, filter=allowed)
    assert recall(hits, truth.scores).mean() > 0.95

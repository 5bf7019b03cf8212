"""The indexes beside faiss and hnswlib."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.retrieval.indexes import FaissIndex, FlatIndex, HNSWIndex, VectorIndex, make_index, recall

pytestmark = pytest.mark.parity


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, d)) * 2
    return (centres[rng.integers(20, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("metric", ["l2", "inner_product", "cosine"])
def test_the_adapter_answers_like_our_flat_index(metric, tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("faiss")
    vectors, queries = clustered(500, 24, seed=1), clustered(9, 24, seed=2)
    ids = np.random.default_rng(3).permutation(5000)[:500]
    theirs, ours = FaissIndex(24, metric, description="Flat"), FlatIndex(24, metric)
    for index in (theirs, ours):
        index.add(vectors, ids)
        index.remove(ids[10:20])
    theirs.save(tmp_path / "index")
    for index in (theirs, VectorIndex.open(tmp_path / "index")):
        for allowed in (None, ids[:100]):
            expected, got = ours.search(queries, 8, filter=allowed), index.search(queries, 8, filter=allowed)
            np.testing.assert_array_equal(got.ids, expected.ids)
            np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("description", ["IVF16,Flat", "PQ6np", "IVF16,PQ6np", "IVF16,SQ8"])
def test_quantized_search_finds_as_much_as_that_of_faiss(description: str) -> None:
    """Judged by the true distances of what is returned: recall of one another's codes would say nothing."""
    faiss = pytest.importorskip("faiss")
    vectors, queries = clustered(5000, 24, seed=4), clustered(100, 24, seed=5)
    truth = FlatIndex(24)
    truth.add(vectors)
    best = truth.search(queries, 10).ids
    found = []
    for index in (make_index(description, 24), FaissIndex(24, description=description)):
        index.train(vectors)
        index.add(vectors)
        if isinstance(index, FaissIndex):
            inner = index.faiss_index
            if isinstance(inner, faiss.IndexIVF):
                inner.nprobe = 4
        elif description.startswith("IVF"):
            index.n_probe = 4  # pyright: ignore[reportAttributeAccessIssue]
        hits = index.search(queries, 10).ids
        found.append(np.mean([len(np.intersect1d(a, b)) for a, b in zip(hits, best, strict=True)]) / 10)
    assert found[0] > found[1] - 0.03


def test_hnsw_finds_as_much_as_hnswlib_for_the_same_settings() -> None:
    hnswlib = pytest.importorskip("hnswlib")
    rng = np.random.default_rng(6)
    vectors, queries = rng.normal(size=(2, 4000, 32)).astype(np.float32)
    queries = queries[:200]
    exact = FlatIndex(32)
    exact.add(vectors)
    truth = exact.search(queries, 10)
    ours = HNSWIndex(32, m=8, ef_construction=60, ef_search=40)
    ours.add(vectors)
    theirs = hnswlib.Index(space="l2", dim=32)
    theirs.init_index(max_elements=4000, M=8, ef_construction=60, random_seed=1)
    theirs.set_num_threads(1)
    theirs.add_items(vectors)
    theirs.set_ef(40)
    labels, _ = theirs.knn_query(queries, k=10)
    of_theirs = np.mean([len(np.intersect1d(a, b)) for a, b in zip(labels, truth.ids, strict=True)]) / 10
    assert recall(ours.search(queries, 10), truth.scores).mean() > of_theirs - 0.02

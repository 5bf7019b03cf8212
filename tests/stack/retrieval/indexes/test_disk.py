"""The graph on the disk finds what the one in memory finds, and reads a page for each step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from teachllm.stack.retrieval.indexes import DiskIndex, FlatIndex, Metric, VamanaIndex, recall
from teachllm.stack.retrieval.saved_index import SavedIndexError


@pytest.mark.parametrize(("metric", "d"), [("l2", 24), ("inner_product", 24), ("cosine", 24), ("l2", 1100)])
def test_codes_steer_and_vectors_decide(metric: Metric, d: int, tmp_path: Path) -> None:
    """1,100 numbers and 16 links take two pages a node; 24 numbers leave 25 nodes to a page."""
    rng = np.random.default_rng(1)
    n = 1500 if d == 24 else 300
    vectors, queries = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(20, d)).astype(np.float32)
    ids = rng.permutation(10 * n)[:n]
    index, exact = VamanaIndex(d, metric, degree=16, ef_construction=50), FlatIndex(d, metric)
    index.add(vectors, ids)
    exact.add(vectors, ids)
    index.save_for_disk(tmp_path / "index", n_parts=4 if d == 24 else 44)
    truth = exact.search(queries, 10)
    with DiskIndex.open(tmp_path / "index", ef_search=80, beam=4) as disk:
        hits = disk.search(queries, 10)
        assert recall(hits, truth.scores).mean() > 0.9
        scores = dict(exact.search(queries[:1], n).of(0))
        for one, score in hits.of(0):
            assert score == pytest.approx(scores[one], rel=1e-4, abs=1e-4)
        assert 20 * 80 / 4 <= disk.reads.trips <= 20 * 80
        assert disk.reads.trips < disk.reads.pages
        assert disk.n_bytes < vectors.nbytes + ids.nbytes
        with pytest.raises(ValueError, match="k is 0"):
            disk.search(queries, 0)
    pages = tmp_path / "index" / "pages.bin"
    pages.write_bytes(pages.read_bytes()[:-1])
    with pytest.raises(SavedIndexError, match="cut off"):
        DiskIndex.open(tmp_path / "index")


def test_a_larger_alpha_leaves_more_links_and_shorter_walks() -> None:
    vectors, queries = np.random.default_rng(2).normal(size=(2, 1500, 8)).astype(np.float32)
    links, steps = [], []
    for alpha in (1.0, 1.4):
        index = VamanaIndex(8, degree=24, ef_construction=40, alpha=alpha, ef_search=1)
        index.add(vectors)
        links.append(sum(len(index.links(row)) for row in range(1500)))
        index.rooms.followed = 0
        index.search(queries, 1)
        steps.append(index.rooms.followed)
    assert links[1] > 1.2 * links[0]
    assert steps[1] < steps[0]

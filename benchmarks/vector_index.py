"""Vector indexes beside hnswlib and faiss on one thread: queries a second at the same recall, building,
bytes a vector, and what compiling costs. `make bench NAME=vector_index`.

100,000 vectors of 128 numbers, k = 10. "clustered": 1,000 clusters whose points vary along 16 directions, as
embeddings of texts do. "hard": every number drawn by itself; no neighbourhood is a region, so a graph must
look at far more nodes. Each engine gets the smallest setting with which it reaches the recall; recall counts
every vector as near as the true tenth neighbour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import hnswlib
import numpy as np

from benchmarks.harness import Row, alternate, compare, report, without_peer
from teachllm.stack.retrieval.indexes import FlatIndex, HNSWIndex, make_index

PACKAGES = ("hnswlib", "faiss-cpu", "numba", "numpy")
K = 10
M, EF_CONSTRUCTION = 16, 200
FIRST_USE = """
import time
import numpy as np
from teachllm.stack.retrieval.indexes import make_index
x = np.random.default_rng(0).normal(size=(600, 32)).astype(np.float32)
start = time.perf_counter()
for name in ("HNSW16", "IVF4,Flat", "IVF4,PQ8"):
    index = make_index(name, 32)
    index.train(x)
    index.add(x)
    index.search(x[:10], 10)
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Data:
    name: str
    vectors: np.ndarray
    queries: np.ndarray
    true_distances: np.ndarray  # (queries,): of the k-th neighbour, squared


@dataclass(frozen=True)
class How:
    runs: int
    builds: int
    clock: Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--builds", type=int, default=3, help="timed builds of each index")
    parser.add_argument("--only", choices=("clustered", "hard", "ivf", "start"), action="append")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of the processor, on a busy machine")
    parser.add_argument("--quick", action="store_true", help="10,000 vectors, one run")
    arguments = parser.parse_args()
    n, n_queries = arguments.vectors, arguments.queries
    how = How(
        arguments.runs, arguments.builds, time.process_time if arguments.cpu_time else time.perf_counter
    )
    if arguments.quick:
        n, n_queries, how = 10_000, 300, How(1, 1, how.clock)
    parts = arguments.only or ["clustered", "hard", "ivf", "start"]
    faiss.omp_set_num_threads(1)
    rows: list[Row] = []
    notes = [f"{n} vectors, {n_queries} queries; medians of {how.runs} runs and of {how.builds} builds"]
    if arguments.cpu_time:
        notes.append("seconds of the processor, of all threads together: other programs ran")
    for name in ("clustered", "hard"):
        if name in parts:
            rows += hnsw_rows(make_data(name, n, n_queries), how, notes)
    if "ivf" in parts:
        rows += ivf_rows(make_data("clustered", n, n_queries), how, notes)
    if "start" in parts:
        rows += start_rows()
    whole = not arguments.quick and not arguments.only
    report("vector_index" if whole else "vector_index-quick", rows, notes=notes)


def row(what: str, ours: float, peer: float, peer_name: str, unit: str, threads: int = 1) -> Row:
    """Of seconds and bytes, less is better."""
    lower = unit in ("s", "bytes/vector")
    return compare(
        what, ours, peer, peer_name, unit, lower_is_better=lower, threads=threads, packages=PACKAGES
    )


def make_data(name: str, n: int, n_queries: int, d: int = 128) -> Data:
    rng = np.random.default_rng(0)
    if name == "hard":
        points = rng.normal(size=(n + n_queries, d))
    else:
        centres = rng.normal(size=(1000, d))
        directions = rng.normal(size=(1000, 16, d)) / 4
        cluster = rng.integers(1000, size=n + n_queries)
        points = centres[cluster] + 0.02 * rng.normal(size=(n + n_queries, d))
        for i in range(0, len(points), 10_000):
            some = slice(i, i + 10_000)
            along = rng.normal(size=(len(points[some]), 1, 16))
            points[some] += (along @ directions[cluster[some]])[:, 0]
    points = points.astype(np.float32)
    exact = FlatIndex(d)
    exact.add(points[:n])
    hits = exact.search(points[n:], K)
    return Data(name, points[:n], points[n:], -hits.scores[:, -1])


def recall_of(data: Data, ids: np.ndarray) -> float:
    """By true distances, whatever distances the index computed."""
    distances = ((data.vectors[ids] - data.queries[:, None]) ** 2).sum(-1)
    return float((distances <= data.true_distances[:, None] * (1 + 1e-5)).mean())


def smallest_setting(data: Data, search: Callable[[int], np.ndarray], target: float, most: int) -> int | None:
    """The least setting, to 3 %, that reaches a recall; None if `most` does not."""
    low, high = 0, 8
    while recall_of(data, search(high)) < target:
        if high == most:
            return None
        low, high = high, min(most, 2 * high)
    while high - low > max(1, low // 32):
        middle = (low + high) // 2
        low, high = (low, middle) if recall_of(data, search(middle)) >= target else (middle, high)
    return high


def compared(
    what: str,
    data: Data,
    searches: tuple[Callable[[int], np.ndarray], Callable[[int], np.ndarray]],
    target: float,
    most: int,
    peer_name: str,
    how: How,
    notes: list[str],
) -> Row:
    """Queries a second of ours and the peer's, each with the least setting that reaches the recall."""
    ours, theirs = (smallest_setting(data, search, target, most) for search in searches)
    assert ours is not None, f"{what} was not reached"
    n = len(data.queries)
    reached = recall_of(data, searches[0](ours))
    if theirs is None:
        (taken,) = alternate(lambda: searches[0](ours), times=how.runs, clock=how.clock)
        most_of_theirs = recall_of(data, searches[1](most))
        notes.append(
            f"{what}: ours with {ours} ({reached:.4f}); {peer_name} does not get beyond {most_of_theirs:.4f}"
        )
        return without_peer(
            what, n / taken, peer_name, "queries/s", f"{peer_name} reaches {most_of_theirs:.4f}"
        )
    taken = alternate(lambda: searches[0](ours), lambda: searches[1](theirs), times=how.runs, clock=how.clock)
    notes.append(
        f"{what}: ours with {ours} ({reached:.4f}), {peer_name} with {theirs} "
        f"({recall_of(data, searches[1](theirs)):.4f})"
    )
    return row(what, n / taken[0], n / taken[1], peer_name, "queries/s")


# HNSW ---------------------------------------------------------------------------------------------------


def build_ours(vectors: np.ndarray, threads: int) -> HNSWIndex:
    index = HNSWIndex(vectors.shape[1], m=M, ef_construction=EF_CONSTRUCTION)
    index.threads = threads
    index.add(vectors)
    return index


def build_theirs(vectors: np.ndarray, threads: int) -> Any:
    index = hnswlib.Index(space="l2", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=M, ef_construction=EF_CONSTRUCTION)
    index.set_num_threads(threads)
    index.add_items(vectors)
    index.set_num_threads(1)
    return index


def hnsw_rows(data: Data, how: How, notes: list[str]) -> list[Row]:
    build_ours(data.vectors[:500], 1)  # compiles
    rows: list[Row] = []
    ours = theirs = None
    for threads in (2, 1):
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(how.builds):
            for build, seconds in zip((build_ours, build_theirs), taken, strict=True):
                start = how.clock()
                index = build(data.vectors, threads)
                seconds.append(how.clock() - start)
                ours, theirs = (index, theirs) if build is build_ours else (ours, index)
        medians = (statistics.median(seconds) for seconds in taken)
        rows.append(row(f"HNSW, {data.name}: build", *medians, "hnswlib", "s", threads=threads))
    assert ours is not None
    assert theirs is not None
    per_vector = ours.n_bytes / len(ours), theirs.index_file_size() / len(ours)
    rows.append(row(f"HNSW, {data.name}: memory", *per_vector, "hnswlib's file", "bytes/vector"))

    def search_ours(ef: int) -> np.ndarray:
        ours.ef_search = ef
        return ours.search(data.queries, K).ids

    def search_theirs(ef: int) -> np.ndarray:
        theirs.set_ef(max(ef, K))
        return theirs.knn_query(data.queries, k=K)[0].astype(np.int64)

    for target in (0.95, 0.99, 0.999):
        what = f"HNSW, {data.name}: recall {target}"
        rows.append(compared(what, data, (search_ours, search_theirs), target, 20_000, "hnswlib", how, notes))
    return rows


# Inverted files -----------------------------------------------------------------------------------------


def ivf_rows(data: Data, how: How, notes: list[str]) -> list[Row]:
    n_cells = 1024 if len(data.vectors) >= 50_000 else 128
    return [
        *one_ivf(f"IVF{n_cells},Flat", f"IVF{n_cells},Flat", data, (0.95, 0.99), how, notes),
        *one_ivf(f"IVF{n_cells},PQ32", f"IVF{n_cells},PQ32np", data, (None,), how, notes),
    ]


def one_ivf(
    name: str, their_name: str, data: Data, targets: Sequence[float | None], how: How, notes: list[str]
) -> list[Row]:
    """A target of None: nearly what both reach with many cells. Codes never reach 1."""
    d = data.vectors.shape[1]
    built: dict[str, Any] = {}

    def build_ours() -> None:
        index = make_index(name, d)
        index.train(data.vectors)
        index.add(data.vectors)
        built["ours"] = index

    def build_theirs() -> None:
        index = faiss.index_factory(d, their_name)
        index.train(data.vectors)
        index.add(data.vectors)
        built["theirs"] = index

    taken = alternate(build_ours, build_theirs, times=how.builds, clock=how.clock)
    rows = [row(f"{name}: train and add", *taken, "faiss", "s")]
    ours, theirs = built["ours"], built["theirs"]
    table = getattr(theirs, "precomputed_table", None)
    their_bytes = faiss.serialize_index(theirs).nbytes + (0 if table is None else 4 * table.size())
    per_vector = ours.n_bytes / len(ours), their_bytes / len(ours)
    rows.append(row(f"{name}: memory", *per_vector, "faiss and its tables", "bytes/vector"))

    def search_ours(n_probe: int) -> np.ndarray:
        ours.n_probe = n_probe
        return ours.search(data.queries, K).ids

    def search_theirs(n_probe: int) -> np.ndarray:
        theirs.nprobe = n_probe
        return theirs.search(data.queries, K)[1]

    searches = search_ours, search_theirs
    for target in targets:
        if target is None:
            target = 0.98 * min(recall_of(data, search(64)) for search in searches)
        what = f"{name}: recall {target:.3f}"
        rows.append(compared(what, data, searches, target, len(data.vectors), "faiss", how, notes))
    return rows


# Starting -----------------------------------------------------------------------------------------------


def start_rows() -> list[Row]:
    """Three small indexes in a process of their own, without compiled code on disk and with it."""
    with tempfile.TemporaryDirectory(prefix="teachllm-numba-") as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        taken = [
            float(
                subprocess.run(
                    [sys.executable, "-c", FIRST_USE],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for _ in range(4)
        ]
    return [
        Row("first use: compile HNSW, IVF and PQ", taken[0], None, "none", "s", None, why="no peer"),
        Row("later starts, the same", statistics.median(taken[1:]), None, "none", "s", None, why="no peer"),
    ]


if __name__ == "__main__":
    main()

"""Vamana: a graph in one layer, made so that walks are short. What DiskANN keeps on a disk.

Every walk enters at the medoid. Links are chosen as in HNSW, but less strictly: a candidate is left out only
if α times its distance to a chosen one is less than its distance to the node. With α > 1 some long links
stay, and each step of a walk comes nearer by at least the factor α: fewer steps, each of which would read
the disk. Subramanya et al. 2019, "DiskANN: Fast Accurate Billion-point Nearest Neighbor Search on a Single
Node".

Nodes enter a growing graph one by one (α = 1) and all choose again once it is whole, with the real α; the
paper begins the first of these two passes with random links. Nodes added later choose with α at once, as in
FreshDiskANN (arXiv:2105.09613), whose rule for removing `fast.graph_mending.mend` follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from teachllm.stack.retrieval.indexes.disk import write_disk_index
from teachllm.stack.retrieval.indexes.fast.graph import Graph, search_graph
from teachllm.stack.retrieval.indexes.fast.graph_building import refine_nodes
from teachllm.stack.retrieval.indexes.fast.graph_mending import link_to, mark_reachable, mend
from teachllm.stack.retrieval.indexes.graph_room import Rooms, in_threads
from teachllm.stack.retrieval.indexes.index import Metric, VectorIndex
from teachllm.stack.retrieval.indexes.product_quantizer import ProductQuantizer
from teachllm.stack.retrieval.indexes.rows import Rows, padded_width


def robust_prune(
    candidates: list[tuple[float, int]],
    distances_between: Float32[np.ndarray, "n n"],
    alpha: float,
    most: int,
) -> list[int]:
    """At most `most` of the candidates, given as (distance to the node, number), nearest first.

    Take the nearest one left, and drop all that it makes needless: those c with α · d(taken, c) < d(node,
    c). The readable form of what `fast.graph_building.choose` does; d is squared when distances are, and α
    then too.
    """
    left, chosen = sorted(candidates), []
    while left and len(chosen) < most:
        _, taken = left.pop(0)
        chosen.append(taken)
        left = [(d, c) for d, c in left if alpha * distances_between[taken, c] >= d]
    return chosen


class VamanaIndex(VectorIndex):
    """degree: the most links of a node. ef_construction: how many nodes a walk keeps while the graph is
    built.

    alpha is that of the paper, for distances that are not squared. For inner products, where no distance can
    be stretched, it is 1. `save_for_disk` writes what `disk.DiskIndex` searches.
    """

    kind = "vamana"

    def __init__(
        self,
        dimension: int,
        metric: Metric = "l2",
        *,
        degree: int = 32,
        ef_construction: int = 100,
        alpha: float = 1.2,
        ef_search: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(dimension, metric)
        if degree < 2 or ef_construction < 1 or alpha < 1:
            raise ValueError(
                f"Vamana needs a degree of at least 2, ef_construction and alpha of at least 1; given were "
                f"{degree}, {ef_construction} and {alpha}"
            )
        self.degree, self.ef_construction, self.alpha, self._seed = degree, ef_construction, alpha, seed
        self.ef_search = ef_search
        self.rooms = Rooms(degree)
        self._clear()

    def _clear(self) -> None:
        self._vectors = Rows(padded_width(self.dimension), np.float32)
        self._links = Rows(self.degree, np.int32)
        self._entry = -1

    @property
    def n_bytes(self) -> int:
        return self._vectors.n_bytes + self._links.n_bytes + self._ids.array.nbytes

    @property
    def entry(self) -> int:
        """The row at which every walk enters, -1 while there is none."""
        return self._entry

    def links(self, row: int) -> np.ndarray:
        """The rows to which a row has links."""
        links = self._links.array[row]
        return links[links >= 0]

    @property
    def _factor(self) -> np.float32:
        """α for the distances of the kernels, which are squared."""
        return np.float32(self.alpha**2 if self._squared else 1)

    def _graph(self) -> Graph:
        nothing = np.empty((0, 1), dtype=np.int32)
        return Graph(
            self._vectors.address, self._vectors.array.strides[0], self._squared, self._links.array, nothing,
            nothing[:, 0].copy(),
        )  # fmt: skip

    def _add(self, rows: np.ndarray) -> None:
        first, n = self._vectors.count, len(rows)
        self._vectors.append(rows)
        self._links.extend(n)[:] = -1
        order = np.random.default_rng([self._seed, first]).permutation(n).astype(np.int32) + np.int32(first)
        if first >= n:
            self._refine(order, self._factor)
            return
        if self._entry < 0:
            self._entry = self._medoid()
        self._refine(order[order != self._entry], np.float32(1))
        self._entry = self._medoid()
        self._refine(
            np.random.default_rng([self._seed, first, 1]).permutation(first + n).astype(np.int32),
            self._factor,
        )
        self._connect()

    def _medoid(self) -> int:
        vectors = self._vectors.array
        return int(((vectors - vectors.mean(0)) ** 2).sum(1).argmin())

    def _refine(self, nodes: np.ndarray, factor: np.float32) -> None:
        taken, locks = np.zeros(8, dtype=np.int64), np.zeros(self._links.count, dtype=np.int32)

        def work() -> None:
            with self.rooms.room(self._links.count, self.ef_construction) as room:
                refine_nodes(self._graph(), nodes, taken, self._entry, factor, locks, room)

        in_threads(self.threads, work)

    def _connect(self) -> None:
        """As in HNSW: every node stays reachable."""
        n = self._links.count
        reached, queue = np.zeros(n, dtype=np.uint8), np.empty(n, dtype=np.int64)
        mark_reachable(self._links.array, self._entry, reached, queue)
        for node in np.flatnonzero(reached == 0):
            if not reached[node]:
                with self.rooms.room(n, self.ef_construction) as room:
                    link_to(self._graph(), int(node), self._entry, room)
                mark_reachable(self._links.array, int(node), reached, queue)

    def _keep(self, kept: np.ndarray) -> None:
        if not len(kept):
            self._clear()
            return
        n = self._links.count
        gone = np.ones(n, dtype=np.bool_)
        gone[kept] = False
        with self.rooms.room(n, self.ef_construction) as room:
            mend(self._graph(), 0, kept, gone, self._factor, room)
        number = np.full(n + 1, -1, dtype=np.int32)  # the last one is for -1
        number[kept] = np.arange(len(kept))
        self._links.reorder(kept)
        self._links.array[:] = number[self._links.array]
        self._vectors.reorder(kept)
        self._entry = self._medoid() if gone[self._entry] else int(number[self._entry])
        self._connect()

    def _search(
        self, queries: np.ndarray, allowed: np.ndarray | None, rows: np.ndarray, distances: np.ndarray
    ) -> None:
        if allowed is not None:
            raise ValueError("a Vamana index cannot filter: search an HNSW, a flat index or an inverted file")
        limit = max(self.ef_search, rows.shape[1])
        with self.rooms.room(self._links.count, limit) as room:
            search_graph(
                self._graph(), queries.ctypes.data, len(queries), self._entry, 0, limit, room, rows, distances
            )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        settings = {
            "degree": self.degree, "ef_construction": self.ef_construction, "alpha": self.alpha,
            "ef_search": self.ef_search, "seed": self._seed,
        }  # fmt: skip
        entry = np.array([self._entry], dtype=np.int64)
        return settings, {"vectors": self._vectors.array, "links": self._links.array, "entry": entry}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._vectors, self._links = Rows.over(arrays["vectors"]), Rows.over(arrays["links"])
        self._entry = int(arrays["entry"][0])

    def save_for_disk(self, folder: str | Path, n_parts: int) -> None:
        """Write what `DiskIndex.open` reads: codes of `n_parts` bytes a vector, which a search keeps in
        memory, and vectors with their links in pages, which it reads as it goes. Raises ValueError as
        `ProductQuantizer` does.
        """

        if not len(self):
            raise ValueError("the index is empty: add vectors before saving")
        quantizer = ProductQuantizer(self.dimension, n_parts)
        vectors = self._vectors.array[:, : self.dimension]
        quantizer.train(vectors, seed=self._seed)
        write_disk_index(
            Path(folder), vectors, self._links.array, self._ids.array, self._entry, quantizer, self.metric
        )

"""HNSW: a layered graph of neighbours over arrays. How it works stands in `layered_graph`.

Removing is real: a node's vector and links go, and those that had links to it choose new ones among its
neighbours (`fast.graph_mending.mend`), so that walks find the same way as before. Every node stays reachable
from the entry.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from teachllm.stack.retrieval.indexes.fast.graph import Graph, search_graph
from teachllm.stack.retrieval.indexes.fast.graph_building import insert_nodes
from teachllm.stack.retrieval.indexes.fast.graph_mending import link_to, mark_reachable, mend
from teachllm.stack.retrieval.indexes.fast.scan import scan_all
from teachllm.stack.retrieval.indexes.graph_room import Rooms, in_threads
from teachllm.stack.retrieval.indexes.index import Metric, VectorIndex
from teachllm.stack.retrieval.indexes.layered_graph import draw_levels
from teachllm.stack.retrieval.indexes.rows import Rows, aligned_empty, padded, padded_width
from teachllm.stack.retrieval.indexes.storage import NO_FILTER

ALONE_FIRST = 256
"""Nodes that one thread inserts before others help: in a small graph, simultaneous ones would miss each
other.
"""
DISTANCES_PER_FOUND = 16
"""About how many distances a walk computes for each node that it keeps. Decides when a filter leaves so few
vectors that comparing with all of them is cheaper."""


class HNSWIndex(VectorIndex):
    """m: links of a new node in each layer; up to 2m in layer 0. ef_construction: among how many nodes found
    it chooses them. ef_search: how many nodes a search keeps, at least k.

    With one thread, the same vectors in the same order give the same graph.
    """

    kind = "hnsw"

    def __init__(
        self,
        dimension: int,
        metric: Metric = "l2",
        *,
        m: int = 16,
        ef_construction: int = 200,
        ef_search: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(dimension, metric)
        if m < 2 or ef_construction < 1 or ef_search < 1:
            raise ValueError(
                f"HNSW needs m of at least 2 and both ef of at least 1; given were m = {m}, "
                f"ef_construction = {ef_construction}, ef_search = {ef_search}"
            )
        self.m, self.ef_construction, self._seed = m, ef_construction, seed
        self.ef_search = ef_search
        """May be changed at any time: larger finds more of the true neighbours, and takes longer."""
        self.rooms = Rooms(2 * m)
        self._clear()
        self._drawn = 0  # levels drawn so far: removing gives none back

    def _clear(self) -> None:
        self._vectors = Rows(padded_width(self.dimension), np.float32)
        self._bottom = Rows(2 * self.m, np.int32)
        self._upper = Rows(self.m, np.int32)
        self._upper_first = np.empty(0, dtype=np.int32)
        self._levels = np.empty(0, dtype=np.int8)
        self._entry, self._top = -1, 0

    @property
    def n_bytes(self) -> int:
        tables = (self._vectors, self._bottom, self._upper)
        arrays = (self._upper_first, self._levels, self._ids.array)
        return sum(table.n_bytes for table in tables) + sum(array.nbytes for array in arrays)

    # The graph, for those who look into it ------------------------------------------------------------------

    @property
    def entry(self) -> int:
        """The row at which every walk enters, -1 while there is none."""
        return self._entry

    @property
    def levels(self) -> np.ndarray:
        """The highest layer in which each row stands."""
        return self._levels.copy()

    def links(self, row: int, layer: int = 0) -> np.ndarray:
        """The rows to which a row has links in a layer; none if it does not stand there."""
        if layer > self._levels[row]:
            return np.empty(0, dtype=np.int32)
        table = (
            self._bottom.array[row] if layer == 0 else self._upper.array[self._upper_first[row] + layer - 1]
        )
        return table[table >= 0]

    # Building -----------------------------------------------------------------------------------------------

    def _add(self, rows: np.ndarray) -> None:
        first, n = self._vectors.count, len(rows)
        levels = draw_levels(n, self.m, seed=self._seed, first=self._drawn)
        self._drawn += n
        self._vectors.append(rows)
        self._bottom.extend(n)[:] = -1
        self._levels = np.concatenate([self._levels, levels])
        upper_first = self._upper.count + np.cumsum(levels, dtype=np.int32) - levels
        self._upper_first = np.concatenate([self._upper_first, upper_first.astype(np.int32)])
        self._upper.extend(int(levels.sum()))[:] = -1
        nodes = np.arange(first, first + n, dtype=np.int32)
        highest = int(levels.argmax())
        if self._entry < 0 or levels[highest] > self._top:
            # First the one that will be the entry, so that the entry stays while several threads insert.
            if self._entry >= 0:
                self._insert(nodes[highest : highest + 1], threads=1)
            self._entry, self._top = first + highest, int(levels[highest])
            nodes = np.delete(nodes, highest)
        alone = max(0, ALONE_FIRST - first) if self.threads > 1 else len(nodes)
        self._insert(nodes[:alone], threads=1)
        self._insert(nodes[alone:], threads=self.threads)
        if 16 * n >= len(self._levels):
            self._connect()

    def _graph(self) -> Graph:
        return Graph(
            self._vectors.address, self._vectors.array.strides[0], self._squared, self._bottom.array,
            self._upper.array, self._upper_first,
        )  # fmt: skip

    def _insert(self, nodes: np.ndarray, threads: int) -> None:
        if not len(nodes):
            return
        taken, locks = np.zeros(8, dtype=np.int64), np.zeros(len(self._levels), dtype=np.int32)

        def work() -> None:
            with self.rooms.room(len(self._levels), self.ef_construction) as room:
                insert_nodes(
                    self._graph(), nodes, self._levels, taken, self._entry, self._top, self.m, locks, room
                )

        in_threads(threads, work)

    def _connect(self) -> None:
        """Give every node that no walk can come to a link from one that it can. Choosing links again loses
        some.
        """
        reached = np.zeros(len(self._levels), dtype=np.uint8)
        queue = np.empty(len(self._levels), dtype=np.int64)
        mark_reachable(self._bottom.array, self._entry, reached, queue)
        for node in np.flatnonzero(reached == 0):
            if not reached[node]:
                with self.rooms.room(len(self._levels), self.ef_construction) as room:
                    link_to(self._graph(), int(node), self._entry, room)
                mark_reachable(self._bottom.array, int(node), reached, queue)

    # Removing -----------------------------------------------------------------------------------------------

    def _keep(self, kept: np.ndarray) -> None:
        if not len(kept):
            self._clear()
            return
        gone = np.ones(len(self._levels), dtype=np.bool_)
        gone[kept] = False
        with self.rooms.room(len(gone), self.ef_construction) as room:
            for layer in range(self._top + 1):
                standing = kept[self._levels[kept] >= layer]
                mend(self._graph(), layer, standing, gone, np.float32(1), room)
        number = np.full(len(gone) + 1, -1, dtype=np.int32)  # the last one is for -1
        number[kept] = np.arange(len(kept))
        if gone[self._entry]:
            self._entry = int(kept[self._levels[kept].argmax()])
            self._top = int(self._levels[self._entry])
        self._entry = int(number[self._entry])
        levels = self._levels[kept].astype(np.int32)
        upper_first = np.cumsum(levels, dtype=np.int32) - levels
        within = np.arange(int(levels.sum()), dtype=np.int32) - np.repeat(upper_first, levels)
        self._upper.reorder(np.repeat(self._upper_first[kept], levels) + within)
        self._bottom.reorder(kept)
        self._vectors.reorder(kept)
        for table in (self._bottom, self._upper):
            table.array[:] = number[table.array]
        self._levels, self._upper_first = self._levels[kept], upper_first
        self._connect()

    # Searching ----------------------------------------------------------------------------------------------

    def _search(
        self, queries: np.ndarray, allowed: np.ndarray | None, rows: np.ndarray, distances: np.ndarray
    ) -> None:
        limit = max(self.ef_search, rows.shape[1])
        if allowed is None:
            self._walk(queries, limit, rows, distances)
            return
        n_allowed = int(allowed.sum())
        limit = math.ceil(limit * len(allowed) / n_allowed)
        if limit * DISTANCES_PER_FOUND < n_allowed:
            # Keep so many more nodes that as many allowed ones should be among them.
            self._walk_with_filter(queries, limit, allowed, rows, distances)
            enough = rows[:, min(n_allowed, rows.shape[1]) - 1] >= 0
        else:
            enough = np.zeros(len(queries), dtype=np.bool_)
        if not enough.all():
            self._compare_with_allowed(queries, np.flatnonzero(~enough), allowed, rows, distances)

    def _walk(self, queries: np.ndarray, limit: int, rows: np.ndarray, distances: np.ndarray) -> None:
        with self.rooms.room(len(self._levels), limit) as room:
            search_graph(
                self._graph(), queries.ctypes.data, len(queries), self._entry, self._top, limit, room, rows,
                distances,
            )  # fmt: skip

    def _walk_with_filter(
        self, queries: np.ndarray, limit: int, allowed: np.ndarray, rows: np.ndarray, distances: np.ndarray
    ) -> None:
        found, how_far = np.full((1, limit), -1, dtype=np.int64), np.empty((1, limit), dtype=np.float32)
        for query in range(len(queries)):
            found[:] = -1
            self._walk(queries[query : query + 1], limit, found, how_far)
            good = np.flatnonzero(allowed[found[0]] & (found[0] >= 0))[: rows.shape[1]]
            rows[query, : len(good)], distances[query, : len(good)] = found[0, good], how_far[0, good]

    def _compare_with_allowed(
        self,
        queries: np.ndarray,
        some: np.ndarray,
        allowed: np.ndarray,
        rows: np.ndarray,
        distances: np.ndarray,
    ) -> None:
        """Exact, for some of the queries: compare them with every allowed vector."""
        numbers = np.flatnonzero(allowed)
        vectors = aligned_empty((len(numbers), queries.shape[1]), np.float32)
        np.take(self._vectors.array, numbers, axis=0, out=vectors, mode="clip")
        queries, k = padded(queries[some]), min(len(numbers), rows.shape[1])
        found, how_far = np.empty((len(some), k), dtype=np.int64), np.empty((len(some), k), dtype=np.float32)
        scan_all(
            queries.ctypes.data,
            len(some),
            vectors.ctypes.data,
            len(vectors),
            vectors.strides[0],
            self._squared,
            NO_FILTER,
            np.empty((len(some), k), dtype=np.int64),
            np.zeros(len(some), dtype=np.int64),
            found,
            how_far,
        )
        rows[some, :k], distances[some, :k] = numbers[found], how_far

    # Keeping ------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        settings = {
            "m": self.m,
            "ef_construction": self.ef_construction,
            "ef_search": self.ef_search,
            "seed": self._seed,
        }
        arrays = {
            "vectors": self._vectors.array,
            "bottom": self._bottom.array,
            "upper": self._upper.array,
            "upper_first": self._upper_first,
            "levels": self._levels,
            "entry_top_drawn": np.array([self._entry, self._top, self._drawn], dtype=np.int64),
        }
        return settings, arrays

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._vectors, self._bottom = Rows.over(arrays["vectors"]), Rows.over(arrays["bottom"])
        self._upper, self._upper_first = Rows.over(arrays["upper"]), arrays["upper_first"]
        self._levels = arrays["levels"]
        self._entry, self._top, self._drawn = map(int, arrays["entry_top_drawn"])

"""Walking through a graph of neighbours, for HNSW and Vamana.

Oracle: `layered_graph`. What makes it fast is where things lie. The links of a node in layer 0 are 2 M int32
in whole cache lines; -1 ends them. "Seen" is one byte a node that must equal the number of this walk, so
nothing is cleared between walks. The nodes found and the nodes to follow are one sorted pool: a node whose
links were followed is marked in its key. Rows are asked for some steps before they are compared.
"""
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from teachllm.stack.nn.fast.threads import INNER
from teachllm.stack.retrieval.indexes.fast.distances import (
    distance_of,
    four_distances,
    insert,
    key_of,
    number_of,
    one_distance,
    place_in,
    prefetch_row,
    unpack,
)
from teachllm.stack.retrieval.indexes.fast.vector_operations import prefetch
from teachllm.stack.tokenizer.fast.compiled import compiled

NOBODY = -1
FOLLOWED = np.int64(1)
MARKS = 255  # walks that one byte can tell apart


class Graph(NamedTuple):
    """The arrays of a graph. Vectors are given by their address."""

    vectors: int
    row_bytes: int
    squared: bool
    bottom: np.ndarray  # int32 (n, 2M): links in layer 0, then -1
    upper: np.ndarray  # int32 (rows, M): links in the layers above
    upper_first: np.ndarray  # int32 (n,): the row of a node's layer 1 in `upper`; others follow it


class Room(NamedTuple):
    """What one thread writes on while it walks."""

    pool: np.ndarray  # int64 (ef,)
    seen: np.ndarray  # uint8 (n,)
    mark: np.ndarray  # int64 (1,): the number of the last walk
    batch: np.ndarray  # int64 (2M + 4,) or more: nodes to compare with
    chosen: np.ndarray  # int64 (2M + 1,)
    keys: np.ndarray  # int64, as long as `batch`: candidates of a node that chooses, ascending
    trail: np.ndarray  # int64: keys of the nodes whose links were followed, as far as there is room
    starts: np.ndarray  # int64 (16,): keys, where to enter each layer
    counts: np.ndarray  # int64 (2,): nodes followed and distances computed, in all walks so far


def inlined(function):  # type: ignore[no-untyped-def]
    return numba.njit(function, forceinline=True, _nrt=False, **INNER)


def called(function):  # type: ignore[no-untyped-def]
    return numba.njit(function, _nrt=False, nogil=True, **INNER)


# Walking ------------------------------------------------------------------------------------------------


@numba.njit(inline="always")  # a function of its own could not return an array
def links_of(graph, node, layer):  # type: ignore[no-untyped-def]
    if layer == 0:
        return graph.bottom[node]
    return graph.upper[graph.upper_first[node] + layer - 1]


@inlined
def next_mark(room):  # type: ignore[no-untyped-def]
    """A number that no node is marked with."""
    room.mark[0] += 1
    if room.mark[0] > MARKS:
        room.seen[:] = np.uint8(0)
        room.mark[0] = 1
    return np.uint8(room.mark[0])


@called
def walk(graph, layer, query, entry, entry_distance, limit, room):  # type: ignore[no-untyped-def]
    """`layered_graph.search_layer`: fills room.pool with the `limit` nearest keys, ascending; returns how
    many.
    """
    pool, seen, batch = room.pool, room.seen, room.batch
    vectors, row_bytes = graph.vectors, graph.row_bytes
    mark = next_mark(room)
    seen[entry] = mark
    pool[0] = key_of(entry_distance, entry)
    size, following, followed, compared = 1, 0, 0, 0
    while following < size:
        node = number_of(pool[following])
        if followed < len(room.trail):
            room.trail[followed] = pool[following]
        followed += 1
        pool[following] |= FOLLOWED
        links = links_of(graph, node, layer)
        n = 0
        for i in range(len(links)):
            other = np.int64(links[i])
            if other < 0:
                break
            if seen[other] != mark:
                seen[other] = mark
                batch[n] = other
                if n < 4:
                    prefetch_row(vectors + other * row_bytes, row_bytes)
                n += 1
        compared += n
        if following + 1 < size:  # the one that most likely comes next
            prefetch(links_of(graph, number_of(pool[following + 1]), layer).ctypes.data)
        nearest_new = size
        for i in range(n, n + 3):
            batch[i] = batch[n - 1] if n > 0 else node
        for i in range(0, n, 4):
            for j in range(i + 4, min(i + 8, n)):
                prefetch_row(vectors + batch[j] * row_bytes, row_bytes)
            a, b, c, d = batch[i], batch[i + 1], batch[i + 2], batch[i + 3]
            s, t, u, v = four_distances(
                query, vectors + a * row_bytes, vectors + b * row_bytes, vectors + c * row_bytes,
                vectors + d * row_bytes, row_bytes, graph.squared,
            )  # fmt: skip
            size, nearest_new = meet(pool, size, limit, nearest_new, s, a)
            if i + 1 < n:
                size, nearest_new = meet(pool, size, limit, nearest_new, t, b)
            if i + 2 < n:
                size, nearest_new = meet(pool, size, limit, nearest_new, u, c)
            if i + 3 < n:
                size, nearest_new = meet(pool, size, limit, nearest_new, v, d)
        following = min(following + 1, nearest_new)
        while following < size and pool[following] & FOLLOWED:
            following += 1
    room.counts[0] += followed
    room.counts[1] += compared
    for i in range(size):
        pool[i] &= ~FOLLOWED
    return size


@inlined
def meet(pool, size, limit, nearest_new, distance, node):  # type: ignore[no-untyped-def]
    """Put a node into the pool if it is near enough. Returns its size, and the first place that changed."""
    key = key_of(distance, node)
    if size == limit and key > pool[limit - 1]:
        return size, nearest_new
    place = place_in(pool, size, key)
    return insert(pool, size, limit, place, key), min(nearest_new, place)


@called
def descend(graph, query, entry, top, layer, room):  # type: ignore[no-untyped-def]
    """From the entry in layer `top` down to the nearest node of layer `layer` + 1: (node, distance)."""
    distance = one_distance(query, graph.vectors + entry * graph.row_bytes, graph.row_bytes, graph.squared)
    for above in range(top, layer, -1):
        walk(graph, above, query, entry, distance, 1, room)
        entry, distance = number_of(room.pool[0]), distance_of(room.pool[0])
    return entry, distance


@compiled
def search_graph(graph, queries, n_queries, entry, top, limit, room, numbers, distances):  # type: ignore[no-untyped-def]
    """The nearest nodes of each query, as many as `numbers` has columns, of the `limit` that a walk keeps."""
    for i in range(n_queries):
        query = queries + i * graph.row_bytes
        nearest, distance = descend(graph, query, entry, top, 0, room)
        size = walk(graph, 0, query, nearest, distance, limit, room)
        unpack(room.pool, size, numbers[i], distances[i])

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
    sift_down,
    sift_up,
    unpack,
)
from teachllm.stack.retrieval.indexes.fast.vector_operations import prefetch
from teachllm.stack.tokenizer.fast.compiled import compiled

NOBODY = -1
FOLLOWED = np.int64(1)
WIDE = 2048
"""From how many nodes kept on a walk uses heaps: there the sorted pool is slower."""
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
    waiting: np.ndarray  # int64 (n,) for wide walks, or empty
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


@inlined
def gather(graph, node, layer, mark, room):  # type: ignore[no-untyped-def]
    """The linked nodes that this walk has not seen, into room.batch, whose last one is there three times more
    for comparing by fours. Returns how many.
    """
    seen, batch, row_bytes = room.seen, room.batch, graph.row_bytes
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
                prefetch_row(graph.vectors + other * row_bytes, row_bytes)
            n += 1
    for i in range(n, n + 3):
        batch[i] = batch[n - 1] if n > 0 else node
    return n


@called
def walk(graph, layer, query, entry, entry_distance, limit, room):  # type: ignore[no-untyped-def]
    """`layered_graph.search_layer`: fills room.pool with the `limit` nearest keys, ascending; returns how
    many.
    """
    pool, batch = room.pool, room.batch
    vectors, row_bytes = graph.vectors, graph.row_bytes
    mark = next_mark(room)
    room.seen[entry] = mark
    pool[0] = key_of(entry_distance, entry)
    size, following, followed, compared = 1, 0, 0, 0
    while following < size:
        node = number_of(pool[following])
        if followed < len(room.trail):
            room.trail[followed] = pool[following]
        followed += 1
        pool[following] |= FOLLOWED
        n = gather(graph, node, layer, mark, room)
        compared += n
        if following + 1 < size:  # the one that most likely comes next
            prefetch(links_of(graph, number_of(pool[following + 1]), layer).ctypes.data)
        nearest_new = size
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
def walk_wide(graph, query, entry, entry_distance, limit, room):  # type: ignore[no-untyped-def]
    """`walk` in layer 0 with two heaps in place of the sorted pool, most of which each insertion would move.

    room.pool is a heap of negated keys, so that the farthest node found is first; room.waiting is one of the
    nodes to follow, of which some may have left the pool.
    """
    pool, waiting, batch = room.pool, room.waiting, room.batch
    vectors, row_bytes = graph.vectors, graph.row_bytes
    mark = next_mark(room)
    room.seen[entry] = mark
    waiting[0] = key_of(entry_distance, entry)
    pool[0] = -waiting[0]
    size, n_waiting, followed, compared = 1, 1, 0, 0
    while n_waiting > 0:
        key = waiting[0]
        if size == limit and key > -pool[0]:
            break
        n_waiting -= 1
        sift_down(waiting, n_waiting, waiting[n_waiting])
        followed += 1
        n = gather(graph, number_of(key), 0, mark, room)
        compared += n
        prefetch(links_of(graph, number_of(waiting[0]), 0).ctypes.data)
        for i in range(0, n, 4):
            for j in range(i + 4, min(i + 8, n)):
                prefetch_row(vectors + batch[j] * row_bytes, row_bytes)
            a, b, c, d = batch[i], batch[i + 1], batch[i + 2], batch[i + 3]
            s, t, u, v = four_distances(
                query, vectors + a * row_bytes, vectors + b * row_bytes, vectors + c * row_bytes,
                vectors + d * row_bytes, row_bytes, graph.squared,
            )  # fmt: skip
            size, n_waiting = meet_wide(pool, size, limit, waiting, n_waiting, s, a)
            if i + 1 < n:
                size, n_waiting = meet_wide(pool, size, limit, waiting, n_waiting, t, b)
            if i + 2 < n:
                size, n_waiting = meet_wide(pool, size, limit, waiting, n_waiting, u, c)
            if i + 3 < n:
                size, n_waiting = meet_wide(pool, size, limit, waiting, n_waiting, v, d)
    room.counts[0] += followed
    room.counts[1] += compared
    for last in range(size - 1, 0, -1):  # heap sort
        farthest = pool[0]
        sift_down(pool, last, pool[last])
        pool[last] = farthest
    for i in range(size):
        pool[i] = -pool[i]
    return size


@inlined
def meet_wide(pool, size, limit, waiting, n_waiting, distance, node):  # type: ignore[no-untyped-def]
    """`meet` for two heaps. Returns the sizes of both."""
    key = key_of(distance, node)
    if size < limit:
        size = sift_up(pool, size, -key)
    elif key > -pool[0]:
        return size, n_waiting
    else:
        sift_down(pool, size, -key)
    return size, sift_up(waiting, n_waiting, key)


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
        if limit < WIDE:
            size = walk(graph, 0, query, nearest, distance, limit, room)
        else:
            size = walk_wide(graph, query, nearest, distance, limit, room)
        unpack(room.pool, size, numbers[i], distances[i])

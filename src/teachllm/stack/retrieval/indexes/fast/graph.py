"""Walking through a graph of neighbours, and building it: the kernels of HNSW and Vamana.

Oracle: `layered_graph`. What makes it fast is where things lie. The links of a node in layer 0 are 2 M int32
in whole cache lines; -1 ends them. "Seen" is one byte a node that must equal the number of this walk, so
nothing is cleared between walks. The nodes found and the nodes to follow are one sorted pool: a node whose
links were followed is marked in its key. Rows are asked for some steps before they are compared.

Several threads may insert at the same time. Who changes the links of a node holds its lock; who reads them
does not: an entry is at any time a node or -1, so at worst a walk misses a link that is just being written.
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
from teachllm.stack.retrieval.indexes.fast.vector_operations import (
    give_back,
    prefetch,
    take_next,
    try_to_take,
)
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
    upper_first: (
        np.ndarray
    )  # int32 (n,): the row of a node's layer 1 in `upper`; its layer l is l - 1 further


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


def _inlined(function):  # type: ignore[no-untyped-def]
    return numba.njit(function, forceinline=True, _nrt=False, **INNER)


def _called(function):  # type: ignore[no-untyped-def]
    return numba.njit(function, _nrt=False, nogil=True, **INNER)


# Walking ------------------------------------------------------------------------------------------------


@numba.njit(inline="always")  # a function of its own could not return an array
def links_of(graph, node, layer):  # type: ignore[no-untyped-def]
    if layer == 0:
        return graph.bottom[node]
    return graph.upper[graph.upper_first[node] + layer - 1]


@_inlined
def next_mark(room):  # type: ignore[no-untyped-def]
    """A number that no node is marked with."""
    room.mark[0] += 1
    if room.mark[0] > MARKS:
        room.seen[:] = np.uint8(0)
        room.mark[0] = 1
    return np.uint8(room.mark[0])


@_called
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


@_inlined
def meet(pool, size, limit, nearest_new, distance, node):  # type: ignore[no-untyped-def]
    """Put a node into the pool if it is near enough. Returns its size, and the first place that changed."""
    key = key_of(distance, node)
    if size == limit and key > pool[limit - 1]:
        return size, nearest_new
    place = place_in(pool, size, key)
    return insert(pool, size, limit, place, key), min(nearest_new, place)


@_called
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


# Building -----------------------------------------------------------------------------------------------


@_called
def choose(graph, keys, n_keys, most, alpha, take_few, room):  # type: ignore[no-untyped-def]
    """`layered_graph.select_neighbours` over ascending keys; returns how many stand in room.chosen.

    A candidate is left out if alpha · its distance to a chosen one is less than its distance to the node.
    With `take_few`, all are taken if there are no more than `most`.
    """
    chosen, vectors, row_bytes = room.chosen, graph.vectors, graph.row_bytes
    n = 0
    if take_few and n_keys <= most:
        for i in range(n_keys):
            chosen[i] = number_of(keys[i])
        return n_keys
    for i in range(n_keys):
        if n == most:
            break
        node, distance = number_of(keys[i]), distance_of(keys[i])
        row = vectors + node * row_bytes
        if i + 1 < n_keys:
            prefetch_row(vectors + number_of(keys[i + 1]) * row_bytes, row_bytes)
        good = True
        for j in range(0, n, 4):
            a = vectors + chosen[j] * row_bytes
            b = vectors + chosen[min(j + 1, n - 1)] * row_bytes
            c = vectors + chosen[min(j + 2, n - 1)] * row_bytes
            d = vectors + chosen[min(j + 3, n - 1)] * row_bytes
            s, t, u, v = four_distances(row, a, b, c, d, row_bytes, graph.squared)
            if min(min(s, t), min(u, v)) * alpha < distance:
                good = False
                break
        if good:
            chosen[n] = node
            n += 1
    return n


@_inlined
def write_links(links, chosen, n):  # type: ignore[no-untyped-def]
    for i in range(len(links)):
        links[i] = np.int32(chosen[i]) if i < n else np.int32(NOBODY)


@_inlined
def lock(locks, node):  # type: ignore[no-untyped-def]
    while not try_to_take(locks.ctypes.data + 4 * node):
        pass


@_inlined
def unlock(locks, node):  # type: ignore[no-untyped-def]
    give_back(locks.ctypes.data + 4 * node)


@_called
def sort_by_distance(graph, node, n, room):  # type: ignore[no-untyped-def]
    """room.keys becomes the n nodes in room.batch with their distances to `node`, ascending."""
    keys, batch, vectors, row_bytes = room.keys, room.batch, graph.vectors, graph.row_bytes
    row, size = vectors + node * row_bytes, 0
    for i in range(0, n, 4):
        b, c, d = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
        s, t, u, v = four_distances(
            row,
            vectors + batch[i] * row_bytes,
            vectors + batch[b] * row_bytes,
            vectors + batch[c] * row_bytes,
            vectors + batch[d] * row_bytes,
            row_bytes,
            graph.squared,
        )
        key = key_of(s, batch[i])
        size = insert(keys, size, n, place_in(keys, size, key), key)
        if i + 1 < n:
            key = key_of(t, batch[b])
            size = insert(keys, size, n, place_in(keys, size, key), key)
        if i + 2 < n:
            key = key_of(u, batch[c])
            size = insert(keys, size, n, place_in(keys, size, key), key)
        if i + 3 < n:
            key = key_of(v, batch[d])
            size = insert(keys, size, n, place_in(keys, size, key), key)
    return size


@_called
def link_back(graph, layer, node, new, alpha, take_few, room):  # type: ignore[no-untyped-def]
    """`LayeredGraph.link_back`. The lock of `node` is held."""
    links = links_of(graph, node, layer)
    n = 0
    while n < len(links) and links[n] >= 0:
        if links[n] == new:
            return
        room.batch[n] = links[n]
        n += 1
    if n < len(links):
        links[n] = np.int32(new)
        return
    for i in range(n):
        prefetch_row(graph.vectors + room.batch[i] * graph.row_bytes, graph.row_bytes)
    room.batch[n] = new
    n_keys = sort_by_distance(graph, node, n + 1, room)
    write_links(links, room.chosen, choose(graph, room.keys, n_keys, len(links), alpha, take_few, room))


@_called
def link(graph, layer, node, keys, n_keys, most, alpha, take_few, locks, room):  # type: ignore[no-untyped-def]
    """Give a node links to some of the candidates in `keys`, and those links back."""
    n = choose(graph, keys, n_keys, most, alpha, take_few, room)
    links = links_of(graph, node, layer)
    lock(locks, node)
    write_links(links, room.chosen, n)
    unlock(locks, node)
    for i in range(n):  # from what was written: choosing again for another node uses room.chosen
        other = np.int64(links[i])
        if other < 0:  # another thread made this node choose again, among fewer
            break
        lock(locks, other)
        link_back(graph, layer, other, node, alpha, take_few, room)
        unlock(locks, other)


@compiled
def insert_nodes(graph, nodes, levels, taken, entry, top, m, locks, room):  # type: ignore[no-untyped-def]
    """`LayeredGraph.insert` for these nodes, none of which goes above `top`. Threads share the counter
    `taken`.
    """
    while True:
        i = take_next(taken.ctypes.data)
        if i >= len(nodes):
            return
        node = np.int64(nodes[i])
        query = graph.vectors + node * graph.row_bytes
        level = min(np.int64(levels[node]), top)
        nearest, distance = descend(graph, query, entry, top, level, room)
        # Bottom up: a walk of another thread that comes to this node finds links there, and below.
        for layer in range(level, 0, -1):
            room.starts[layer] = key_of(distance, nearest)
            walk(graph, layer, query, nearest, distance, len(room.pool), room)
            nearest, distance = number_of(room.pool[0]), distance_of(room.pool[0])
        room.starts[0] = key_of(distance, nearest)
        for layer in range(level + 1):
            start = room.starts[layer]
            size = walk(graph, layer, query, number_of(start), distance_of(start), len(room.pool), room)
            link(graph, layer, node, room.pool, size, m, np.float32(1), True, locks, room)


# Mending ------------------------------------------------------------------------------------------------


@compiled
def mend(graph, layer, nodes, gone, alpha, room):  # type: ignore[no-untyped-def]
    """Give each of `nodes` that has links to nodes in `gone` new ones: it chooses among the links it keeps
    and those that the gone ones have, and through gone ones further on, as far as there is room for
    candidates.
    """
    batch = room.batch
    for i in range(len(nodes)):
        node = np.int64(nodes[i])
        links = links_of(graph, node, layer)
        hurt = False
        for j in range(len(links)):
            if links[j] < 0:
                break
            hurt = hurt or gone[links[j]]
        if not hurt:
            continue
        mark = next_mark(room)
        room.seen[node] = mark
        n, n_gone = 0, 0
        for j in range(len(links)):
            if links[j] < 0:
                break
            room.seen[links[j]] = mark
            if gone[links[j]]:
                room.trail[n_gone] = links[j]
                n_gone += 1
            else:
                batch[n] = links[j]
                n += 1
        through = 0
        while through < n_gone and n < len(room.keys) - len(links):
            further = links_of(graph, room.trail[through], layer)
            through += 1
            for j in range(len(further)):
                other = np.int64(further[j])
                if other < 0:
                    break
                if room.seen[other] == mark:
                    continue
                room.seen[other] = mark
                if not gone[other]:
                    batch[n] = other
                    n += 1
                elif n_gone < len(room.trail):
                    room.trail[n_gone] = other
                    n_gone += 1
        n_keys = sort_by_distance(graph, node, n, room)
        write_links(links, room.chosen, choose(graph, room.keys, n_keys, len(links), alpha, True, room))


@compiled
def mark_reachable(bottom, entry, reached, queue):  # type: ignore[no-untyped-def]
    """reached[node] = 1 for every node that a walk in layer 0 can come to from `entry`, beyond those marked
    already.

    queue: room for as many numbers as there are nodes.
    """
    reached[entry] = 1
    queue[0] = entry
    first, size = 0, 1
    while first < size:
        links = bottom[queue[first]]
        first += 1
        for i in range(len(links)):
            other = links[i]
            if other < 0:
                break
            if reached[other] == 0:
                reached[other] = 1
                queue[size] = other
                size += 1


@compiled
def link_to(graph, node, entry, room):  # type: ignore[no-untyped-def]
    """Make a node reachable in layer 0: the nearest node that a walk from `entry` finds and that has room
    links to it. If none has room, the nearest gives up its last link, which `node` takes over.
    """
    query = graph.vectors + node * graph.row_bytes
    distance = one_distance(query, graph.vectors + entry * graph.row_bytes, graph.row_bytes, graph.squared)
    size = walk(graph, 0, query, entry, distance, len(room.pool), room)
    last = graph.bottom.shape[1] - 1
    for i in range(size):
        links = graph.bottom[number_of(room.pool[i])]
        if links[last] < 0:
            add_link(links, node)
            return
    links = graph.bottom[number_of(room.pool[0])]
    given_up, links[last] = links[last], np.int32(node)
    own = graph.bottom[node]
    if own[last] >= 0:
        own[last] = np.int32(NOBODY)
    add_link(own, given_up)


@_inlined
def add_link(links, node):  # type: ignore[no-untyped-def]
    """Put a link behind the others, if there is room and it is not there."""
    for i in range(len(links)):
        if links[i] == node:
            return
        if links[i] < 0:
            links[i] = np.int32(node)
            return


# Vamana -------------------------------------------------------------------------------------------------


@compiled
def refine_nodes(graph, nodes, taken, entry, alpha, locks, room):  # type: ignore[no-untyped-def]
    """Choose the links of these nodes among all nodes that a walk to them followed and the links they have,
    and link back. For a node without links this is how it enters the graph.
    """
    batch = room.batch
    while True:
        i = take_next(taken.ctypes.data)
        if i >= len(nodes):
            return
        node = np.int64(nodes[i])
        query = graph.vectors + node * graph.row_bytes
        distance = one_distance(
            query, graph.vectors + entry * graph.row_bytes, graph.row_bytes, graph.squared
        )
        before = room.counts[0]
        walk(graph, 0, query, entry, distance, len(room.pool), room)
        followed = min(room.counts[0] - before, len(room.trail))
        mark = next_mark(room)
        room.seen[node] = mark
        n, links = 0, graph.bottom[node]
        for j in range(len(links)):
            if links[j] < 0:
                break
            room.seen[links[j]] = mark
            batch[n] = links[j]
            n += 1
        for j in range(followed):
            other = number_of(room.trail[j])
            if room.seen[other] != mark and n < len(room.keys):
                room.seen[other] = mark
                batch[n] = other
                n += 1
        if n > 0:
            n_keys = sort_by_distance(graph, node, n, room)
            link(graph, 0, node, room.keys, n_keys, len(links), alpha, False, locks, room)

"""Building a graph: which links a node gets, and which of them link back. Oracle: `layered_graph`, and
`vamana.robust_prune`.

Several threads may insert at the same time. Who changes the links of a node holds its lock; who reads them
does not: an entry is at any time a node or -1, so at worst a walk misses a link that is just being written.
"""
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import numpy as np

from teachllm.stack.retrieval.indexes.fast.distances import (
    distance_of,
    four_distances,
    insert,
    key_of,
    number_of,
    one_distance,
    place_in,
    prefetch_row,
)
from teachllm.stack.retrieval.indexes.fast.graph import (
    NOBODY,
    called,
    descend,
    inlined,
    links_of,
    next_mark,
    walk,
)
from teachllm.stack.retrieval.indexes.fast.vector_operations import give_back, take_next, try_to_take
from teachllm.stack.tokenizer.fast.compiled import compiled


@called
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


@inlined
def write_links(links, chosen, n):  # type: ignore[no-untyped-def]
    for i in range(len(links)):
        links[i] = np.int32(chosen[i]) if i < n else np.int32(NOBODY)


@inlined
def lock(locks, node):  # type: ignore[no-untyped-def]
    while not try_to_take(locks.ctypes.data + 4 * node):
        pass


@inlined
def unlock(locks, node):  # type: ignore[no-untyped-def]
    give_back(locks.ctypes.data + 4 * node)


@called
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


@called
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


@called
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

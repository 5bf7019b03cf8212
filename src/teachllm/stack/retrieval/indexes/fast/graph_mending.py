"""Keeping a graph whole: new links for those whose neighbours are gone, and a way to every node."""
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import numpy as np

from teachllm.stack.retrieval.indexes.fast.distances import number_of, one_distance
from teachllm.stack.retrieval.indexes.fast.graph import NOBODY, inlined, links_of, next_mark, walk
from teachllm.stack.retrieval.indexes.fast.graph_building import choose, sort_by_distance, write_links
from teachllm.stack.tokenizer.fast.compiled import compiled


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


@inlined
def add_link(links, node):  # type: ignore[no-untyped-def]
    """Put a link behind the others, if there is room and it is not there."""
    for i in range(len(links)):
        if links[i] == node:
            return
        if links[i] < 0:
            links[i] = np.int32(node)
            return

"""HNSW, to be read: a graph in layers, a walk through it, and which links a new node gets.

Every node stands in layer 0; each layer above holds about one in M of the nodes below it, like the express
lanes of a skip list. A search enters at the one node on top, walks in each layer to the node nearest to the
query, and goes down there. In layer 0 it keeps not one but the `ef` nearest nodes so far.

`fast.graph` does the same over arrays, and the tests hold it to this. Malkov and Yashunin 2016, "Efficient
and Robust Approximate Nearest Neighbor Search Using Hierarchical Navigable Small World Graphs",
arXiv:1603.09320.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int8

Found = list[tuple[float, int]]
"""Distances and numbers of nodes, nearest first; equal distances in the order of the numbers."""


def search_layer(
    vectors: Float32[np.ndarray, "n d"],
    neighbours: Sequence[Sequence[int]],
    query: Float32[np.ndarray, " d"],
    entry: int,
    ef: int,
) -> Found:
    """Walk through one layer from node `entry`; return the `ef` nodes nearest to the query that the walk met.

    neighbours[node] are the nodes to which a node has links. The walk always follows the links of the
    nearest node that it met and has not followed yet, and ends when there is none, or when `ef` nodes are
    found and that one is farther away than all of them. Distances are squared, ‖x − q‖²; each node is
    compared once. Of equally far nodes, the smaller number counts as nearer. Fewer are returned only if
    fewer can be reached. Algorithm 2 of the paper.
    """

    def distance(node: int) -> float:
        return float(((vectors[node] - query) ** 2).sum())

    seen = {entry}
    start = (distance(entry), entry)
    to_follow = [start]  # a heap: the nearest first
    found = [(-start[0], -start[1])]  # a heap: the farthest first
    while to_follow:
        nearest, node = heapq.heappop(to_follow)
        worst = (-found[0][0], -found[0][1])
        if len(found) == ef and (nearest, node) > worst:
            break
        for other in neighbours[node]:
            if other in seen:
                continue
            seen.add(other)
            candidate = (distance(other), other)
            if len(found) < ef or candidate < (-found[0][0], -found[0][1]):
                heapq.heappush(to_follow, candidate)
                heapq.heappush(found, (-candidate[0], -candidate[1]))
                if len(found) > ef:
                    heapq.heappop(found)
    return sorted((-d, -node) for d, node in found)


def select_neighbours(candidates: Found, distance_between: Callable[[int, int], float], m: int) -> list[int]:
    """At most m of the candidates, nearest first, in directions that differ.

    A candidate is left out if it is nearer to one that was chosen than to the node itself: the walk can go
    there by way of that one. With m candidates or fewer all are taken. Algorithm 4 of the paper, without its
    two options.
    """
    if len(candidates) <= m:
        return [node for _, node in candidates]
    chosen: list[int] = []
    for distance, node in candidates:
        if len(chosen) == m:
            break
        if all(distance_between(node, other) >= distance for other in chosen):
            chosen.append(node)
    return chosen


def draw_levels(n: int, m: int, *, seed: int = 0, first: int = 0) -> Int8[np.ndarray, " n"]:
    """The top layer of nodes first … first + n − 1: ⌊−ln U · 1/ln M⌋ with U uniform in (0, 1].

    Level l has probability M^−l (1 − 1/M): one node in M goes up from each layer to the next. The numbers do
    not depend on how nodes are grouped into batches.
    """
    bits = np.random.PCG64(seed)
    bits.advance(first)
    uniform = 1 - np.random.Generator(bits).random(n)
    return np.minimum(-np.log(uniform) / math.log(m), 15).astype(np.int8)


@dataclass
class LayeredGraph:
    """The index itself, in plain Python: as slow as it is short."""

    vectors: Float32[np.ndarray, "n d"]
    m: int
    ef_construction: int
    layers: list[list[list[int]]] = field(default_factory=list)
    """layers[l][node]: the links of a node in layer l; empty for a node that does not stand there."""
    entry: int = -1

    def between(self, a: int, b: int) -> float:
        return float(((self.vectors[a] - self.vectors[b]) ** 2).sum())

    def insert(self, node: int, level: int) -> None:
        """Algorithm 1 of the paper. Nodes are inserted in any order, each once."""
        top = len(self.layers) - 1
        self.layers += [[[] for _ in self.vectors] for _ in range(level - top)]
        if self.entry < 0:
            self.entry = node
            return
        current = self.entry
        for layer in range(top, -1, -1):
            ef = 1 if layer > level else self.ef_construction
            found = search_layer(self.vectors, self.layers[layer], self.vectors[node], current, ef)
            current = found[0][1]
            if layer <= level:
                chosen = select_neighbours(found, self.between, self.m)
                self.layers[layer][node] = chosen
                for other in chosen:
                    self.link_back(layer, other, node)
        if level > top:
            self.entry = node

    def link_back(self, layer: int, node: int, new: int) -> None:
        """Give `node` a link to a new node too. If it has no room, it chooses again among all of them."""
        links, room = self.layers[layer][node], 2 * self.m if layer == 0 else self.m
        links.append(new)
        if len(links) > room:
            candidates = sorted((self.between(node, other), other) for other in links)
            self.layers[layer][node] = select_neighbours(candidates, self.between, room)

    def search(self, query: Float32[np.ndarray, " d"], k: int, ef: int) -> Found:
        current = self.entry
        for layer in range(len(self.layers) - 1, 0, -1):
            current = search_layer(self.vectors, self.layers[layer], query, current, 1)[0][1]
        return search_layer(self.vectors, self.layers[0], query, current, max(ef, k))[:k]

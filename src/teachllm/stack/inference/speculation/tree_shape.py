"""Which guesses a tree combines: a shape is chosen once, from how often guesses of each rank are right."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

TreePath = tuple[int, ...]


@dataclass(frozen=True)
class TreeShape:
    """Nodes below the root, each named by its path: (0, 2) is the third best guess of head 2 behind the best
    of head 1. The path before a path is in the shape too, and stands before it. ValueError otherwise.
    """

    paths: tuple[TreePath, ...]

    def __post_init__(self) -> None:
        known: set[TreePath] = {()}
        for path in self.paths:
            if not path or min(path) < 0 or path[:-1] not in known or path in known:
                raise ValueError(
                    f"the path {path} is empty, twice there, has a rank below 0, or comes before {path[:-1]}"
                )
            known.add(path)

    @property
    def depth(self) -> int:
        """How many heads it takes guesses from."""
        return max(map(len, self.paths), default=0)

    @property
    def ranks(self) -> int:
        """How many guesses of a head it needs at most; 1 for an empty shape."""
        return 1 + max(itertools.chain.from_iterable(self.paths), default=0)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Of the root, node 0, and of the node of each path behind it."""
        place = {path: node for node, path in enumerate(((), *self.paths))}
        return (-1, *(place[path[:-1]] for path in self.paths))

    def up_to(self, depth: int) -> TreeShape:
        """Without what is deeper."""
        return self if depth >= self.depth else TreeShape(tuple(p for p in self.paths if len(p) <= depth))


def chain(depth: int) -> TreeShape:
    """The best guess of each head behind that of the one before: no branches.

    >>> chain(2).paths
    ((0,), (0, 0))
    """
    return dense_shape([1] * depth)


def dense_shape(widths: Sequence[int]) -> TreeShape:
    """All combinations of the widths[k] best guesses of each head: Σ_k Π_{i ≤ k} widths[i] nodes.

    >>> len(dense_shape([2, 3]).paths)
    8
    """
    levels = (itertools.product(*map(range, widths[:depth])) for depth in range(1, len(widths) + 1))
    return TreeShape(tuple(itertools.chain.from_iterable(levels)))


def node_accuracy(path: TreePath, accuracies: Sequence[Sequence[float]]) -> float:
    """Π accuracies[k][path[k]]: how often all guesses of the path are right, if heads err independently."""
    product = 1.0
    for of_head, rank in zip(accuracies, path, strict=False):
        product *= of_head[rank]
    return product


def expected_length(shape: TreeShape, accuracies: Sequence[Sequence[float]]) -> float:
    """Tokens that a pass gives on average: one, and for each node the probability that it stays."""
    return 1 + sum(node_accuracy(path, accuracies) for path in shape.paths)


def sparse_shape(accuracies: Sequence[Sequence[float]], n_nodes: int) -> TreeShape:
    """The shape of `sparse_paths`: of all with so many nodes, the one with the largest `expected_length`."""
    return TreeShape(sparse_paths(accuracies, n_nodes))


def sparse_paths(accuracies: Sequence[Sequence[float]], n_nodes: int) -> tuple[TreePath, ...]:
    """The `n_nodes` nodes with the largest `node_accuracy`, each behind the one before it on its path; all of
    them if there are fewer.

    accuracies[k][r]: how often the guess of rank r of head k + 1 is right. No node is more accurate than the
    one before it on its path, so taking the best node that can be added, time and again, is optimal. Cai et
    al. 2024, arXiv:2401.10774. ValueError if n_nodes is below 1, or a number is no share.

    >>> sparse_paths([[0.6, 0.2], [0.5, 0.3]], 3)
    ((0,), (0, 0), (1,))
    """
    if n_nodes < 1 or not all(0 <= share <= 1 for of_head in accuracies for share in of_head):
        raise ValueError(f"n_nodes is {n_nodes}: at least 1; accuracies must be from 0 to 1: {accuracies}")
    chosen: list[TreePath] = []
    waiting: list[tuple[float, int, TreePath]] = []

    def add_children(path: TreePath) -> None:
        if len(path) < len(accuracies):
            for rank in range(len(accuracies[len(path)])):
                child = (*path, rank)
                heapq.heappush(waiting, (-node_accuracy(child, accuracies), len(child), child))

    add_children(())
    while waiting and len(chosen) < n_nodes:
        _, _, best = heapq.heappop(waiting)
        chosen.append(best)
        add_children(best)
    return tuple(chosen)

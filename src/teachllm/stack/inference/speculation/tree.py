"""A tree of guesses: several continuations that share their beginnings, read by the model in one pass.

Node 0 is the root, the newest token of the text; every other node is a guess behind its parent. Miao et al.
2023, arXiv:2305.09781 (SpecInfer); Cai et al. 2024, arXiv:2401.10774 (Medusa).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from teachllm.stack.nn.fast.placement import Placement, addresses, describable
from teachllm.stack.nn.kv_cache import KVCache


@dataclass(frozen=True)
class TokenTree:
    """tokens[i] stands behind tokens[parents[i]]; parents[0] is -1, and a parent comes before its children.

    ValueError if it is no such tree.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.parents or len(self.tokens) != len(self.parents) or self.parents[0] != -1:
            raise ValueError(
                f"{len(self.tokens)} tokens with parents {self.parents}: a tree has one parent for each "
                "token, and that of the first is -1"
            )
        wrong = [node for node, parent in enumerate(self.parents) if node and not 0 <= parent < node]
        if wrong:
            raise ValueError(f"parents {self.parents}: the parent of node {wrong[0]} does not come before it")


def tree_of(root: int, paths: Sequence[Sequence[int]]) -> TokenTree:
    """The tree of several continuations of the token `root`: equal beginnings become one branch.

    >>> tree_of(7, [[1, 2], [1, 3], [4]])
    TokenTree(tokens=(7, 1, 2, 3, 4), parents=(-1, 0, 1, 1, 0))
    """
    tokens, parents = [root], [-1]
    child: dict[tuple[int, int], int] = {}
    for path in paths:
        node = 0
        for token in path:
            if (node, token) not in child:
                child[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
            node = child[node, token]
    return TokenTree(tuple(tokens), tuple(parents))


def ancestor_mask(parents: Sequence[int]) -> Bool[Tensor, "node seen"]:
    """True where a node may see another: itself and its ancestors, and nothing of other branches.

    >>> ancestor_mask([-1, 0, 0, 1]).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]
    """
    mask = torch.eye(len(parents), dtype=torch.bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            mask[node] |= mask[parent]
    return mask


def depths(parents: Sequence[int]) -> Int[Tensor, " node"]:
    """How far below the root each node is: guesses for the same place in the text are equally deep, wherever
    they stand in the row.
    """
    return ancestor_mask(parents).sum(-1) - 1


def path_to(parents: Sequence[int], node: int) -> list[int]:
    """The nodes from the root to `node`, both included."""
    path = [node]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    return path[::-1]


def greedy_path(tree: TokenTree, best: Sequence[int]) -> list[int]:
    """The nodes from the root on whose tokens the target would have written, greedily.

    best[i]: the target's most probable token behind node i. What comes behind the path is that of its last
    node.
    """
    path = [0]
    while True:
        fits = [
            node
            for node, parent in enumerate(tree.parents)
            if parent == path[-1] and tree.tokens[node] == best[parent]
        ]
        if not fits:
            return path
        path.append(fits[0])


class TreeView:
    """A view of a cache for one pass over all nodes of a tree, which stand behind what the cache holds.

    After the pass, `keep` leaves the nodes of one path in the cache, as if only they had been read.
    """

    def __init__(self, cache: KVCache, parents: Sequence[int]) -> None:
        self._cache = cache
        self._start = cache.length
        self._parents = tuple(parents)
        self._device = cache.keys[0].device
        self._ancestors, depths = _mask_and_depths(self._parents)
        self._positions = cache.length + depths
        self._mask: Bool[Tensor, "node seen"] | None = None

    def positions(self, n_new: int) -> Int[Tensor, " n_new"]:
        """By depth: the position where the token would stand if its path were the text."""
        if n_new != len(self._positions):
            raise ValueError(f"{n_new} tokens were given for a tree of {len(self._positions)} nodes")
        return self._positions.to(self._device)

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "batch heads node d"],
        k: Float[Tensor, "batch kv_heads node d"],
        v: Float[Tensor, "batch kv_heads node d"],
    ) -> Float[Tensor, "batch heads node d"]:
        """Each node over the whole past and its ancestors."""
        keys, values = self._cache.update(layer, k, v)
        group = q.shape[1] // k.shape[1]
        if self._mask is None:
            past = torch.ones(len(self._parents), self._start, dtype=torch.bool)
            self._mask = torch.cat([past, self._ancestors], dim=1).repeat(group, 1).to(self._device)
        # The heads of a group stand in line as queries, so that no key is copied for each of them.
        folded = q.reshape(q.shape[0], k.shape[1], group * q.shape[2], q.shape[3])
        return F.scaled_dot_product_attention(folded, keys, values, self._mask).reshape(q.shape)

    def placement(self, n_new: int) -> Placement | None:
        """For kernels that do all of a step by themselves: each node has a block table of its own, of blocks
        of one position, that leads through the past to its ancestors. No mask is needed then.
        """
        cache = self._cache
        batch, _, capacity, head_dim = cache.keys[0].shape
        fits = n_new == len(self._parents) and self._start + n_new <= capacity
        if batch > 1 or not fits or not describable(cache.keys[0]):
            return None
        return Placement(
            layers=addresses(cache.keys, cache.values),
            tables=tables_of(self._parents, self._start),
            positions=self._positions.numpy(),
            block_size=1,
            block_stride=head_dim,
            head_stride=capacity * head_dim,
            position_stride=0,
            dtype=cache.keys[0].dtype,
        )

    def advance(self, n_positions: int) -> None:
        self._cache.advance(n_positions)

    def keep(self, path: Sequence[int]) -> None:
        """Move keys and values of these nodes next to each other behind the past, and forget the others."""
        end = self._start + len(path)
        if list(path) != list(range(len(path))):
            nodes = self._start + torch.tensor(path, device=self._device)
            for layers in (self._cache.keys, self._cache.values):
                for held in layers:
                    held[:, :, self._start : end] = held[:, :, nodes]
        self._cache.truncate(end)


@functools.lru_cache(maxsize=64)
def _mask_and_depths(parents: tuple[int, ...]) -> tuple[Bool[Tensor, "node seen"], Int[Tensor, " node"]]:
    """Of one shape, which stays the same from pass to pass."""
    return ancestor_mask(parents), depths(parents)


def tables_of(parents: Sequence[int], start: int) -> NDArray[np.int64]:
    """Row i: the places, in a cache that holds `start` positions, of the text that ends with node i.

    >>> tables_of([-1, 0, 0, 2], 2).tolist()  # behind the node itself, nobody reads
    [[0, 1, 2, 0, 0], [0, 1, 2, 3, 0], [0, 1, 2, 4, 0], [0, 1, 2, 4, 5]]
    """
    deep: list[int] = []
    for parent in parents:
        deep.append(0 if parent < 0 else deep[parent] + 1)
    tables = np.zeros((len(parents), start + max(deep) + 1), np.int64)
    tables[:, :start] = np.arange(start)
    for node, parent in enumerate(parents):
        end = start + deep[node]
        if parent >= 0:
            tables[node, start:end] = tables[parent, start:end]
        tables[node, end] = start + node
    return tables

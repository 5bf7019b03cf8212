"""A tree of guesses: several continuations that share their beginnings, read by the model in one pass.

Node 0 is the root, the newest token of the text; every other node is a guess behind its parent. Miao et al.
2023, arXiv:2305.09781 (SpecInfer); Cai et al. 2024, arXiv:2401.10774 (Medusa).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from teachllm.stack.nn.attention import repeat_kv_heads, scaled_dot_product_attention
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
        device = cache.keys[0].device
        seen = torch.ones(len(parents), cache.length, dtype=torch.bool)
        self._mask = torch.cat([seen, ancestor_mask(parents)], dim=1).to(device)
        self._positions = (cache.length + depths(parents)).to(device)

    def positions(self, n_new: int) -> Int[Tensor, " n_new"]:
        """By depth: the position where the token would stand if its path were the text."""
        if n_new != len(self._positions):
            raise ValueError(f"{n_new} tokens were given for a tree of {len(self._positions)} nodes")
        return self._positions

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
        return scaled_dot_product_attention(
            q, repeat_kv_heads(keys, group), repeat_kv_heads(values, group), self._mask
        )

    def advance(self, n_positions: int) -> None:
        self._cache.advance(n_positions)

    def keep(self, path: Sequence[int]) -> None:
        """Move keys and values of these nodes next to each other behind the past, and forget the others."""
        nodes = torch.tensor(path, device=self._mask.device)
        end = self._start + len(path)
        for layers in (self._cache.keys, self._cache.values):
            for held in layers:
                held[:, :, self._start : end] = held[:, :, self._start + nodes]
        self._cache.truncate(end)

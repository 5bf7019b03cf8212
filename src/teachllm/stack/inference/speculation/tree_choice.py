"""How large a tree should be: more nodes give more tokens a pass, and a pass that takes longer.

How accurate the heads are is theirs; how long a pass takes is the machine's, so it is measured there. A tree
that is best on one is not on another, which Chen et al. 2024, arXiv:2402.12374 (Sequoia), make a method of.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from teachllm.stack.inference.generation import CausalModel
from teachllm.stack.inference.speculation.medusa import MedusaHeads, best_guesses, medusa_tree
from teachllm.stack.inference.speculation.tree import TreeView
from teachllm.stack.inference.speculation.tree_shape import TreeShape, expected_length, sparse_shape
from teachllm.stack.nn.kv_cache import KVCache

SIZES = (0, 1, 2, 3, 5, 7, 11, 15, 23, 31, 47, 63)  # a pass reads one more: the newest token


@dataclass(frozen=True)
class TreeTiming:
    """One size of tree. seconds: of a pass, with the guesses for the next one. tokens: that a pass gives on
    average, if heads err independently.
    """

    shape: TreeShape
    seconds: float
    tokens: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def tree_of_size(accuracies: Sequence[Sequence[float]], n_nodes: int) -> TreeShape:
    """The sparse tree; none for 0 nodes. ValueError if nobody measured how accurate the heads are."""
    if not accuracies:
        raise ValueError("how accurate these heads are was not measured, so no tree can be chosen for them")
    return sparse_shape(accuracies, n_nodes) if n_nodes else TreeShape(())


def tree_timings(
    model: CausalModel, heads: MedusaHeads, sizes: Sequence[int] = SIZES, cached: int = 128, runs: int = 5
) -> Iterator[TreeTiming]:
    """Sizes in turn, each the median of `runs` passes behind `cached` positions. Without nodes: decoding as
    usual, with no guesses to make.
    """
    for n_nodes in sizes:
        shape = tree_of_size(heads.accuracies, n_nodes)
        seconds = pass_seconds(model, heads, shape, cached, runs)
        yield TreeTiming(shape, seconds, expected_length(shape, heads.accuracies))


@torch.inference_mode()
def pass_seconds(
    model: CausalModel, heads: MedusaHeads, shape: TreeShape, cached: int = 128, runs: int = 5
) -> float:
    """Of all that a pass does: guesses, the model over the nodes, logits behind each, one path kept. Behind
    `cached` positions, or as many as the context has room for.
    """
    weights = next(model.parameters())
    cached = min(cached, model.config.context_length - 1 - shape.depth)
    capacity = cached + 1 + len(shape.paths)
    cache = KVCache.for_model(model.config, capacity, dtype=weights.dtype, device=weights.device)
    past = torch.zeros(1, cached, dtype=torch.long, device=weights.device)
    features = model.features(past, cache)[0, -1]
    taken = []
    for _ in range(1 + runs):
        begun = time.perf_counter()
        guesses = best_guesses(model, heads, features, shape.ranks) if shape.paths else torch.empty(0, 0)
        tree = medusa_tree(shape, 0, guesses)
        view = TreeView(cache, tree.parents) if shape.paths else cache
        read = model.features(torch.tensor([tree.tokens], device=weights.device), view)[0]
        model.head(read).float().argmax(-1).tolist()
        if isinstance(view, TreeView):
            view.keep([0])
        taken.append(time.perf_counter() - begun)
        cache.truncate(cached)
    return statistics.median(taken[1:])

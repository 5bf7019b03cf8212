"""Negatives from batches that are over: a queue of vectors, and an encoder that changes so slowly that they
stay valid.

He et al. 2019, arXiv:1911.05722 (MoCo). Where GradCache buys a large batch with time, a queue buys it with
vectors that are a little old.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from teachllm.stack.retrieval.embedding.pooling import normalize


@torch.no_grad()
def momentum_update(slow: nn.Module, fast: nn.Module, momentum: float = 0.999) -> None:
    """θ_slow ← m · θ_slow + (1 − m) · θ_fast. Only `fast` is trained; `slow` encodes the passages of the
    queue.

    ValueError if the two have other parameters.
    """
    theirs = dict(fast.named_parameters())
    ours = dict(slow.named_parameters())
    if ours.keys() != theirs.keys():
        raise ValueError(
            f"the encoders differ in {sorted(ours.keys() ^ theirs.keys())[:5]}; make one a copy of the other"
        )
    for name, parameter in ours.items():
        parameter.lerp_(theirs[name], 1 - momentum)


class NegativeQueue:
    """The last `size` passages that were encoded, oldest first out; at first, random unit vectors."""

    def __init__(self, size: int, dimension: int, generator: torch.Generator) -> None:
        self.vectors: Float[Tensor, "size dimension"] = normalize(
            torch.randn(size, dimension, generator=generator)
        )
        self._next = 0

    @torch.no_grad()
    def push(self, passages: Float[Tensor, "batch dimension"]) -> None:
        """Put a batch in, **after** its loss was computed: else its positives would be their own negatives.

        ValueError for more passages than the queue holds.
        """
        size = len(self.vectors)
        if len(passages) > size:
            raise ValueError(f"{len(passages)} passages do not fit into a queue of {size}")
        places = (self._next + torch.arange(len(passages))) % size
        # Not in place: the loss of a batch may still need the vectors as they were.
        self.vectors = self.vectors.index_copy(0, places, passages.to(self.vectors))
        self._next = int((self._next + len(passages)) % size)

"""Contrastive batches that are larger than memory: the gradient of the whole, computed piece by piece.

A loss over a batch of pairs cannot be split into micro-batches, because each query is compared with every
passage. But the vectors of the whole batch fit easily; only what the encoder keeps for the backward pass does
not. So the encoder runs twice: without gradients for the vectors, then piece by piece with the gradient that
the loss gave them.

Gao et al. 2021, arXiv:2101.06983.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Piece = TypeVar("Piece")


def grad_cache_backward(
    encode: Callable[[Piece], Float[Tensor, "text d"]],
    pieces: Sequence[Piece],
    loss: Callable[[Float[Tensor, "all_texts d"]], Float[Tensor, ""]],
) -> Float[Tensor, ""]:
    """The loss of all pieces together, with its gradients added to the encoder's parameters.

    encode: vectors of a piece of the batch. loss: of the vectors of all pieces, in their order. The same
    gradients as `loss(torch.cat([encode(p) for p in pieces])).backward()`, in the memory of one piece and the
    time of three passes for two. Where the encoder draws random numbers, both runs of a piece draw the same
    ones.
    """
    # 1. All vectors, keeping nothing.
    states, vectors = [], []
    with torch.no_grad():
        for piece in pieces:
            states.append(_random_state())
            vectors.append(encode(piece))
    # 2. The loss, and its gradient with respect to the vectors: the cache.
    leaves = torch.cat(vectors).detach().requires_grad_()
    total = loss(leaves)
    (cache,) = torch.autograd.grad(total, leaves)
    # 3. Each piece again, backwards with its part of the cache.
    after = _random_state()
    for piece, state, gradient in zip(pieces, states, cache.split([len(v) for v in vectors]), strict=True):
        _restore(state)
        encode(piece).backward(gradient)
    _restore(after)
    return total.detach()


def _random_state() -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _restore(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])

"""The loss of a language model: how surprised it is by the next token.

`cross_entropy` is the definition. `chunked_cross_entropy` is the same number and the same gradients from the
features that the head reads, without ever holding the logits of all positions: at a vocabulary of 128,000 and
8,192 positions these alone would be 4 GB in float32, and their gradient as much again.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.data.packing import IGNORED
from teachllm.stack.nn.fast import threads as fast
from teachllm.stack.nn.fast.cross_entropy import logits_to_gradient

CHUNK = 1024


def cross_entropy(
    logits: Float[Tensor, "*position vocab"], targets: Int[Tensor, "*position"], divisor: int | None = None
) -> Float[Tensor, ""]:
    """Mean over the targets of -log softmax(logits)[target] = logsumexp(logits) - logits[target], in float32.

    In nats; divide by ln 2 for bits. Targets that are `IGNORED` do not count.
    divisor: what the sum is divided by, if not by the number of targets that count: a batch in several pieces
    divides each piece by the targets of the whole. ValueError if no target counts.
    """
    logits, targets = logits.flatten(0, -2).float(), targets.flatten()
    counted = targets != IGNORED
    picked = logits.gather(1, targets.where(counted, 0)[:, None])[:, 0]
    losses = (torch.logsumexp(logits, dim=-1) - picked).where(counted, 0.0)
    return losses.sum() / _divisor(targets, divisor)


def chunked_cross_entropy(
    features: Float[Tensor, "*position d_model"],
    head_weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "*position"],
    divisor: int | None = None,
    chunk: int = CHUNK,
) -> Float[Tensor, ""]:
    """`cross_entropy(features @ head_weightᵀ, targets)`, `chunk` positions at a time.

    The gradient of a chunk's logits is (softmax - one_hot(target)) / divisor, so it is known as soon as the
    logits are: the forward pass computes the gradients of the features and of the weight at once, throws the
    logits away, and the backward pass only scales what is there. Peak memory: chunk · vocab numbers.

    Products are in the dtype of the features; sums over the vocabulary and over chunks in float32.
    """
    targets = targets.flatten()
    loss = _ChunkedCrossEntropy.apply(
        features.flatten(0, -2), head_weight, targets, _divisor(targets, divisor), chunk
    )
    assert isinstance(loss, Tensor)
    return loss


def _divisor(targets: Tensor, divisor: int | None) -> int:
    if divisor is None:
        divisor = int((targets != IGNORED).sum())
    if divisor < 1:
        raise ValueError(
            f"the loss of {targets.numel()} targets would be divided by {divisor}: at least one target must "
            f"count, that is, not be {IGNORED}"
        )
    return divisor


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, targets: Tensor, divisor: int, chunk: int
    ) -> Tensor:
        wants_features, wants_weight = features.requires_grad, weight.requires_grad
        loss = torch.zeros((), device=features.device)
        feature_gradient = torch.empty_like(features) if wants_features else None
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        for start in range(0, len(features), chunk):
            rows = slice(start, start + chunk)
            logits = features[rows] @ weight.T
            chunk_loss, gradient = cross_entropy_and_gradient(logits, targets[rows], divisor)
            loss += chunk_loss
            if feature_gradient is not None:
                torch.mm(gradient, weight, out=feature_gradient[rows])
            if weight_gradient is not None:
                weight_gradient += gradient.T @ features[rows]
            del logits, gradient  # before the next ones are made
        if weight_gradient is not None:
            weight_gradient = weight_gradient.to(weight.dtype)
        ctx.save_for_backward(*(g for g in (feature_gradient, weight_gradient) if g is not None))
        ctx.wants = (wants_features, wants_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *loss_gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved, factor = iter(ctx.saved_tensors), loss_gradient[0]
        is_one = factor.device.type == "cpu" and factor.item() == 1  # elsewhere, asking would be waiting
        gradients = [
            (next(saved) if is_one else next(saved) * factor) if wants else None for wants in ctx.wants
        ]
        return (*gradients, None, None, None)


def cross_entropy_and_gradient(
    logits: Float[Tensor, "position vocab"], targets: Int[Tensor, " position"], divisor: int
) -> tuple[Float[Tensor, ""], Float[Tensor, "position vocab"]]:
    """The loss, and its gradient (softmax(logits) - one_hot(targets)) / divisor in the dtype of the logits.

    The logits may be overwritten.
    """
    if fast.can_run(logits):
        return logits_to_gradient(logits, targets, IGNORED, 1 / divisor), logits
    counted = targets != IGNORED
    index = targets.where(counted, 0)[:, None]
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    loss = -log_probabilities.gather(1, index)[:, 0].where(counted, 0.0).sum() / divisor
    gradient = log_probabilities.exp_()
    gradient.scatter_add_(1, index, torch.full_like(index, -1, dtype=gradient.dtype))
    gradient *= (counted / divisor)[:, None]
    return loss, gradient.to(logits.dtype)

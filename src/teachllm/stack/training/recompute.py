"""Activation recompute: keep the input of each block, and compute what is inside once more in the backward
pass. One more forward pass (a third more work) for the memory of a single block.

Chen et al. 2016, arXiv:1604.06174.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from teachllm.stack.training.precision import weights_replaced


def recompute_activations(blocks: Iterable[nn.Module]) -> None:
    """From now on each of `blocks` keeps only its input for the backward pass.

    Results stay the same, and so do the names of the parameters. Applied from outside, so that a model file
    knows nothing of it: `recompute_activations(model.blocks)`.
    """
    for block in blocks:
        block.forward = _recomputed(block, block.forward)


def _recomputed(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def wrapper(*inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs)
        # The backward pass may run in another thread, and after the caller has put other attention or other
        # weights in place: what the forward pass sees now is taken along.
        context = contextvars.copy_context()
        weights = dict(block.named_parameters())

        def run(*inputs: Any) -> Any:
            with weights_replaced(block, weights):
                return context.copy().run(forward, *inputs)

        return checkpoint(run, *inputs, use_reentrant=False)

    return wrapper

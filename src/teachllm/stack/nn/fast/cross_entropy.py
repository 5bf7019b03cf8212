"""Softmax, loss and gradient of logits in place. Oracle: `training.loss.cross_entropy_and_gradient`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.bits import arguments_of, array, as_float, exp, narrow, take, wide

ROWS = 8  # positions a thread takes at a time


def logits_to_gradient(
    logits: Float[Tensor, "position vocab"], targets: Int[Tensor, " position"], ignored: int, scale: float
) -> Float[Tensor, ""]:
    """The logits become (softmax - one_hot(target)) · scale in place; returns the sum of the losses · scale.

    Rows whose target is `ignored` become 0 and have no loss.
    """
    rows, vocab = logits.shape
    losses = torch.empty(rows)
    kernel = threads.compiled_for(logits.dtype, _kernel)
    threads.run(kernel, -(-rows // ROWS), rows, vocab, ignored, scale, logits, targets.contiguous(), losses)
    return losses.sum() * scale


def _kernel(numbers: Any) -> Any:
    def kernel(block):  # type: ignore[no-untyped-def]
        pieces, rows, vocab, ignored, scale_, logits_, targets_, losses_ = arguments_of(block)[:8]
        logits = array(logits_, (rows, vocab), numbers)
        targets, losses = array(targets_, (rows,), np.int64), array(losses_, (rows,), np.float32)
        scale = as_float(scale_)
        while True:
            piece = take(block)
            if piece >= pieces:
                return
            for i in range(piece * ROWS, min(rows, (piece + 1) * ROWS)):
                row, target = logits[i], targets[i]
                highest, total = np.float32(-np.inf), np.float32(0)
                for j in range(vocab):
                    highest = max(highest, wide(row[j]))
                for j in range(vocab):
                    total += exp(wide(row[j]) - highest)
                whole = highest + np.log(total)
                if target == ignored:
                    losses[i] = 0
                    row[:] = 0
                    continue
                logit = wide(row[target])
                losses[i] = whole - logit
                for j in range(vocab):
                    row[j] = narrow(exp(wide(row[j]) - whole) * scale, row)
                row[target] = narrow((exp(logit - whole) - np.float32(1)) * scale, row)

    return kernel

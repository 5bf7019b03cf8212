"""RMSNorm in one pass forward and one backward. Oracle: `nn.norms.rms_norm`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.bits import arguments_of, array, as_float, narrow, take, wide

ROWS = 64  # rows a thread takes at a time


def rms_norm(
    x: Float[Tensor, "*batch d"], weight: Float[Tensor, " d"], eps: float
) -> Float[Tensor, "*batch d"]:
    """`nn.norms.rms_norm`; keeps its input and one number a row for the backward pass."""
    result = _RMSNorm.apply(x, weight, eps)
    assert isinstance(result, Tensor)
    return result


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        d, rows = x.shape[-1], x.numel() // x.shape[-1]
        y, scales = torch.empty_like(x), torch.empty(rows)
        kernel = threads.compiled_for(x.dtype, _forward)
        threads.run(kernel, -(-rows // ROWS), rows, d, eps, x, weight, y, scales)
        ctx.save_for_backward(x, weight, scales)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, scales = ctx.saved_tensors
        d, rows = x.shape[-1], x.numel() // x.shape[-1]
        dy = gradient[0].contiguous()
        dx, pieces = torch.empty_like(x), -(-rows // ROWS)
        dw = torch.zeros(pieces, d)
        kernel = threads.compiled_for(x.dtype, _backward)
        threads.run(kernel, pieces, rows, d, dy, x, weight, scales, dx, dw)
        return dx, dw.sum(0).to(weight.dtype), None


def _forward(numbers: Any) -> Any:
    def kernel(block):  # type: ignore[no-untyped-def]
        pieces, rows, d, eps, x_, weight_, y_, scales_ = arguments_of(block)[:8]
        x, y = array(x_, (rows, d), numbers), array(y_, (rows, d), numbers)
        weight, scales = array(weight_, (d,), numbers), array(scales_, (rows,), np.float32)
        while True:
            piece = take(block)
            if piece >= pieces:
                return
            for i in range(piece * ROWS, min(rows, (piece + 1) * ROWS)):
                total = np.float32(0)
                for j in range(d):
                    total += wide(x[i, j]) * wide(x[i, j])
                scale = np.float32(1) / np.sqrt(total / np.float32(d) + as_float(eps))
                scales[i] = scale
                for j in range(d):
                    y[i, j] = narrow(wide(x[i, j]) * scale * wide(weight[j]), y)

    return kernel


def _backward(numbers: Any) -> Any:
    """With x̂ = x·scale and g = dy·weight: dx = scale·(g - x̂·mean(g·x̂)), dweight = Σ dy·x̂."""

    def kernel(block):  # type: ignore[no-untyped-def]
        pieces, rows, d, dy_, x_, weight_, scales_, dx_, dw_ = arguments_of(block)[:9]
        dy, x, dx = (
            array(dy_, (rows, d), numbers),
            array(x_, (rows, d), numbers),
            array(dx_, (rows, d), numbers),
        )
        weight, scales = array(weight_, (d,), numbers), array(scales_, (rows,), np.float32)
        dw = array(dw_, (pieces, d), np.float32)
        while True:
            piece = take(block)
            if piece >= pieces:
                return
            for i in range(piece * ROWS, min(rows, (piece + 1) * ROWS)):
                scale, total = scales[i], np.float32(0)
                for j in range(d):
                    gradient, normal = wide(dy[i, j]), wide(x[i, j]) * scale
                    total += gradient * wide(weight[j]) * normal
                    dw[piece, j] += gradient * normal
                mean = total / np.float32(d)
                for j in range(d):
                    normal = wide(x[i, j]) * scale
                    dx[i, j] = narrow(scale * (wide(dy[i, j]) * wide(weight[j]) - normal * mean), dx)

    return kernel

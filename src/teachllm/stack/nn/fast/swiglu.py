"""SwiGLU and the matrix behind it, keeping only the SwiGLU's input. Oracle: `nn.feed_forward.swiglu`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.bits import arguments_of, array, exp, narrow, take, wide

ROWS = 32  # rows a thread takes at a time


def swiglu_down(
    gate_up: Float[Tensor, "*batch two_hidden"], down: Float[Tensor, "d_model hidden"]
) -> Float[Tensor, "*batch d_model"]:
    """swiglu(gate, up) @ downᵀ, where gate and up are the halves of `gate_up`.

    The backward pass computes the SwiGLU once more, which costs less than reading it would gain.
    """
    result = _SwiGLUDown.apply(gate_up, down)
    assert isinstance(result, Tensor)
    return result


class _SwiGLUDown(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, down: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up, down)
        rows, hidden = gate_up.numel() // gate_up.shape[-1], gate_up.shape[-1] // 2
        activation = gate_up.new_empty(*gate_up.shape[:-1], hidden)
        kernel = threads.compiled_for(gate_up.dtype, _forward)
        threads.run(kernel, -(-rows // ROWS), rows, hidden, gate_up, activation)
        return activation @ down.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gate_up, down = ctx.saved_tensors
        rows, hidden = gate_up.numel() // gate_up.shape[-1], gate_up.shape[-1] // 2
        dy = gradient[0].reshape(rows, -1)
        # The kernel reads the gradient of the activation and leaves the activation in its place.
        activation = dy @ down
        d_gate_up = torch.empty_like(gate_up)
        kernel = threads.compiled_for(gate_up.dtype, _backward)
        threads.run(kernel, -(-rows // ROWS), rows, hidden, gate_up, activation, d_gate_up)
        return d_gate_up, dy.T @ activation


def _forward(numbers: Any) -> Any:
    def kernel(block):  # type: ignore[no-untyped-def]
        pieces, rows, hidden, gate_up_, activation_ = arguments_of(block)[:5]
        gate_up = array(gate_up_, (rows, 2, hidden), numbers)
        activation = array(activation_, (rows, hidden), numbers)
        one = np.float32(1)
        while True:
            piece = take(block)
            if piece >= pieces:
                return
            for i in range(piece * ROWS, min(rows, (piece + 1) * ROWS)):
                gates, ups, out = gate_up[i, 0], gate_up[i, 1], activation[i]
                for j in range(hidden):
                    gate = wide(gates[j])
                    out[j] = narrow(gate / (one + exp(-gate)) * wide(ups[j]), out)

    return kernel


def _backward(numbers: Any) -> Any:
    """dgate = d·up·σ(1 + gate(1 - σ)) and dup = d·silu(gate) for the gradient d and σ = sigmoid(gate)."""

    def kernel(block):  # type: ignore[no-untyped-def]
        pieces, rows, hidden, gate_up_, activation_, d_gate_up_ = arguments_of(block)[:6]
        gate_up = array(gate_up_, (rows, 2, hidden), numbers)
        d_gate_up = array(d_gate_up_, (rows, 2, hidden), numbers)
        activation = array(activation_, (rows, hidden), numbers)
        one = np.float32(1)
        while True:
            piece = take(block)
            if piece >= pieces:
                return
            for i in range(piece * ROWS, min(rows, (piece + 1) * ROWS)):
                gates, ups, out = gate_up[i, 0], gate_up[i, 1], activation[i]
                d_gates, d_ups = d_gate_up[i, 0], d_gate_up[i, 1]
                for j in range(hidden):
                    gate, up, d = wide(gates[j]), wide(ups[j]), wide(out[j])
                    sigmoid = one / (one + exp(-gate))
                    silu = gate * sigmoid
                    out[j] = narrow(silu * up, out)
                    d_gates[j] = narrow(d * up * sigmoid * (one + gate * (one - sigmoid)), d_gates)
                    d_ups[j] = narrow(d * silu, d_ups)

    return kernel

"""Queries, keys and values from one matrix product: heads apart, queries and keys turned, in one pass.

Oracle: `nn.positions.apply_rope` and a transposition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.bits import arguments_of, array, narrow, take, wide

ROWS = 16  # positions a thread takes at a time


def rotated_heads(
    qkv: Float[Tensor, "batch length width"],
    cos: Float[Tensor, "length half_head_dim"],
    sin: Float[Tensor, "length half_head_dim"],
    n_heads: int,
    n_kv_heads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, both turned, and values: each (batch, its heads, length, head_dim).

    cos and sin are float32, whatever the others are.
    """
    return _RotatedHeads.apply(qkv, cos, sin, n_heads, n_kv_heads)  # pyright: ignore[reportReturnType]


class _RotatedHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, n_heads: int, n_kv_heads: int
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(cos, sin)
        batch, length, dim = qkv.shape[0], qkv.shape[1], 2 * cos.shape[1]
        heads = [qkv.new_empty(batch, n, length, dim) for n in (n_heads, n_kv_heads, n_kv_heads)]
        _turn(qkv, heads, cos, sin, backward=False)
        return tuple(heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        cos, sin = ctx.saved_tensors
        heads = [g.contiguous() for g in gradient]
        batch, _, length, dim = heads[0].shape
        qkv = heads[0].new_empty(batch, length, sum(g.shape[1] for g in heads) * dim)
        _turn(qkv, heads, cos, sin, backward=True)
        return qkv, None, None, None, None


def _turn(qkv: Tensor, heads: list[Tensor], cos: Tensor, sin: Tensor, *, backward: bool) -> None:
    q, k, v = heads
    batch, n_heads, length, dim = q.shape
    pieces = -(-batch * length // ROWS)
    kernel = threads.compiled_for(qkv.dtype, _from_heads if backward else _to_heads)
    threads.run(kernel, pieces, batch, length, n_heads, k.shape[1], dim, qkv, q, k, v, cos, sin)


def _to_heads(numbers: Any) -> Any:
    return _kernel(numbers, False)


def _from_heads(numbers: Any) -> Any:
    """The transpose of `_to_heads`: back into one row a position, turned by the opposite angle."""
    return _kernel(numbers, True)


def _kernel(numbers: Any, backward: bool) -> Any:
    def kernel(block):  # type: ignore[no-untyped-def]
        pieces, batch, length, n_heads, n_kv_heads, dim = arguments_of(block)[:6]
        qkv_, q_, k_, v_, cos_, sin_ = arguments_of(block)[6:12]
        half = dim // 2
        qkv = array(qkv_, (batch, length, n_heads + 2 * n_kv_heads, dim), numbers)
        q = array(q_, (batch, n_heads, length, dim), numbers)
        k = array(k_, (batch, n_kv_heads, length, dim), numbers)
        v = array(v_, (batch, n_kv_heads, length, dim), numbers)
        cos, sin = array(cos_, (length, half), np.float32), array(sin_, (length, half), np.float32)
        while True:
            piece = take(block)
            if piece >= pieces:
                return
            for i in range(piece * ROWS, min(batch * length, (piece + 1) * ROWS)):
                row, t = i // length, i % length
                for h in range(n_heads + n_kv_heads):
                    flat = qkv[row, t, h]
                    own = q[row, h, t] if h < n_heads else k[row, h - n_heads, t]
                    for j in range(half):
                        if backward:
                            a, b = wide(own[j]), wide(own[j + half])
                            flat[j] = narrow(a * cos[t, j] + b * sin[t, j], flat)
                            flat[j + half] = narrow(b * cos[t, j] - a * sin[t, j], flat)
                        else:
                            a, b = wide(flat[j]), wide(flat[j + half])
                            own[j] = narrow(a * cos[t, j] - b * sin[t, j], own)
                            own[j + half] = narrow(a * sin[t, j] + b * cos[t, j], own)
                for h in range(n_kv_heads):
                    flat, own = qkv[row, t, n_heads + n_kv_heads + h], v[row, h, t]
                    for j in range(dim):
                        if backward:
                            flat[j] = own[j]
                        else:
                            own[j] = flat[j]

    return kernel

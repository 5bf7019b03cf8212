"""Causal attention of packed rows: matrix products over blocks of queries, and the softmax fused in between.

PyTorch's own kernel for bfloat16 on a CPU reaches a quarter of what its matrix product reaches, and computes
what a mask hides. Here a block of queries meets the keys from the first one that any of them may see to its
own last: nothing behind it, nothing of documents before. The scores of a block are small enough for the
cache.

Oracle: `nn.attention.scaled_dot_product_attention`. The way of the backward pass: Dao et al. 2022,
arXiv:2205.14135, section 3.1 and appendix B.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from teachllm.stack.nn.attention_ways import Heads, way_taken
from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.bits import arguments_of, array, as_float, exp, narrow, take, wide

BLOCK = 256  # queries at a time
ROWS = 16  # rows of scores a thread takes at a time


def packed_causal_attention(
    q: Float[Tensor, "batch heads length d"],
    k: Float[Tensor, "batch kv_heads length d"],
    v: Float[Tensor, "batch kv_heads length d"],
    starts: Int[Tensor, "batch length"] | None = None,
) -> Float[Tensor, "batch heads length d"]:
    """Each query sees the keys from `starts` (int32; None: from the first) to its own position.

    Keeps its inputs, its output and one number a query for the backward pass.
    """
    if starts is None:
        starts = torch.zeros(q.shape[0], q.shape[2], dtype=torch.int32)
    result = _Attention.apply(q, k, v, starts)
    assert isinstance(result, Tensor)
    return result


def prompt_attention(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch kv_heads key d"],
    v: Float[Tensor, "batch kv_heads key d"],
) -> Float[Tensor, "batch heads query d"]:
    """The same for queries that are the last positions of the keys, and without a gradient."""
    batch, n_heads, n_queries, d = q.shape
    n_keys, group = k.shape[2], n_heads // k.shape[1]
    before = n_keys - n_queries
    starts, logsumexp = torch.zeros(n_keys, dtype=torch.int32), torch.empty(n_heads, n_keys)
    out = q.new_empty(batch, n_queries, n_heads, d).transpose(1, 2)
    for row in range(batch):
        keys, values = _for_queries(k[row], group), _for_queries(v[row], group)
        for first in range(0, n_queries, BLOCK):
            end = min(first + BLOCK, n_queries)
            seen = slice(0, before + end)
            scores = torch.bmm(q[row, :, first:end], keys[:, seen].transpose(1, 2))
            _softmax(scores, starts, logsumexp, slice(before + first, before + end), seen, d)
            out[row, :, first:end] = torch.bmm(scores, values[:, seen])
    return out


def prompt_attention_is_faster(q: Tensor, k: Tensor) -> bool:
    """Whether it is the way taken, can run here, and nobody wants a gradient: for pieces of a prompt."""
    return (
        q.shape[2] >= ROWS
        and not torch.is_grad_enabled()
        and threads.can_run(q.new_empty(0))
        and way_taken("prompts", Heads.of(q, k)) == "numba"
    )


def packed_attention_is_faster(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether it is the way taken, can run here, and somebody wants a gradient."""
    return threads.pays(q, k, v) and way_taken("training", Heads.of(q, k)) == "numba"


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> Tensor:
        batch, n_heads, length, d = q.shape
        group = n_heads // k.shape[1]
        # Position before head in memory, as the matrix behind the attention reads it.
        out = q.new_empty(batch, length, n_heads, d).transpose(1, 2)
        logsumexp = torch.empty(batch, n_heads, length)
        for row in range(batch):
            keys, values = _for_queries(k[row], group), _for_queries(v[row], group)
            for queries, seen in _blocks(starts[row]):
                scores = torch.bmm(q[row, :, queries], keys[:, seen].transpose(1, 2))
                _softmax(scores, starts[row], logsumexp[row], queries, seen, d)
                out[row, :, queries] = torch.bmm(scores, values[:, seen])
        ctx.save_for_backward(q, k, v, out, logsumexp, starts)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, out, logsumexp, starts = ctx.saved_tensors
        batch, n_heads, _, d = q.shape
        group = n_heads // k.shape[1]
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for row in range(batch):
            keys, values = _for_queries(k[row], group), _for_queries(v[row], group)
            d_out = gradient[0][row]
            d_keys, d_values = torch.zeros_like(keys), torch.zeros_like(values)
            for queries, seen in _blocks(starts[row]):
                weights = torch.bmm(q[row, :, queries], keys[:, seen].transpose(1, 2))
                d_scores = torch.bmm(d_out[:, queries], values[:, seen].transpose(1, 2))
                # Σ_j weight_j · d_weight_j of a query is the product of its output and the gradient of that.
                delta = (out[row, :, queries].float() * d_out[:, queries].float()).sum(-1)
                _softmax_backward(weights, d_scores, delta, starts[row], logsumexp[row], queries, seen, d)
                torch.bmm(d_scores, keys[:, seen], out=dq[row, :, queries])
                d_values[:, seen] += torch.bmm(weights.transpose(1, 2), d_out[:, queries])
                d_keys[:, seen] += torch.bmm(d_scores.transpose(1, 2), q[row, :, queries])
            dk[row], dv[row] = _of_group(d_keys, group), _of_group(d_values, group)
        return dq, dk, dv, None


def _for_queries(heads: Tensor, group: int) -> Tensor:
    return heads if group == 1 else heads.repeat_interleave(group, dim=0)


def _of_group(gradient: Tensor, group: int) -> Tensor:
    return gradient if group == 1 else gradient.unflatten(0, (-1, group)).sum(1)


def _blocks(starts: Tensor) -> list[tuple[slice, slice]]:
    """Blocks of queries, and the keys that the queries of each may see."""
    firsts = starts[::BLOCK].tolist()  # starts never go back, so the first query of a block sees farthest
    blocks = []
    for block, first in enumerate(firsts):
        end = min((block + 1) * BLOCK, len(starts))
        blocks.append((slice(block * BLOCK, end), slice(first, end)))
    return blocks


def _softmax(scores: Tensor, starts: Tensor, logsumexp: Tensor, queries: slice, seen: slice, d: int) -> None:
    """Scores become weights, in place, and the logsumexp of each query is written down."""
    rows = scores.shape[0] * scores.shape[1]
    kernel = threads.compiled_for(scores.dtype, _forward)
    threads.run(
        kernel, -(-rows // ROWS), *scores.shape, queries.start, seen.start, len(starts), 1 / math.sqrt(d),
        scores, starts, logsumexp,
    )  # fmt: skip


def _softmax_backward(
    scores: Tensor, d_weights: Tensor, delta: Tensor, starts: Tensor, logsumexp: Tensor, queries: slice,
    seen: slice, d: int,
) -> None:  # fmt: skip
    """Scores become weights and the gradient of the weights that of q kᵀ, both in place."""
    rows = scores.shape[0] * scores.shape[1]
    kernel = threads.compiled_for(scores.dtype, _backward)
    threads.run(
        kernel, -(-rows // ROWS), *scores.shape, queries.start, seen.start, len(starts), 1 / math.sqrt(d),
        scores, starts, logsumexp, d_weights, delta,
    )  # fmt: skip


def _forward(numbers: Any) -> Any:
    def kernel(block):  # type: ignore[no-untyped-def]
        pieces, heads, n_queries, n_keys, first_query, first_key, length, scale_ = arguments_of(block)[:8]
        scores_, starts_, logsumexp_ = arguments_of(block)[8:11]
        scores = array(scores_, (heads * n_queries, n_keys), numbers)
        starts, logsumexp = (
            array(starts_, (length,), np.int32),
            array(logsumexp_, (heads, length), np.float32),
        )
        scale, rows = as_float(scale_), heads * n_queries
        while True:
            piece = take(block)
            if piece >= pieces:
                return
            for i in range(piece * ROWS, min(rows, (piece + 1) * ROWS)):
                head, query = i // n_queries, first_query + i % n_queries
                first, end = starts[query] - first_key, query + 1 - first_key
                seen, highest, total = scores[i, first:end], np.float32(-np.inf), np.float32(0)
                for j in range(len(seen)):
                    highest = max(highest, wide(seen[j]))
                for j in range(len(seen)):
                    total += exp((wide(seen[j]) - highest) * scale)
                whole = highest * scale + np.log(total)
                for j in range(len(seen)):
                    seen[j] = narrow(exp(wide(seen[j]) * scale - whole), seen)
                logsumexp[head, query] = whole
                scores[i, :first] = 0
                scores[i, end:] = 0

    return kernel


def _backward(numbers: Any) -> Any:
    def kernel(block):  # type: ignore[no-untyped-def]
        pieces, heads, n_queries, n_keys, first_query, first_key, length, scale_ = arguments_of(block)[:8]
        scores_, starts_, logsumexp_, d_weights_, delta_ = arguments_of(block)[8:13]
        scores = array(scores_, (heads * n_queries, n_keys), numbers)
        d_weights = array(d_weights_, (heads * n_queries, n_keys), numbers)
        starts, logsumexp = (
            array(starts_, (length,), np.int32),
            array(logsumexp_, (heads, length), np.float32),
        )
        delta = array(delta_, (heads * n_queries,), np.float32)
        scale, rows = as_float(scale_), heads * n_queries
        while True:
            piece = take(block)
            if piece >= pieces:
                return
            for i in range(piece * ROWS, min(rows, (piece + 1) * ROWS)):
                head, query = i // n_queries, first_query + i % n_queries
                first, end = starts[query] - first_key, query + 1 - first_key
                own, whole = delta[i], logsumexp[head, query]
                seen, d_seen = scores[i, first:end], d_weights[i, first:end]
                for j in range(len(seen)):
                    weight = exp(wide(seen[j]) * scale - whole)
                    seen[j] = narrow(weight, seen)
                    d_seen[j] = narrow(weight * (wide(d_seen[j]) - own) * scale, d_seen)
                for hidden in (scores[i, :first], scores[i, end:], d_weights[i, :first], d_weights[i, end:]):
                    hidden[:] = 0

    return kernel

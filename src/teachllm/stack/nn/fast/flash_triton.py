"""FlashAttention as Triton kernels: what `nn.flash_attention` says tile by tile, one program of a GPU a tile
row.

Forward, one program for each block of queries of each head; backward, one for each block of keys of each
head of keys (dK, dV), and again one for each block of queries (dQ), so that no two programs write to one
place.

Oracle: `nn.flash_attention`; dropout takes the same bits. Without a GPU, Triton's interpreter runs the
kernels if the environment has TRITON_INTERPRET=1 before this module is imported: slow, and enough for tests.

Dao 2023, arXiv:2307.08691.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def triton_flash_attention(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch kv_heads key d"],
    v: Float[Tensor, "batch kv_heads key d"],
    *,
    causal: bool = False,
    key_mask: Bool[Tensor, "batch key"] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    block_q: int | None = None,
    block_k: int | None = None,
) -> Float[Tensor, "batch heads query d"]:
    """`flash_attention` on a GPU; the arguments are the same.

    Blocks are powers of two from 16 on: 64 by default, 32 in float32, so that tiles fit into the on-chip
    memory of common GPUs. ValueError if they are not, or if shapes do not fit.
    """
    usual = 32 if q.dtype == torch.float32 else 64
    block_q, block_k = (usual if block is None else block for block in (block_q, block_k))
    batch, n_heads, n_queries, d = q.shape
    if k.shape != v.shape or k.shape[::3] != (batch, d) or n_heads % k.shape[1]:
        raise ValueError(
            f"q is {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; they must be (batch, heads, "
            "query, d) and twice (batch, kv_heads, key, d), kv_heads dividing heads"
        )
    for name, block in (("block_q", block_q), ("block_k", block_k)):
        if block < 16 or block & (block - 1):
            raise ValueError(f"{name} is {block}; a block must be a power of two, 16 at least")
    problem = {
        "n_heads": n_heads,
        "group": n_heads // k.shape[1],
        "n_queries": n_queries,
        "n_keys": k.shape[2],
        "d": d,
        "scale": 1 / math.sqrt(d) if scale is None else scale,
        "seed": seed,
        "threshold": round(dropout * 2**32),
        "kept_scale": 1 / (1 - dropout),
        "CAUSAL": causal,
        "MASKED": key_mask is not None,
        "DROPOUT": dropout > 0,
        "BLOCK_Q": block_q,
        "BLOCK_K": block_k,
        "BLOCK_D": max(16, triton.next_power_of_2(d)),
    }
    mask = q.new_empty(0, dtype=torch.int8) if key_mask is None else key_mask.to(torch.int8).contiguous()
    out = _Flash.apply(q.contiguous(), k.contiguous(), v.contiguous(), mask, problem)
    assert isinstance(out, Tensor)
    return out


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, problem: dict[str, Any]) -> Tensor:
        out = torch.empty_like(q)
        logsumexp = q.new_empty(q.shape[:-1], dtype=torch.float32)
        _forward[_by_queries(q, problem)](q, k, v, mask, out, logsumexp, **problem)
        ctx.save_for_backward(q, k, v, mask, out, logsumexp)
        ctx.problem = problem
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (q, k, v, mask, out, logsumexp), problem = ctx.saved_tensors, ctx.problem
        d_out = gradient[0].contiguous()
        delta = (d_out.float() * out.float()).sum(-1)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        inputs = (q, k, v, mask, d_out, logsumexp, delta)
        by_keys = -(-k.shape[2] // problem["BLOCK_K"]), k.shape[0] * k.shape[1]
        _backward_keys[by_keys](*inputs, dk, dv, **problem)
        _backward_queries[_by_queries(q, problem)](*inputs, dq, **problem)
        return dq, dk, dv, None, None


def _by_queries(q: Tensor, problem: dict[str, Any]) -> tuple[int, int]:
    return -(-q.shape[2] // problem["BLOCK_Q"]), q.shape[0] * q.shape[1]


# What the kernels share --------------------------------------------------------------------------------


@triton.jit
def _load(matrix, rows, n, d, BLOCK_D: tl.constexpr):
    """Rows of an (n, d) matrix, with zeros behind its ends."""
    dims = tl.arange(0, BLOCK_D)
    inside = (rows < n)[:, None] & (dims < d)[None, :]
    return tl.load(matrix + rows[:, None].to(tl.int64) * d + dims[None, :], mask=inside, other=0.0)


@triton.jit
def _store(matrix, rows, tile, n, d, BLOCK_D: tl.constexpr):
    dims = tl.arange(0, BLOCK_D)
    inside = (rows < n)[:, None] & (dims < d)[None, :]
    place = matrix + rows[:, None].to(tl.int64) * d + dims[None, :]
    tl.store(place, tile.to(matrix.dtype.element_ty), mask=inside)


@triton.jit
def _scores(
    q, k, mask, rows, columns, text, n_queries, n_keys, scale, CAUSAL: tl.constexpr, MASKED: tl.constexpr
):
    """q kᵀ · scale, with −∞ where a key may not be seen or there is none."""
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    seen = (columns < n_keys)[None, :] & (rows < n_queries)[:, None]
    if CAUSAL:
        seen = seen & (columns[None, :] <= rows[:, None] + n_keys - n_queries)
    if MASKED:
        seen = seen & (tl.load(mask + text * n_keys + columns, mask=columns < n_keys, other=0) != 0)[None, :]
    return tl.where(seen, scores, float("-inf"))


@triton.jit
def _finite(m):
    return tl.where(m == float("-inf"), 0.0, m)


@triton.jit
def _kept(scores, seed, head, rows, columns, threshold, kept_scale):
    """What dropout multiplies the weights of a tile by: the bits of `nn.philox`."""
    zero = tl.zeros(scores.shape, tl.int32)
    bits = tl.philox(seed, zero + columns[None, :], zero + rows[:, None], zero + head.to(tl.int32), zero)[0]
    return tl.where(bits.to(tl.int64) >= threshold, kept_scale, 0.0)


# The kernels -------------------------------------------------------------------------------------------


@triton.jit
def _forward(
    q_, k_, v_, mask, out_, logsumexp, n_heads, group, n_queries, n_keys, d, scale, seed, threshold,
    kept_scale, CAUSAL: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr, BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)  # counted through the whole batch
    rows = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    q = _load(q_ + head * n_queries * d, rows, n_queries, d, BLOCK_D)
    m = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    acc = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    end = n_keys
    if CAUSAL:  # blocks of keys behind the last query's position are seen by none
        end = tl.minimum(n_keys, (tl.program_id(0) + 1) * BLOCK_Q + n_keys - n_queries)
    for start in range(0, end, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        k = _load(k_ + head // group * n_keys * d, columns, n_keys, d, BLOCK_D)
        v = _load(v_ + head // group * n_keys * d, columns, n_keys, d, BLOCK_D)
        scores = _scores(q, k, mask, rows, columns, head // n_heads, n_queries, n_keys, scale, CAUSAL, MASKED)
        m_new = tl.maximum(m, tl.max(scores, 1))
        weights = tl.exp(scores - _finite(m_new)[:, None])
        rescale = tl.exp(m - _finite(m_new))
        total = rescale * total + tl.sum(weights, 1)
        if DROPOUT:
            weights = weights * _kept(scores, seed, head, rows, columns, threshold, kept_scale)
        acc = rescale[:, None] * acc + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        m = m_new
    _store(
        out_ + head * n_queries * d,
        rows,
        acc / tl.where(total > 0, total, 1.0)[:, None],
        n_queries,
        d,
        BLOCK_D,
    )
    tl.store(logsumexp + head * n_queries + rows, m + tl.log(total), mask=rows < n_queries)


@triton.jit
def _gradient_of_scores(
    q, k, v, d_out, mask, rows, columns, head, logsumexp, delta, n_heads, n_queries, n_keys, scale, seed,
    threshold, kept_scale, CAUSAL: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Weights of a tile as they met the values, and the gradient of q kᵀ."""
    scores = _scores(q, k, mask, rows, columns, head // n_heads, n_queries, n_keys, scale, CAUSAL, MASKED)
    row = head * n_queries + rows
    whole = tl.load(logsumexp + row, mask=rows < n_queries, other=0.0)
    own = tl.load(delta + row, mask=rows < n_queries, other=0.0)
    weights = tl.exp(scores - _finite(whole)[:, None])
    d_weights = tl.dot(d_out, tl.trans(v), input_precision="ieee")
    used = weights
    if DROPOUT:
        kept = _kept(scores, seed, head, rows, columns, threshold, kept_scale)
        used = weights * kept
        d_weights = d_weights * kept
    return used, weights * (d_weights - own[:, None]) * scale


@triton.jit
def _backward_keys(
    q_, k_, v_, mask, d_out_, logsumexp, delta, dk_, dv_, n_heads, group, n_queries, n_keys, d, scale, seed,
    threshold, kept_scale, CAUSAL: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    kv_head = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    k = _load(k_ + kv_head * n_keys * d, columns, n_keys, d, BLOCK_D)
    v = _load(v_ + kv_head * n_keys * d, columns, n_keys, d, BLOCK_D)
    dk = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    first = 0
    if CAUSAL:  # queries before the first of these keys see none of them
        first = tl.maximum(0, tl.program_id(0) * BLOCK_K - (n_keys - n_queries)) // BLOCK_Q * BLOCK_Q
    for member in range(group):
        head = kv_head * group + member
        for start in range(first, n_queries, BLOCK_Q):
            rows = start + tl.arange(0, BLOCK_Q)
            q = _load(q_ + head * n_queries * d, rows, n_queries, d, BLOCK_D)
            d_out = _load(d_out_ + head * n_queries * d, rows, n_queries, d, BLOCK_D)
            used, d_scores = _gradient_of_scores(
                q, k, v, d_out, mask, rows, columns, head, logsumexp, delta, n_heads, n_queries, n_keys,
                scale, seed, threshold, kept_scale, CAUSAL, MASKED, DROPOUT,
            )  # fmt: skip
            dv += tl.dot(tl.trans(used.to(d_out.dtype)), d_out, input_precision="ieee")
            dk += tl.dot(tl.trans(d_scores.to(q.dtype)), q, input_precision="ieee")
    _store(dk_ + kv_head * n_keys * d, columns, dk, n_keys, d, BLOCK_D)
    _store(dv_ + kv_head * n_keys * d, columns, dv, n_keys, d, BLOCK_D)


@triton.jit
def _backward_queries(
    q_, k_, v_, mask, d_out_, logsumexp, delta, dq_, n_heads, group, n_queries, n_keys, d, scale, seed,
    threshold, kept_scale, CAUSAL: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    q = _load(q_ + head * n_queries * d, rows, n_queries, d, BLOCK_D)
    d_out = _load(d_out_ + head * n_queries * d, rows, n_queries, d, BLOCK_D)
    dq = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    end = n_keys
    if CAUSAL:
        end = tl.minimum(n_keys, (tl.program_id(0) + 1) * BLOCK_Q + n_keys - n_queries)
    for start in range(0, end, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        k = _load(k_ + head // group * n_keys * d, columns, n_keys, d, BLOCK_D)
        v = _load(v_ + head // group * n_keys * d, columns, n_keys, d, BLOCK_D)
        _, d_scores = _gradient_of_scores(
            q, k, v, d_out, mask, rows, columns, head, logsumexp, delta, n_heads, n_queries, n_keys, scale,
            seed, threshold, kept_scale, CAUSAL, MASKED, DROPOUT,
        )  # fmt: skip
        dq += tl.dot(d_scores.to(k.dtype), k, input_precision="ieee")
    _store(dq_ + head * n_queries * d, rows, dq, n_queries, d, BLOCK_D)

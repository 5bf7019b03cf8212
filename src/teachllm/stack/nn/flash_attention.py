"""FlashAttention as readable code: exact attention, tile by tile, without writing down the matrix of scores.

Each tile of scores is computed on the chip, used up by `online_softmax` and forgotten. The backward pass
computes it again from one number a query, the log-sum-exp. What crosses between the large memory (HBM) and
the chip is said by `hbm.read` and `hbm.write`, and counted.

This is what a fast kernel is tested against, and what the lessons show. On a CPU it is slower than the
standard way for all but long texts; models call `attention.fused_causal_attention`.

Dao et al. 2022, arXiv:2205.14135 (version 1); Dao 2023, arXiv:2307.08691 (version 2).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from teachllm.stack.nn.flash_tiles import Tiles
from teachllm.stack.nn.memory_traffic import Hbm
from teachllm.stack.nn.online_softmax import (
    empty_state,
    finish_softmax,
    finite,
    merge_softmax,
    softmax_state,
    update_softmax,
)


def flash_attention(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch kv_heads key d"],
    v: Float[Tensor, "batch kv_heads key d_v"],
    *,
    causal: bool = False,
    key_mask: Bool[Tensor, "batch key"] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    block_q: int = 64,
    block_k: int = 64,
) -> Float[Tensor, "batch heads query d_v"]:
    """softmax(q kᵀ · scale) v, differentiable, in memory that grows with the length and not with its square.

    causal: a query sees the keys up to its own position; queries are the last positions of the keys.
    key_mask: True where a key may be seen, for padding. A query that sees no key gets 0. dropout: the
    probability that a weight becomes 0 (others are divided by 1 − dropout); `seed` alone says which. block_q
    and block_k: the size of a tile. ValueError if shapes do not fit.
    """
    options: dict[str, Any] = {
        "causal": causal, "key_mask": key_mask, "scale": scale, "dropout": dropout, "seed": seed,
        "block_q": block_q, "block_k": block_k,
    }  # fmt: skip
    out = _Flash.apply(q, k, v, options)
    assert isinstance(out, Tensor)
    return out


def flash_causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`attention.causal_attention` by `flash_attention`, for `use_attention`."""
    return flash_attention(q, k, v, causal=True)


def flash_forward(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch kv_heads key d"],
    v: Float[Tensor, "batch kv_heads key d_v"],
    *,
    causal: bool = False,
    key_mask: Bool[Tensor, "batch key"] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    block_q: int = 64,
    block_k: int = 64,
    hbm: Hbm | None = None,
) -> tuple[Float[Tensor, "batch heads query d_v"], Float[Tensor, "batch heads query"]]:
    """Output, and the log-sum-exp of each query's scores (−∞ if it sees no key). Version 2's order of loops.

    A block of queries stays on the chip while keys and values pass by; its output is divided by the sum
    once, at the end, and written once. Blocks of queries need nothing of each other: a GPU computes them at
    the same time. Arguments as in `flash_attention`. Dao 2023, arXiv:2307.08691, algorithm 1.
    """
    tiles = Tiles.of(
        q, k, v, causal=causal, key_mask=key_mask, scale=scale, dropout=dropout, seed=seed, block_q=block_q,
        block_k=block_k,
    )  # fmt: skip
    hbm = Hbm() if hbm is None else hbm
    dtype = _dtype_on_chip(q)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    out = queries.new_empty(*queries.shape[:-1], v.shape[-1])
    logsumexp = queries.new_empty(queries.shape[:-1], dtype=dtype)
    # region: loops
    for rows in tiles.row_blocks():
        q_tile = hbm.read(queries[..., rows, :]).to(dtype)
        state = empty_state(tuple(q_tile.shape[:-1]), v.shape[-1], dtype, q.device)
        for columns in tiles.columns_seen(rows):
            k_tile = hbm.read(keys[..., columns, :]).to(dtype)
            v_tile = hbm.read(values[..., columns, :]).to(dtype)
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            state = update_softmax(state, scores, v_tile, tiles.kept(rows, columns, q.device))
        out_tile, logsumexp_tile = finish_softmax(state)
        hbm.write(out[..., rows, :], out_tile)
        hbm.write(logsumexp[..., rows], logsumexp_tile)
    # endregion: loops
    return out.flatten(1, 2), logsumexp.flatten(1, 2)


def flash_forward_v1(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch kv_heads key d"],
    v: Float[Tensor, "batch kv_heads key d_v"],
    *,
    causal: bool = False,
    key_mask: Bool[Tensor, "batch key"] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    block_q: int = 64,
    block_k: int = 64,
    hbm: Hbm | None = None,
) -> tuple[Float[Tensor, "batch heads query d_v"], Float[Tensor, "batch heads query"]]:
    """As `flash_forward`, with version 1's order of loops.

    A block of keys and values stays on the chip while queries pass by. What a query has so far (output,
    maximum, sum) waits in the large memory between two visits, in float32, or the roundings would add up.
    After the visit of block j, the output is attention over the keys of blocks 0 … j. Dao et al. 2022,
    arXiv:2205.14135, algorithm 1.
    """
    tiles = Tiles.of(
        q, k, v, causal=causal, key_mask=key_mask, scale=scale, dropout=dropout, seed=seed, block_q=block_q,
        block_k=block_k,
    )  # fmt: skip
    hbm = Hbm() if hbm is None else hbm
    dtype = _dtype_on_chip(q)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    # region: loops
    m, total, out = map(hbm.store, empty_state(tuple(queries.shape[:-1]), v.shape[-1], dtype, q.device))
    for columns in tiles.column_blocks():
        k_tile = hbm.read(keys[..., columns, :]).to(dtype)
        v_tile = hbm.read(values[..., columns, :]).to(dtype)
        for rows in tiles.rows_that_see(columns):
            q_tile = hbm.read(queries[..., rows, :]).to(dtype)
            m_old, total_old = hbm.read(m[..., rows]), hbm.read(total[..., rows])
            before = m_old, total_old, total_old.unsqueeze(-1) * hbm.read(out[..., rows, :])
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            after = merge_softmax(before, softmax_state(scores, v_tile, tiles.kept(rows, columns, q.device)))
            hbm.write(m[..., rows], after[0])
            hbm.write(total[..., rows], after[1])
            hbm.write(out[..., rows, :], finish_softmax(after)[0])
    # endregion: loops
    return out.to(q.dtype).flatten(1, 2), (m + torch.log(total)).flatten(1, 2)


def flash_backward(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch kv_heads key d"],
    v: Float[Tensor, "batch kv_heads key d_v"],
    out: Float[Tensor, "batch heads query d_v"],
    logsumexp: Float[Tensor, "batch heads query"],
    d_out: Float[Tensor, "batch heads query d_v"],
    *,
    causal: bool = False,
    key_mask: Bool[Tensor, "batch key"] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    block_q: int = 64,
    block_k: int = 64,
    hbm: Hbm | None = None,
) -> tuple[
    Float[Tensor, "batch heads query d"],
    Float[Tensor, "batch kv_heads key d"],
    Float[Tensor, "batch kv_heads key d_v"],
]:
    """Gradients of q, k and v. Weights are computed again, tile by tile: P = e^{S − logsumexp}.

    With Z what dropout multiplies by: dV = (P∘Z)ᵀ dO, dP = (dO Vᵀ)∘Z, dS = P∘(dP − D), dQ = dS K · scale,
    dK = dSᵀ Q · scale. D = rowsum(P∘dP) is a sum over all keys, and equals rowsum(dO∘O), which is not.

    `out` and `logsumexp` are what `flash_forward` returned for the same arguments. Dao et al. 2022,
    arXiv:2205.14135, algorithm 4; Dao 2023, arXiv:2307.08691, algorithm 2.
    """
    tiles = Tiles.of(
        q, k, v, causal=causal, key_mask=key_mask, scale=scale, dropout=dropout, seed=seed, block_q=block_q,
        block_k=block_k,
    )  # fmt: skip
    hbm = Hbm() if hbm is None else hbm
    dtype = _dtype_on_chip(q)
    queries, keys, values = tiles.grouped(q), tiles.shared(k), tiles.shared(v)
    out, logsumexp, d_out = tiles.grouped(out), tiles.grouped(logsumexp), tiles.grouped(d_out)
    dk, dv = torch.empty_like(k), torch.empty_like(v)
    # region: loops
    dq = hbm.store(torch.zeros_like(queries, dtype=dtype))
    delta = hbm.store((hbm.read(d_out).to(dtype) * hbm.read(out).to(dtype)).sum(-1))
    for columns in tiles.column_blocks():
        k_tile = hbm.read(keys[..., columns, :]).to(dtype)
        v_tile = hbm.read(values[..., columns, :]).to(dtype)
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for rows in tiles.rows_that_see(columns):
            q_tile = hbm.read(queries[..., rows, :]).to(dtype)
            d_out_tile = hbm.read(d_out[..., rows, :]).to(dtype)
            scores = tiles.scores(q_tile, k_tile, rows, columns)
            weights = torch.exp(scores - finite(hbm.read(logsumexp[..., rows])).unsqueeze(-1))
            kept = tiles.kept(rows, columns, q.device)
            dv_tile += (weights if kept is None else weights * kept).transpose(-2, -1) @ d_out_tile
            d_weights = d_out_tile @ v_tile.transpose(-2, -1)
            if kept is not None:
                d_weights = d_weights * kept
            d_scores = weights * (d_weights - hbm.read(delta[..., rows]).unsqueeze(-1)) * tiles.scale
            dk_tile += d_scores.transpose(-2, -1) @ q_tile
            hbm.write(dq[..., rows, :], hbm.read(dq[..., rows, :]) + d_scores @ k_tile)
        hbm.write(dk[..., columns, :], dk_tile.sum(2))  # over the queries' heads that share the keys
        hbm.write(dv[..., columns, :], dv_tile.sum(2))
    # endregion: loops
    return dq.to(q.dtype).flatten(1, 2), dk, dv


class _Flash(torch.autograd.Function):
    """Keeps q, k, v, the output and one number a query; no weights and no mask of dropout."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        out, logsumexp = flash_forward(q, k, v, **options)
        ctx.save_for_backward(q, k, v, out, logsumexp)
        ctx.options = options
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, out, logsumexp = ctx.saved_tensors
        return *flash_backward(q, k, v, out, logsumexp, gradient[0], **ctx.options), None


def _dtype_on_chip(q: Tensor) -> torch.dtype:
    """Scores and sums are float32 at least, whatever the inputs are."""
    return torch.promote_types(q.dtype, torch.float32)

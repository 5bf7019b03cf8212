"""Attention: one readable function, and the fused one that the models call.

Vaswani et al. 2017, arXiv:1706.03762; Shazeer 2019, arXiv:1911.02150 (MQA); Ainslie et al. 2023,
arXiv:2305.13245 (GQA).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from teachllm.stack.nn.attention_ways import Heads, way_taken
from teachllm.stack.nn.fast.attention import (
    packed_attention_is_faster,
    packed_causal_attention,
    prompt_attention,
    prompt_attention_is_faster,
)


def scaled_dot_product_attention(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch heads key d"],
    v: Float[Tensor, "batch heads key d_v"],
    mask: Bool[Tensor, "*batch_heads query key"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "batch heads query d_v"]:
    """Each query's weighted average of the values: softmax(q kᵀ · scale) v.

    mask: True where a query may see a key; broadcasts to (batch, heads, query, key). None: all may be seen.
    A query that may see no key gets 0.
    scale: what the scores are multiplied by; 1/√d if not given.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1.
    """
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1])
    scores = q @ k.transpose(-2, -1) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)  # a row of nothing but -inf has become 0/0
    return weights @ v


def causal_mask(
    n_queries: int, n_cached: int = 0, device: torch.device | str | None = None
) -> Bool[Tensor, "query key"]:
    """True where a query may see a key: itself and everything before it.

    The queries are the newest positions: query i stands at position n_cached + i, and there are
    n_cached + n_queries keys. A single query sees every key, so decoding one token needs no mask.

    >>> causal_mask(2, n_cached=1).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    return torch.ones(n_queries, n_cached + n_queries, dtype=torch.bool, device=device).tril(n_cached)


# What the models call ----------------------------------------------------------------------------------

CausalAttention: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def causal_attention(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch kv_heads key d"],
    v: Float[Tensor, "batch kv_heads key d"],
) -> Float[Tensor, "batch heads query d"]:
    """Causal attention whose queries are the last positions of the keys, in three kinds by `kv_heads`.

    Query head h uses keys and values of head h // (heads / kv_heads): kv_heads = heads is multi-head
    attention, 1 is multi-query attention, anything between is grouped-query attention.

    This is the fused kernel, unless `readable_attention` or `use_attention` says otherwise.
    """
    return _causal_attention.get()(q, k, v)


def fused_causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`causal_attention` by a kernel that never writes down the whole matrix of scores: the one that was
    chosen for such heads (`attention_choice`).
    """
    batch, n_heads, n_queries, d = q.shape
    n_kv_heads, n_keys = k.shape[1], k.shape[2]
    if n_queries == 1:
        # No mask is needed, so the heads of a group can stand in line as queries of their shared keys.
        # Measured in bf16 on CPU, the kernel's own `enable_gqa` takes five times as long.
        folded = q.reshape(batch, n_kv_heads, n_heads // n_kv_heads, d)
        return F.scaled_dot_product_attention(folded, k, v).reshape(q.shape)
    if n_queries == n_keys and packed_attention_is_faster(q, k, v):
        return packed_causal_attention(q, k, v)
    if prompt_attention_is_faster(q, k):
        return prompt_attention(q, k, v)
    if q.is_cuda and triton_attention_is_faster(q, k):
        from teachllm.stack.nn.fast.flash_triton import triton_flash_attention  # only where Triton is

        return triton_flash_attention(q, k, v, causal=True)
    k, v = repeat_kv_heads(k, n_heads // n_kv_heads), repeat_kv_heads(v, n_heads // n_kv_heads)
    if n_queries == n_keys:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F.scaled_dot_product_attention(q, k, v, causal_mask(n_queries, n_keys - n_queries, q.device))


def triton_attention_is_faster(q: Tensor, k: Tensor) -> bool:
    """Whether it is the way taken on this GPU: `nn.fast.flash_triton`."""
    return way_taken("training" if torch.is_grad_enabled() else "prompts", Heads.of(q, k)) == "triton"


def readable_causal_attention(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch kv_heads key d"],
    v: Float[Tensor, "batch kv_heads key d"],
) -> Float[Tensor, "batch heads query d"]:
    """`causal_attention` by `scaled_dot_product_attention`, whatever stands under that name just now.

    The queries stand at the newest of the keys' positions: at all of them in a prefill, at the last one when
    decoding, at the last few in a chunk of a prompt. Each sees itself and everything before it. Query head h
    uses keys and values of head h // (heads / kv_heads).
    """
    n_queries, n_keys, group = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    mask = causal_mask(n_queries, n_keys - n_queries, q.device)
    return scaled_dot_product_attention(q, repeat_kv_heads(k, group), repeat_kv_heads(v, group), mask)


_causal_attention: ContextVar[CausalAttention] = ContextVar(
    "causal_attention", default=fused_causal_attention
)


@contextmanager
def use_attention(attention: CausalAttention) -> Iterator[None]:
    """Inside, models of this thread attend by `attention(q, k, v)`; see `causal_attention` for the shapes."""
    token = _causal_attention.set(attention)
    try:
        yield
    finally:
        _causal_attention.reset(token)


def attention_is_replaced() -> bool:
    """Whether `use_attention` has put another one under the models of this thread."""
    return _causal_attention.get() is not fused_causal_attention


def readable_attention() -> AbstractContextManager[None]:
    """Inside, models of this thread attend by the readable `scaled_dot_product_attention`."""
    return use_attention(readable_causal_attention)


# Heads that share keys and values ----------------------------------------------------------------------


def repeat_kv_heads(
    x: Float[Tensor, "batch kv_heads key d"], times: int
) -> Float[Tensor, "batch heads key d"]:
    """Keys or values once for each query head of their group: heads 0, 0, …, 1, 1, …"""
    return x if times == 1 else x.repeat_interleave(times, dim=1)


def mean_pool_kv_heads(
    weight: Float[Tensor, "heads*d d_model"], n_heads: int, n_kv_heads: int
) -> Float[Tensor, "kv_heads*d d_model"]:
    """The key or value projection of a multi-head model made into one with `n_kv_heads` heads.

    Each new head is the mean of its group: neighbouring heads, as query heads share them. The converted
    model must be trained on (the paper: with 5% of the original compute).

    ValueError if the sizes do not divide. Ainslie et al. 2023, arXiv:2305.13245, section 2.1.
    """
    if n_kv_heads < 1 or n_heads % n_kv_heads or weight.shape[0] % n_heads:
        raise ValueError(
            f"cannot pool {n_heads} heads in {weight.shape[0]} rows to {n_kv_heads} heads: "
            "n_kv_heads must divide n_heads, and n_heads the rows of the weight"
        )
    groups = weight.unflatten(0, (n_kv_heads, n_heads // n_kv_heads, -1))
    return groups.mean(dim=1).flatten(0, 1)

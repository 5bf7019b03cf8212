"""Attention that stays inside a document, in rows into which several documents are packed."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from teachllm.stack.data.packing import document_mask
from teachllm.stack.nn.attention import repeat_kv_heads, use_attention
from teachllm.stack.nn.fast.attention import packed_attention_is_faster, packed_causal_attention


def document_starts(document_ids: Int[Tensor, "row position"]) -> Int[Tensor, "row position"]:
    """Where the document of each position begins. A document is a run of equal ids.

    >>> document_starts(torch.tensor([[7, 7, 4, 4, 4]])).tolist()
    [[0, 0, 2, 2, 2]]
    """
    positions = torch.arange(document_ids.shape[1], device=document_ids.device)
    is_first = torch.ones_like(document_ids, dtype=torch.bool)
    is_first[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    return torch.where(is_first, positions, 0).cummax(dim=1).values


def attention_within_documents(
    document_ids: Int[Tensor, "row position"],
) -> AbstractContextManager[None]:
    """Inside, models of this thread attend as if each document of a row stood alone.

    document_ids: the number of the document that each position belongs to; rows are those of the batch.
    Positions are not restarted: rotary scores depend on distances only. For whole rows without a cache;
    ValueError if the model attends over anything else.
    """
    starts = document_starts(document_ids).int()
    mask: Tensor | None = None  # made when the first layer needs it

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        nonlocal mask
        expected = (document_ids.shape[0], document_ids.shape[1])
        if not (q.shape[0], q.shape[2]) == (k.shape[0], k.shape[2]) == expected:
            raise ValueError(
                f"document ids of {expected[0]} rows of {expected[1]}, but attention of {q.shape[0]} rows "
                f"with {q.shape[2]} queries and {k.shape[2]} keys: give the ids of exactly this batch, and "
                "no cache"
            )
        if packed_attention_is_faster(q, k, v):
            return packed_causal_attention(q, k, v, starts)
        mask = document_mask(document_ids)[:, None] if mask is None else mask
        group = q.shape[1] // k.shape[1]
        k, v = repeat_kv_heads(k, group), repeat_kv_heads(v, group)
        return F.scaled_dot_product_attention(q, k, v, mask)

    return use_attention(attention)

"""Attention that stays inside a document, in rows into which several documents are packed."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from teachllm.stack.nn.attention import repeat_kv_heads, use_attention


def causal_document_mask(
    document_ids: Int[Tensor, "row position"],
) -> Bool[Tensor, "row 1 query key"]:
    """True where a query may see a key: not behind it, and in the same document of its row."""
    same = document_ids[:, :, None] == document_ids[:, None, :]
    return same.tril()[:, None]


def attention_within_documents(
    document_ids: Int[Tensor, "row position"],
) -> AbstractContextManager[None]:
    """Inside, models of this thread attend as if each document of a row stood alone.

    document_ids: the number of the document that each position belongs to; rows are those of the batch.
    Positions are not restarted: rotary scores depend on distances only. For whole rows without a cache;
    ValueError if the model attends over anything else.
    """
    mask = causal_document_mask(document_ids)

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        expected = (document_ids.shape[0], document_ids.shape[1])
        if not (q.shape[0], q.shape[2]) == (k.shape[0], k.shape[2]) == expected:
            raise ValueError(
                f"document ids of {expected[0]} rows of {expected[1]}, but attention of {q.shape[0]} rows "
                f"with {q.shape[2]} queries and {k.shape[2]} keys: give the ids of exactly this batch, and "
                "no cache"
            )
        group = q.shape[1] // k.shape[1]
        k, v = repeat_kv_heads(k, group), repeat_kv_heads(v, group)
        return F.scaled_dot_product_attention(q, k, v, mask)

    return use_attention(attention)

"""Where a model looks: the attention weights of every layer, for figures."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from teachllm.stack.nn.attention import (
    causal_mask,
    fused_causal_attention,
    repeat_kv_heads,
    scaled_dot_product_attention,
    use_attention,
)


@torch.no_grad()
def attention_maps(
    model: nn.Module, tokens: Int[Tensor, "batch length"]
) -> list[Float[Tensor, "batch heads query key"]]:
    """The weights of each layer, first to last, for models that attend by `causal_attention`.

    Attention over the unit vectors as values returns its own weights. They take length² numbers for each
    head: meant for short texts.
    """
    maps: list[Tensor] = []

    def recording(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n_queries, n_keys = q.shape[2], k.shape[2]
        units = torch.eye(n_keys, dtype=q.dtype, device=q.device).expand(*q.shape[:2], -1, -1)
        mask = causal_mask(n_queries, n_keys - n_queries, q.device)
        maps.append(
            scaled_dot_product_attention(q, repeat_kv_heads(k, q.shape[1] // k.shape[1]), units, mask)
        )
        return fused_causal_attention(q, k, v)

    with use_attention(recording):
        model(tokens, last_only=True)
    return maps

"""Attention over keys and values that lie in blocks, wherever there was room, and are found through a table.

The table of a text lists its blocks in the order of the text: position i is in slot i % block_size of block
table[i // block_size]. A text may bring any number of new tokens, from a prompt to the one that was chosen
last; they attend to their own text up to themselves.

Kwon et al. 2023, arXiv:2309.06180, section 4.1. The compiled version: `nn.fast.paged_attention`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.nn.attention import causal_attention, repeat_kv_heads
from teachllm.stack.nn.attention_ways import Way
from teachllm.stack.nn.online_softmax import empty_state, finish_softmax, update_softmax


def paged_attention(
    q: Float[Tensor, "new heads d"],
    keys: Float[Tensor, "n_blocks block_size kv_heads d"],
    values: Float[Tensor, "n_blocks block_size kv_heads d"],
    table: Int[Tensor, " blocks"],
    n_keys: int,
) -> Float[Tensor, "new heads d"]:
    """Causal attention of the newest positions of one text, whose keys and values are in `table`'s blocks.

    n_keys: positions that are written, those of the queries included; query i stands at position
    n_keys - new + i. The table may have more blocks than are filled, and what stands in a block behind the
    text's end is left over from others. Query head h uses keys of head h // (heads / kv_heads).

    This one gathers the blocks, then attends as if they had always been in one piece.
    """
    n_blocks = -(-n_keys // keys.shape[1])
    k, v = (cache[table[:n_blocks]].flatten(0, 1)[:n_keys].transpose(0, 1) for cache in (keys, values))
    return causal_attention(q.transpose(0, 1)[None], k[None], v[None])[0].transpose(0, 1)


def paged_attention_blockwise(
    q: Float[Tensor, "new heads d"],
    keys: Float[Tensor, "n_blocks block_size kv_heads d"],
    values: Float[Tensor, "n_blocks block_size kv_heads d"],
    table: Int[Tensor, " blocks"],
    n_keys: int,
) -> Float[Tensor, "new heads d"]:
    """`paged_attention` without a copy: blocks are read where they lie, and the softmax goes on across them.

    The algorithm of the kernels, in float32.
    """
    group, block_size = q.shape[1] // keys.shape[2], keys.shape[1]
    queries = q.transpose(0, 1).float() / math.sqrt(q.shape[-1])
    position = torch.arange(n_keys - len(q), n_keys, device=q.device)
    state = empty_state(tuple(queries.shape[:2]), q.shape[-1], device=q.device)
    # region: blocks
    for first in range(0, n_keys, block_size):
        block = table[first // block_size]
        k, v = (repeat_kv_heads(cache[block].transpose(0, 1)[None], group)[0] for cache in (keys, values))
        key_position = first + torch.arange(block_size, device=q.device)
        hidden = key_position > position[:, None]  # the future, and in the last block what others have left
        scores = (queries @ k.float().transpose(1, 2)).masked_fill(hidden, -math.inf)
        v = v.float().masked_fill((key_position >= n_keys)[:, None], 0.0)  # a weight of 0 hides no NaN
        state = update_softmax(state, scores, v)
    # endregion: blocks
    return finish_softmax(state)[0].transpose(0, 1).to(q.dtype)


def paged_decode_attention(
    q: Float[Tensor, "texts heads d"],
    keys: Float[Tensor, "n_blocks block_size kv_heads d"],
    values: Float[Tensor, "n_blocks block_size kv_heads d"],
    tables: Int[Tensor, "texts most_blocks"],
    n_keys: Int[Tensor, " texts"],
) -> Float[Tensor, "texts heads d"]:
    """`paged_attention` of texts with one new token each, all at once: few, large calls suit a GPU.

    tables: the blocks of each text, filled up with any valid number. What is gathered in vain is hidden.
    """
    n_texts, n_heads, d = q.shape
    n_kv_heads = keys.shape[2]
    seen = torch.arange(tables.shape[1] * keys.shape[1], device=q.device) < n_keys[:, None]
    # A weight of 0 does not hide a NaN (0 · NaN), and other texts, also failing ones, leave things behind.
    gathered = (cache[tables].flatten(1, 2) for cache in (keys, values))
    k, v = (x.masked_fill_(~seen[..., None, None], 0.0).transpose(1, 2) for x in gathered)
    # The heads of a group stand in line as queries of their shared keys.
    folded = q.reshape(n_texts, n_kv_heads, n_heads // n_kv_heads, d)
    return F.scaled_dot_product_attention(folded, k, v, seen[:, None, None]).reshape(q.shape)


def decode_attention(way: Way) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """`paged_decode_attention`, or the kernel that does the same. ImportError without Triton."""
    if way == "triton":
        from teachllm.stack.nn.fast.paged_triton import triton_paged_decode_attention

        return triton_paged_decode_attention
    return paged_decode_attention

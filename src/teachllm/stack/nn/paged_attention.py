"""Attention over keys and values that lie in blocks, wherever there was room, and are found through a table.

Several texts stand in one row of tokens, one behind another, each with as many new tokens as it likes: a
prompt, a piece of one, or the one token of a text that is being written. A new token attends to its own text
up to itself and to nothing of the others, so there is no padding anywhere.

Kwon et al. 2023, arXiv:2309.06180, section 4.1. The compiled version: `nn.fast.paged_attention`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.nn.attention import causal_attention, repeat_kv_heads
from teachllm.stack.nn.online_softmax import empty_state, finish_softmax, update_softmax


@dataclass(frozen=True, slots=True)
class PagedText:
    """Where the keys of one text are, and how many of its newest positions ask.

    blocks: position i is in slot i % block_size of block blocks[i // block_size]; there may be more blocks
    than are filled. n_keys: positions that are written, the new ones included.
    """

    blocks: Int[Tensor, " blocks"]
    n_new: int
    n_keys: int


def gather_text(
    cache: Float[Tensor, "n_blocks block_size kv_heads d"], text: PagedText
) -> Float[Tensor, "1 kv_heads n_keys d"]:
    """The keys or values of one text, copied out of their blocks into one piece."""
    n_blocks = -(-text.n_keys // cache.shape[1])
    return cache[text.blocks[:n_blocks]].flatten(0, 1)[: text.n_keys].transpose(0, 1)[None]


def paged_attention(
    q: Float[Tensor, "tokens heads d"],
    keys: Float[Tensor, "n_blocks block_size kv_heads d"],
    values: Float[Tensor, "n_blocks block_size kv_heads d"],
    texts: Sequence[PagedText],
) -> Float[Tensor, "tokens heads d"]:
    """Gathers the blocks of each text, then attends as if they had always been in one piece.

    q: the newest `n_new` positions of the first text, then those of the second, and so on.
    """
    out = torch.empty_like(q)
    n_new = [text.n_new for text in texts]
    for own, text, result in zip(q.split(n_new), texts, out.split(n_new), strict=True):
        queries = own.transpose(0, 1)[None]
        attended = causal_attention(queries, gather_text(keys, text), gather_text(values, text))
        result.copy_(attended[0].transpose(0, 1))
    return out


def paged_attention_blockwise(
    q: Float[Tensor, "tokens heads d"],
    keys: Float[Tensor, "n_blocks block_size kv_heads d"],
    values: Float[Tensor, "n_blocks block_size kv_heads d"],
    texts: Sequence[PagedText],
) -> Float[Tensor, "tokens heads d"]:
    """`paged_attention` without a copy: blocks are read where they lie, and the softmax goes on across them.

    The algorithm of the kernels, in float32.
    """
    out = torch.empty_like(q)
    n_new = [text.n_new for text in texts]
    for own, text, result in zip(q.split(n_new), texts, out.split(n_new), strict=True):
        queries = own.transpose(0, 1).float() / math.sqrt(q.shape[-1])
        position = torch.arange(text.n_keys - text.n_new, text.n_keys, device=q.device)
        state = empty_state(tuple(queries.shape[:2]), q.shape[-1], device=q.device)
        # region: blocks
        for first, block in zip(range(0, text.n_keys, keys.shape[1]), text.blocks, strict=False):
            k, v = _heads_of_block(keys[block], q), _heads_of_block(values[block], q)
            key_position = first + torch.arange(keys.shape[1], device=q.device)
            hidden = key_position > position[:, None]  # also what the last block has behind the text's end
            scores = (queries @ k.transpose(1, 2)).masked_fill(hidden, -math.inf)
            state = update_softmax(state, scores, v)
        # endregion: blocks
        result.copy_(finish_softmax(state)[0].transpose(0, 1))
    return out


def _heads_of_block(block: Float[Tensor, "block_size kv_heads d"], q: Tensor) -> Tensor:
    """One block as (heads, block_size, d) in float32."""
    return repeat_kv_heads(block.transpose(0, 1)[None], q.shape[1] // block.shape[1])[0].float()


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
    k, v = (cache[tables].flatten(1, 2).transpose(1, 2) for cache in (keys, values))
    seen = torch.arange(k.shape[2], device=q.device) < n_keys[:, None]
    # A weight of 0 does not hide a NaN (0 · NaN), and other texts, also failing ones, leave things behind.
    for gathered in (k, v):
        gathered.masked_fill_(~seen[:, None, :, None], 0.0)
    # The heads of a group stand in line as queries of their shared keys.
    folded = q.reshape(n_texts, n_kv_heads, n_heads // n_kv_heads, d)
    return F.scaled_dot_product_attention(folded, k, v, seen[:, None, None]).reshape(q.shape)

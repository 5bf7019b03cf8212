"""Attention of a step of serving as a Triton kernel, which reads keys and values in their blocks.

One program computes one text's new token for one head of keys and all query heads that share it, so keys and
values are read once. Few texts with long contexts leave most of a GPU idle: they would have to be cut into
pieces, as in `nn.fast.paged_attention`.

Oracle: `nn.paged_attention.paged_decode_attention`. Triton's interpreter runs it without a GPU, as it does
`nn.fast.flash_triton`.

Kwon et al. 2023, arXiv:2309.06180, section 5.1.
"""

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

KEYS_AT_ONCE: Any = 64
LEAST_ROWS = 16  # of a product that the matrix units compute; a group with fewer heads is filled up


def triton_paged_decode_attention(
    q: Float[Tensor, "texts heads d"],
    keys: Float[Tensor, "n_blocks block_size kv_heads d"],
    values: Float[Tensor, "n_blocks block_size kv_heads d"],
    tables: Int[Tensor, "texts most_blocks"],
    n_keys: Int[Tensor, " texts"],
) -> Float[Tensor, "texts heads d"]:
    """`paged_decode_attention` on a GPU: the same arguments. Nothing is copied, and a text costs what it is
    long, whatever the width of `tables`.
    """
    n_texts, n_heads, d = q.shape
    n_kv_heads, block_size = keys.shape[2], keys.shape[1]
    group = n_heads // n_kv_heads
    q, out = q.contiguous(), q.new_empty(q.shape)
    _decode[n_texts, n_kv_heads](
        q, keys, values, tables, n_keys, out, tables.stride(0), group, d, block_size, 1 / math.sqrt(d),
        BLOCK_G=max(LEAST_ROWS, triton.next_power_of_2(group)), BLOCK_K=KEYS_AT_ONCE,
        BLOCK_D=max(16, triton.next_power_of_2(d)),
    )  # fmt: skip
    return out


@triton.jit
def _decode(
    q_, keys_, values_, tables, n_keys_, out_, table_width, group, d, block_size, scale,
    BLOCK_G: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    text, kv_head, n_kv_heads = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    members, dims = tl.arange(0, BLOCK_G), tl.arange(0, BLOCK_D)
    own_heads = (text * n_kv_heads + kv_head) * group + members
    inside = (members < group)[:, None] & (dims < d)[None, :]
    q = tl.load(q_ + own_heads[:, None] * d + dims[None, :], mask=inside, other=0.0)
    n_keys = tl.load(n_keys_ + text)
    m = tl.full([BLOCK_G], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_G], tl.float32)
    acc = tl.zeros([BLOCK_G, BLOCK_D], tl.float32)
    for start in range(0, n_keys, BLOCK_K):
        positions = start + tl.arange(0, BLOCK_K)
        written = positions < n_keys
        # What lies behind the end of a text is never read: another text's, perhaps a NaN.
        block = tl.load(tables + text * table_width + positions // block_size, mask=written, other=0)
        slot = block.to(tl.int64) * block_size + positions % block_size
        place = (slot * n_kv_heads + kv_head)[:, None] * d + dims[None, :]
        there = written[:, None] & (dims < d)[None, :]
        k = tl.load(keys_ + place, mask=there, other=0.0)
        v = tl.load(values_ + place, mask=there, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(written[None, :], scores, float("-inf"))
        m_new = tl.maximum(m, tl.max(scores, 1))
        weights = tl.exp(scores - m_new[:, None])
        rescale = tl.exp(m - m_new)
        total = rescale * total + tl.sum(weights, 1)
        acc = rescale[:, None] * acc + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        m = m_new
    result = acc / total[:, None]
    tl.store(out_ + own_heads[:, None] * d + dims[None, :], result.to(out_.dtype.element_ty), mask=inside)

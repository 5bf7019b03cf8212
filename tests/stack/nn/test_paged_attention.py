"""Paged attention, in each of its forms, against attention over keys in one piece."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn.attention import readable_causal_attention
from teachllm.stack.nn.paged_attention import (
    PagedText,
    gather_text,
    paged_attention,
    paged_attention_blockwise,
    paged_decode_attention,
)

RAGGED = [(1, 1), (5, 5), (1, 9), (3, 17), (7, 8), (1, 16), (4, 32)]  # (new, all) positions of each text


def scattered(
    lengths: list[tuple[int, int]], block_size: int, n_kv_heads: int, d: int, seed: int
) -> tuple[Tensor, Tensor, list[PagedText]]:
    """Keys and values of texts, in blocks that are dealt in random order, and some blocks of nobody."""
    generator = torch.Generator().manual_seed(seed)
    needed = [-(-n_keys // block_size) for _, n_keys in lengths]
    dealt = torch.randperm(sum(needed) + 3, generator=generator).split([*needed, 3])
    keys, values = torch.randn(2, sum(needed) + 3, block_size, n_kv_heads, d, generator=generator)
    texts = [
        PagedText(blocks, n_new, n_keys) for blocks, (n_new, n_keys) in zip(dealt, lengths, strict=False)
    ]
    return keys, values, texts


def one_by_one(q: Tensor, keys: Tensor, values: Tensor, texts: list[PagedText]) -> Tensor:
    """The oracle: slot by slot out of the blocks, then the readable attention."""
    pieces = []
    for own, text in zip(q.split([text.n_new for text in texts]), texts, strict=True):
        size = keys.shape[1]
        where = [(int(text.blocks[i // size]), i % size) for i in range(text.n_keys)]
        k, v = (torch.stack([cache[b, s] for b, s in where], dim=1)[None] for cache in (keys, values))
        pieces.append(readable_causal_attention(own.transpose(0, 1)[None], k, v)[0].transpose(0, 1))
    return torch.cat(pieces)


@pytest.mark.parametrize("attention", [paged_attention, paged_attention_blockwise])
@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(4, 4), (6, 2), (4, 1)])
@pytest.mark.parametrize("block_size", [1, 4, 16])
def test_equals_attention_in_one_piece(
    attention: Callable[..., Tensor], n_heads: int, n_kv_heads: int, block_size: int
) -> None:
    keys, values, texts = scattered(RAGGED, block_size, n_kv_heads, 8, seed=n_heads)
    q = torch.randn(
        sum(new for new, _ in RAGGED), n_heads, 8, generator=torch.Generator().manual_seed(block_size)
    )
    expected = one_by_one(q, keys, values, texts)
    torch.testing.assert_close(attention(q, keys, values, texts), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(4, 4), (6, 2), (4, 1)])
def test_decoding_all_at_once_equals_one_by_one(n_heads: int, n_kv_heads: int) -> None:
    lengths = [(1, n_keys) for n_keys in (1, 4, 5, 13, 40)]
    keys, values, texts = scattered(lengths, 4, n_kv_heads, 8, seed=0)
    q = torch.randn(5, n_heads, 8, generator=torch.Generator().manual_seed(1))
    tables = torch.zeros(5, 10, dtype=torch.int32)
    for row, text in zip(tables, texts, strict=True):
        row[: len(text.blocks)] = text.blocks
    result = paged_decode_attention(q, keys, values, tables, torch.tensor([n for _, n in lengths]))
    torch.testing.assert_close(result, one_by_one(q, keys, values, texts), atol=1e-5, rtol=1e-5)


def test_more_blocks_than_are_filled_change_nothing() -> None:
    keys, values, [text] = scattered([(2, 5)], 4, 2, 8, seed=0)
    reserved = PagedText(torch.cat([text.blocks, text.blocks[:1]]), 2, 5)
    q = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))
    for attention in (paged_attention, paged_attention_blockwise):
        assert torch.equal(
            attention(q, keys, values, [text]),
            attention(q, keys, values, [reserved]),
        )
    assert gather_text(keys, reserved).shape == (1, 2, 5, 8)


def test_bfloat16_stays_bfloat16() -> None:
    keys, values, texts = scattered(RAGGED, 4, 2, 8, seed=0)
    q = torch.randn(sum(new for new, _ in RAGGED), 4, 8, generator=torch.Generator().manual_seed(1))
    expected = one_by_one(*(x.bfloat16().float() for x in (q, keys, values)), texts)
    for attention in (paged_attention, paged_attention_blockwise):
        result = attention(q.bfloat16(), keys.bfloat16(), values.bfloat16(), texts)
        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result.float(), expected, atol=2e-2, rtol=2e-2)

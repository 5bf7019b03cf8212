"""Paged attention, in each of its forms, against attention over keys in one piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from teachllm.stack.nn.attention import readable_causal_attention
from teachllm.stack.nn.fast import paged_attention as fast
from teachllm.stack.nn.fast.paged_attention import PagedRows, paged_rows_attention
from teachllm.stack.nn.paged_attention import (
    paged_attention,
    paged_attention_blockwise,
    paged_decode_attention,
)

RAGGED = [(1, 1), (5, 5), (1, 9), (3, 17), (7, 8), (1, 16), (4, 32)]  # (new, all) positions of each text


@dataclass
class Text:
    table: Tensor
    n_new: int
    n_keys: int


def scattered(
    lengths: list[tuple[int, int]], block_size: int, n_kv_heads: int, d: int, seed: int
) -> tuple[Tensor, Tensor, list[Text]]:
    """Keys and values of texts, in blocks that are dealt in random order, and some blocks of nobody."""
    generator = torch.Generator().manual_seed(seed)
    needed = [-(-n_keys // block_size) for _, n_keys in lengths]
    dealt = torch.randperm(sum(needed) + 3, generator=generator).split([*needed, 3])
    keys, values = torch.randn(2, sum(needed) + 3, block_size, n_kv_heads, d, generator=generator)
    texts = [Text(blocks, n_new, n_keys) for blocks, (n_new, n_keys) in zip(dealt, lengths, strict=False)]
    return keys, values, texts


def one_by_one(q: Tensor, keys: Tensor, values: Tensor, texts: list[Text]) -> Tensor:
    """The oracle: slot by slot out of the blocks, then the readable attention."""
    pieces = []
    for own, text in zip(q.split([text.n_new for text in texts]), texts, strict=True):
        size = keys.shape[1]
        where = [(int(text.table[i // size]), i % size) for i in range(text.n_keys)]
        k, v = (torch.stack([cache[b, s] for b, s in where], dim=1)[None] for cache in (keys, values))
        pieces.append(readable_causal_attention(own.transpose(0, 1)[None], k, v)[0].transpose(0, 1))
    return torch.cat(pieces)


def text_by_text(
    attention: Callable[..., Tensor], q: Tensor, keys: Tensor, values: Tensor, texts: list[Text]
) -> Tensor:
    queries = q.split([text.n_new for text in texts])
    return torch.cat(
        [
            attention(own, keys, values, text.table, text.n_keys)
            for own, text in zip(queries, texts, strict=True)
        ]
    )


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
    result = text_by_text(attention, q, keys, values, texts)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(4, 4), (6, 2), (4, 1)])
def test_decoding_all_at_once_equals_one_by_one(n_heads: int, n_kv_heads: int) -> None:
    lengths = [(1, n_keys) for n_keys in (1, 4, 5, 13, 40)]
    keys, values, texts = scattered(lengths, 4, n_kv_heads, 8, seed=0)
    q = torch.randn(5, n_heads, 8, generator=torch.Generator().manual_seed(1))
    tables = torch.zeros(5, 10, dtype=torch.int32)
    for row, text in zip(tables, texts, strict=True):
        row[: len(text.table)] = text.table
    result = paged_decode_attention(q, keys, values, tables, torch.tensor([n for _, n in lengths]))
    torch.testing.assert_close(result, one_by_one(q, keys, values, texts), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("left", [1e4, float("nan")])
def test_what_others_left_behind_the_end_changes_nothing(left: float) -> None:
    keys, values, [text] = scattered([(1, 5)], 4, 2, 16, seed=0)
    q = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(1))
    expected = one_by_one(q, keys, values, [text])
    keys[text.table[1], 1:] = values[text.table[1], 1:] = left
    unfilled = [block for block in range(len(keys)) if block not in text.table]
    keys[unfilled] = values[unfilled] = left
    table = torch.cat([text.table, torch.tensor(unfilled[:1])])
    with torch.no_grad():
        rows = PagedRows(table[None].numpy(), np.array([0]), np.array([0]), np.array([5]))
        by_kernel = torch.empty_like(q)
        paged_rows_attention(q, keys, values, rows, by_kernel)
    for result in (
        paged_attention(q, keys, values, table, 5),
        paged_attention_blockwise(q, keys, values, table, 5),
        paged_decode_attention(q, keys, values, table[None], torch.tensor([5])),
        by_kernel,
    ):
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_bfloat16_stays_bfloat16() -> None:
    keys, values, texts = scattered(RAGGED, 4, 2, 8, seed=0)
    q = torch.randn(sum(new for new, _ in RAGGED), 4, 8, generator=torch.Generator().manual_seed(1))
    expected = one_by_one(*(x.bfloat16().float() for x in (q, keys, values)), texts)
    for attention in (paged_attention, paged_attention_blockwise):
        result = text_by_text(attention, q.bfloat16(), keys.bfloat16(), values.bfloat16(), texts)
        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result.float(), expected, atol=2e-2, rtol=2e-2)


# The kernel --------------------------------------------------------------------------------------------


def rows_of(texts: list[Text]) -> PagedRows:
    tables = np.zeros((len(texts), max(len(text.table) for text in texts)), np.int32)
    for row, text in zip(tables, texts, strict=True):
        row[: len(text.table)] = text.table
    which = np.repeat(np.arange(len(texts)), [text.n_new for text in texts])
    n_keys = np.concatenate([np.arange(text.n_keys - text.n_new, text.n_keys) + 1 for text in texts])
    return PagedRows(tables, np.arange(len(which)), which, n_keys)


def by_kernel(q: Tensor, keys: Tensor, values: Tensor, texts: list[Text]) -> Tensor:
    with torch.no_grad():
        assert fast.can_run(keys)
        out = q.new_full(q.shape, float("nan"))
        paged_rows_attention(q, keys, values, rows_of(texts), out)
    return out


LONG = [(1, 256), (2, 257), (1, 700), *RAGGED]  # around and beyond what one piece takes


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "d", "block_size"),
    [(2, 2, 16, 4), (4, 2, 16, 16), (6, 1, 96, 32)],
    ids=["one head a group", "two heads a group", "more heads and chunks than a tile"],
)
def test_kernel_equals_attention_in_one_piece(n_heads: int, n_kv_heads: int, d: int, block_size: int) -> None:
    keys, values, texts = scattered(LONG, block_size, n_kv_heads, d, seed=d)
    n_tokens = sum(new for new, _ in LONG)
    q = torch.randn(n_heads, n_tokens, d, generator=torch.Generator().manual_seed(1)).transpose(0, 1)
    result = by_kernel(q, keys, values, texts)  # of a view, as a model gives it
    torch.testing.assert_close(result, one_by_one(q, keys, values, texts), atol=1e-5, rtol=1e-5)


def test_kernel_in_bfloat16_and_the_shape_of_smollm2() -> None:
    keys, values, texts = scattered(LONG, 16, 3, 64, seed=0)
    n_tokens = sum(new for new, _ in LONG)
    q = torch.randn(n_tokens, 9, 64, generator=torch.Generator().manual_seed(1))
    rounded = [x.bfloat16() for x in (q, keys, values)]
    expected = one_by_one(*(x.float() for x in rounded), texts)
    # Sums are in float32, so only the result is rounded: half a unit in the last of 8 bits.
    torch.testing.assert_close(by_kernel(*rounded, texts).float(), expected, atol=1e-4, rtol=2**-8)


def test_kernel_gives_a_text_the_same_numbers_in_any_company() -> None:
    keys, values, texts = scattered(LONG, 16, 2, 16, seed=0)
    q = torch.randn(sum(new for new, _ in LONG), 4, 16, generator=torch.Generator().manual_seed(1))
    together = by_kernel(q, keys, values, texts).split([new for new, _ in LONG])
    for own, text, result in zip(q.split([new for new, _ in LONG]), texts, together, strict=True):
        assert torch.equal(by_kernel(own, keys, values, [text]), result)


def test_kernel_leaves_other_rows_alone() -> None:
    keys, values, texts = scattered([(1, 20), (1, 300)], 16, 2, 16, seed=0)
    tables = np.zeros((2, 19), np.int32)
    for row, text in zip(tables, texts, strict=True):
        row[: len(text.table)] = text.table
    q = torch.randn(4, 4, 16, generator=torch.Generator().manual_seed(1))
    out = torch.full_like(q, 7.0)
    with torch.no_grad():
        rows = PagedRows(tables, np.array([3, 1]), np.array([0, 1]), np.array([20, 300]))
        paged_rows_attention(q, keys, values, rows, out)
    assert (out[[0, 2]] == 7).all()
    torch.testing.assert_close(out[[3, 1]], one_by_one(q[[3, 1]], keys, values, texts), atol=1e-5, rtol=1e-5)


def test_kernel_refuses_what_it_would_write_wrongly() -> None:
    keys, values, texts = scattered([(2, 3)], 16, 1, 16, seed=0)
    q = torch.randn(2, 2, 16)
    with torch.no_grad(), pytest.raises(ValueError, match="in one piece"):
        paged_rows_attention(q, keys, values, rows_of(texts), q.clone().transpose(0, 1))


@pytest.mark.parametrize(("block_size", "d"), [(6, 16), (48, 16), (16, 8)])
def test_kernel_knows_what_it_cannot_do(block_size: int, d: int) -> None:
    with torch.no_grad():
        assert not fast.can_run(torch.zeros(2, block_size, 1, d))
        assert fast.can_run(torch.zeros(2, 16, 1, 16))
    assert not fast.can_run(torch.zeros(2, 16, 1, 16))  # gradients are wanted

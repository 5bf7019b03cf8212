"""Texts of different lengths in one rectangle: padded on the left, on the right, or packed without padding.

The side alone makes nothing right. A text gives what it would give alone when three things fit together: its
tokens see no one else's (the mask), they are numbered from 0 (the positions), and the next token is read at
its own last one (`gather_last`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from teachllm.stack.nn.attention import repeat_kv_heads
from teachllm.stack.nn.kv_cache import KVCache

PADDING = -1
"""The text that a column of padding belongs to."""


def left_pad(
    texts: Sequence[Sequence[int]], pad_token: int
) -> tuple[Int[Tensor, "row column"], Bool[Tensor, "row column"], Int[Tensor, "row column"]]:
    """Tokens, mask and positions of `texts`, one a row, with padding before them: all end in the last column.

    mask: True for the tokens of a text, also for one that happens to be the `pad_token`. positions: 0, 1, …
    along the text, and 0 for padding. A text without tokens is a row of padding.
    ValueError if there is no text.
    """
    width = _width(texts)
    padding = [width - len(text) for text in texts]
    rows = [[pad_token] * n + list(text) for n, text in zip(padding, texts, strict=True)]
    tokens = torch.tensor(rows, dtype=torch.long)
    mask = torch.arange(width) >= torch.tensor(padding)[:, None]
    return tokens, mask, positions_of(mask)


def right_pad(
    texts: Sequence[Sequence[int]], pad_token: int
) -> tuple[Int[Tensor, "row column"], Bool[Tensor, "row column"], Int[Tensor, "row column"]]:
    """As `left_pad`, with the padding behind the texts: all of them begin in the first column."""
    width = _width(texts)
    rows = [list(text) + [pad_token] * (width - len(text)) for text in texts]
    tokens = torch.tensor(rows, dtype=torch.long)
    mask = torch.arange(width) < torch.tensor([len(text) for text in texts])[:, None]
    return tokens, mask, positions_of(mask)


def positions_of(mask: Bool[Tensor, "row column"]) -> Int[Tensor, "row column"]:
    """How many real tokens stand before each real one in its row; 0 for padding, where nobody uses it.

    >>> positions_of(torch.tensor([[False, False, True, True], [True, True, True, True]])).tolist()
    [[0, 0, 0, 1], [0, 1, 2, 3]]
    """
    return (mask.cumsum(-1) - 1) * mask


def gather_last(
    x: Float[Tensor, "row column width"], mask: Bool[Tensor, "row column"]
) -> Float[Tensor, "row width"]:
    """Of each row what stands at its last real column: features or logits, from which the next token comes.

    With padding on the left that is the last column of every row. A row of padding gives its first column.
    """
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(-1)
    return x[torch.arange(len(x), device=x.device), last]


def pack(
    texts: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "1 column"], Int[Tensor, "1 column"], Int[Tensor, "1 column"]]:
    """Tokens of all `texts` in one row, the number of the text of each, and its position in this text.

    ValueError if there is no token.
    """
    _width(texts)
    row = [(token, text, at) for text, tokens in enumerate(texts) for at, token in enumerate(tokens)]
    if not row:
        raise ValueError(f"{len(texts)} texts without a single token: give at least one token")
    tokens, numbers, positions = torch.tensor(row).T
    return tokens[None], numbers[None], positions[None]


def _width(texts: Sequence[Sequence[int]]) -> int:
    if not texts:
        raise ValueError("no texts were given; a batch has at least one")
    return max(map(len, texts))


class RowsCache:
    """A `CacheView` of rows whose columns belong to texts: one text a row beside padding, or several packed.

    Before each call of the model, `expect` says what the new columns are. A query sees the keys of its own
    text, up to itself; padding sees padding, so that no query sees nothing (0/0).
    """

    def __init__(self, cache: KVCache) -> None:
        keys = cache.keys[0]
        self._cache = cache
        self._texts = torch.full((len(keys), cache.capacity), PADDING, device=keys.device)
        self._positions = torch.zeros((len(keys), 0), dtype=torch.long, device=keys.device)
        self._mask = torch.empty(0)

    def expect(self, texts: Int[Tensor, "row new"], positions: Int[Tensor, "row new"]) -> None:
        """Of each new column: the number of its text in its row, or `PADDING`, and its position in the text.

        ValueError if the cache has no room for them.
        """
        seen, end = self._cache.length, self._cache.length + texts.shape[1]
        if end > self._cache.capacity:
            raise ValueError(
                f"{texts.shape[1]} more columns after {seen}; the cache has room for {self._cache.capacity}"
            )
        self._texts[:, seen:end] = texts
        self._positions = positions
        self._mask = visible(self._texts[:, :end], texts.shape[1])

    def positions(self, n_new: int) -> Int[Tensor, "row new"]:
        if self._positions.shape[1] != n_new:
            raise ValueError(
                f"{n_new} columns are read, {self._positions.shape[1]} were announced: call expect() first"
            )
        return self._positions

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "row heads new d"],
        k: Float[Tensor, "row kv_heads new d"],
        v: Float[Tensor, "row kv_heads new d"],
    ) -> Float[Tensor, "row heads new d"]:
        keys, values = self._cache.update(layer, k, v)
        n_rows, n_heads, n_new, d = q.shape
        group, mask = n_heads // k.shape[1], self._mask[:, None]
        if n_new == 1:  # the heads of a group stand in line as queries, as in `fused_causal_attention`
            folded = q.reshape(n_rows, -1, group, d)
            return F.scaled_dot_product_attention(folded, keys, values, mask).reshape(q.shape)
        keys, values = repeat_kv_heads(keys, group), repeat_kv_heads(values, group)
        return F.scaled_dot_product_attention(q, keys, values, mask)

    def advance(self, n_positions: int) -> None:
        self._cache.advance(n_positions)
        self._positions = self._positions[:, :0]


def visible(texts: Int[Tensor, "row column"], n_new: int) -> Bool[Tensor, "row new column"]:
    """True where one of the newest `n_new` columns may see a column: of the same text, up to itself.

    >>> visible(torch.tensor([[-1, 0, 0]]), 2).int().tolist()  # padding, then a text
    [[[0, 1, 0], [0, 1, 1]]]
    """
    n_columns = texts.shape[1]
    columns = torch.arange(n_columns, device=texts.device)
    same_text = texts[:, n_columns - n_new :, None] == texts[:, None, :]
    return same_text & (columns <= columns[n_columns - n_new :, None])

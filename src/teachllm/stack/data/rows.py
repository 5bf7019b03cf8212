"""Rows of one length from a corpus on disk: by cutting the stream, or by best-fit packing of documents.

A row is its tokens and, for each, the token that follows it in the stream. The stream is a circle: the last
document is followed by the first, whose end-of-text token closes it.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from teachllm.stack.data.packing import IGNORED, best_fit, cut_documents
from teachllm.stack.data.shards import TokenShards
from teachllm.stack.data.shuffle import mix

Packing = Literal["cut", "best-fit"]


class Rows(Protocol):
    """A corpus in rows."""

    def __len__(self) -> int:
        """Rows in an epoch."""
        ...

    def read(
        self, number: int, epoch: int, tokens: np.ndarray, targets: np.ndarray, document_ids: np.ndarray
    ) -> None:
        """Write one row into three int64 arrays of its length."""
        ...


class CutRows:
    """The stream cut every `length` tokens. In each epoch the cuts lie elsewhere, as `seed` chooses, so that
    a document is not torn at the same place every time; less than one row is left out of an epoch.
    """

    def __init__(self, shards: TokenShards, length: int, seed: int) -> None:
        if shards.n_tokens < length:
            raise ValueError(
                f"{shards.folder} has {shards.n_tokens:,} tokens: not one row of {length:,}. Give more text, "
                "or shorter rows"
            )
        self._shards, self._length, self._seed = shards, length, seed

    def __len__(self) -> int:
        return self._shards.n_tokens // self._length

    def read(
        self, number: int, epoch: int, tokens: np.ndarray, targets: np.ndarray, document_ids: np.ndarray
    ) -> None:
        offset = mix(mix(self._seed) ^ epoch) % self._length
        read_piece(self._shards, offset + number * self._length, tokens, targets)
        np.cumsum(tokens == self._shards.end_of_text, out=document_ids)


class PackedRows:
    """Documents packed whole by best fit; the same rows in every epoch. Padding is end-of-text tokens that
    predict nothing. A piece of a torn document has no end-of-text token, so each piece has its own document
    id. Keeps 24 bytes a document in memory.
    """

    def __init__(self, shards: TokenShards, length: int) -> None:
        self._shards = shards
        lengths = np.diff(shards.document_starts, append=shards.n_tokens)
        starts, sizes = cut_documents(lengths, length)
        rows = best_fit(sizes, length)
        if not rows:
            raise ValueError(f"{shards.folder} has no documents. Give more text")
        order = np.concatenate([np.array(row) for row in rows])
        self._starts, self._sizes = starts[order], sizes[order]
        self._row_ends = np.cumsum([len(row) for row in rows])

    def __len__(self) -> int:
        return len(self._row_ends)

    def read(
        self, number: int, epoch: int, tokens: np.ndarray, targets: np.ndarray, document_ids: np.ndarray
    ) -> None:
        first = int(self._row_ends[number - 1]) if number else 0
        at = 0
        for piece in range(first, int(self._row_ends[number])):
            start, end = int(self._starts[piece]), at + int(self._sizes[piece])
            read_piece(self._shards, start, tokens[at:end], targets[at:end])
            document_ids[at:end] = piece - first
            at = end
        tokens[at:] = self._shards.end_of_text
        targets[at:] = IGNORED
        document_ids[at:] = int(self._row_ends[number]) - first


def rows_of(shards: TokenShards, length: int, seed: int, packing: Packing) -> Rows:
    return CutRows(shards, length, seed) if packing == "cut" else PackedRows(shards, length)


def read_piece(shards: TokenShards, start: int, tokens: np.ndarray, targets: np.ndarray) -> None:
    """Tokens start, start + 1, … of the circular stream, and the ones that follow them."""
    n = shards.n_tokens
    start %= n
    if start + len(tokens) < n:
        piece = shards.read(start, start + len(tokens) + 1)
    else:
        piece = np.concatenate([shards.read(start, n), shards.read(0, len(tokens) + 1 - (n - start))])
    tokens[:] = piece[:-1]
    targets[:] = piece[1:]

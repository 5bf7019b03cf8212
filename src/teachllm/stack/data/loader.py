"""Batches for training, endless and in an order that a seed fixes, with a position that fits in a checkpoint.

The order is that of the *global* batch: with several processes each takes its share of the same rows, so
that a run may continue on another number of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from teachllm.stack.data.packing import IGNORED, document_ids
from teachllm.stack.data.rows import Packing, read_piece, rows_of
from teachllm.stack.data.shards import TokenShards
from teachllm.stack.data.shuffle import mix, shuffled


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of ids, what each position is to predict (`IGNORED`, −100: nothing), and whose text it is.

    All are int64. `document_ids` number the documents of each row, torn ones included; padding has its own.
    """

    tokens: Int[Tensor, "row position"]
    targets: Int[Tensor, "row position"]
    document_ids: Int[Tensor, "row position"]


class DataExhausted(Exception):
    """Every corpus has been seen as often as its cap allows."""


class BatchLoader:
    """Draws batches of `rows` rows of `length` tokens, of which this process gets rows/world_size.

    data: a corpus, or several by name.
    weights: the share of rows that each corpus gets; by default in proportion to its tokens.
    max_epochs: how often a corpus may be seen; when it is used up, the others take its share. Without a cap
    it is repeated as needed, in another order each time. When all are used up, `DataExhausted`.
    packing: "cut" or "best-fit"; see `rows`.

    ValueError names every argument that does not fit the others.
    """

    def __init__(
        self,
        data: TokenShards | Mapping[str, TokenShards],
        rows: int,
        length: int,
        seed: int,
        *,
        weights: Mapping[str, float] | None = None,
        max_epochs: Mapping[str, float] | None = None,
        packing: Packing = "cut",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        corpora = {"data": data} if isinstance(data, TokenShards) else dict(data)
        weights = weights or {name: float(shards.n_tokens) for name, shards in corpora.items()}
        max_epochs = max_epochs or {}
        if problems := _problems(corpora, rows, length, weights, max_epochs, rank, world_size):
            raise ValueError("these batches cannot be drawn:\n  " + "\n  ".join(problems))
        self.rows, self.length, self.seed = rows, length, seed
        self._mine = range(rank, rows, world_size)
        self._names = list(corpora)
        self._sha256 = {name: shards.sha256 for name, shards in corpora.items()}
        self._weights = [weights[name] for name in self._names]
        self._seeds = [mix(mix(seed) + number) for number in range(len(corpora))]
        self._corpora = [
            rows_of(corpora[name], length, own_seed, packing)
            for name, own_seed in zip(self._names, self._seeds, strict=True)
        ]
        self._packing = packing
        self._caps = [
            None if name not in max_epochs else int(max_epochs[name] * len(corpus))
            for name, corpus in zip(self._names, self._corpora, strict=True)
        ]
        self._served = [0] * len(corpora)  # rows of each corpus so far, of the global batches

    @property
    def epochs(self) -> dict[str, float]:
        """How often each corpus has been seen."""
        return {
            name: served / len(corpus)
            for name, served, corpus in zip(self._names, self._served, self._corpora, strict=True)
        }

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        tokens = np.empty((len(self._mine), self.length), dtype=np.int64)
        targets, document_ids = np.empty_like(tokens), np.empty_like(tokens)
        served = list(self._served)
        for row in range(self.rows):
            corpus = next_corpus(self._weights, served, self._caps)
            if corpus is None:
                raise DataExhausted(
                    f"after {sum(self._served):,} rows no corpus may be repeated further. Train for fewer "
                    "steps, give more text, or raise max_epochs"
                )
            if row in self._mine:
                mine = self._mine.index(row)
                self._read(corpus, served[corpus], tokens[mine], targets[mine], document_ids[mine])
            served[corpus] += 1
        self._served = served
        return Batch(*map(torch.from_numpy, (tokens, targets, document_ids)))

    def _read(self, corpus: int, position: int, *row: np.ndarray) -> None:
        rows = self._corpora[corpus]
        epoch, index = divmod(position, len(rows))
        number = shuffled(index, len(rows), mix(self._seeds[corpus] ^ epoch))
        rows.read(number, epoch, *row)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, for JSON: a loader of any number of processes continues there."""
        return {"served": dict(zip(self._names, self._served, strict=True)), "of": self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken. ValueError when it is of other data or another order."""
        mine = self._identity()
        if different := [key for key, value in mine.items() if state["of"].get(key) != value]:
            differences = ", ".join(f"{key}: {state['of'].get(key)} → {mine[key]}" for key in different)
            raise ValueError(
                f"the position was saved with other data than this loader's ({differences}). Continue with "
                "the data and settings of the run, or begin a new one"
            )
        self._served = [int(state["served"][name]) for name in self._names]

    def _identity(self) -> dict[str, Any]:
        """What decides the order of rows."""
        return {
            "data": self._sha256,
            "length": self.length,
            "seed": self.seed,
            "packing": self._packing,
            "weights": self._weights,
        }


def next_corpus(weights: list[float], served: list[int], caps: list[int | None]) -> int | None:
    """Which corpus the next row comes from: the one that is furthest behind its share; None when all are
    used up.

    So every batch holds each corpus in proportion to its weight, as nearly as whole rows can, and the choice
    depends on nothing but how many rows each has given.
    """
    open_ones = [i for i, cap in enumerate(caps) if cap is None or served[i] < cap]
    if not open_ones:
        return None
    return min(open_ones, key=lambda i: ((served[i] + 1) / weights[i], i))


def one_pass(shards: TokenShards, rows: int, length: int) -> Iterator[Batch]:
    """Every token of a corpus as a target once, in order: for evaluation. The last row is padded, and the
    last batch may have fewer rows.
    """
    n_rows = -(-shards.n_tokens // length)
    for first in range(0, n_rows, rows):
        tokens = np.full((min(rows, n_rows - first), length), shards.end_of_text, dtype=np.int64)
        targets = np.full_like(tokens, IGNORED)
        for row in range(len(tokens)):
            start = (first + row) * length
            size = min(length, shards.n_tokens - start)
            read_piece(shards, start, tokens[row, :size], targets[row, :size])
        ids = torch.from_numpy(tokens)
        yield Batch(ids, torch.from_numpy(targets), document_ids(ids, shards.end_of_text))


def _problems(
    corpora: Mapping[str, TokenShards],
    rows: int,
    length: int,
    weights: Mapping[str, float],
    max_epochs: Mapping[str, float],
    rank: int,
    world_size: int,
) -> list[str]:
    problems = []
    if not corpora:
        problems.append("no corpus is given")
    if rows < 1 or length < 1:
        problems.append(f"{rows} rows of {length} tokens: both must be at least 1")
    if world_size < 1 or not 0 <= rank < world_size:
        problems.append(f"rank {rank} of {world_size} processes")
    elif rows % world_size:
        problems.append(f"{rows} rows cannot be shared equally by {world_size} processes")
    if set(weights) != set(corpora):
        problems.append(f"weights name {sorted(weights)}, but the corpora are {sorted(corpora)}")
    if bad := {name: weight for name, weight in weights.items() if not weight > 0}:
        problems.append(f"weights must be above 0: {bad}")
    if unknown := sorted(set(max_epochs) - set(corpora)):
        problems.append(f"max_epochs names {unknown}, but the corpora are {sorted(corpora)}")
    if bad := {name: cap for name, cap in max_epochs.items() if not cap > 0}:
        problems.append(f"max_epochs must be above 0: {bad}")
    if len({(shards.tokenizer, shards.end_of_text) for shards in corpora.values()}) > 1:
        problems.append("the corpora were written with different tokenizers")
    return problems

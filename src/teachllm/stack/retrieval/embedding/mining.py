"""Hard negatives: passages that a model ranks high for a query although they do not answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

NONE = -1
CHUNK = 1024  # queries whose scores with all passages are held at once


def ranked_candidates(
    queries: Float[Tensor, "query d"],
    passages: Float[Tensor, "passage d"],
    positives: Int[Tensor, " query"],
    depth: int,
    max_share: float | None = None,
) -> tuple[Int[Tensor, "query depth"], Float[Tensor, "query depth"]]:
    """Passages that are not the query's own, best first, and their scores; id −1 and −∞ where there are no
    more.

    positives: the row of each query's own passage. max_share: what scores above this share of the positive's
    score is left out, because it is probably an answer nobody labelled; 0.95 is usual (Moreira et al. 2024,
    2407.15831).
    """
    depth = min(depth, len(passages))
    ids = torch.full((len(queries), depth), NONE)
    scores = torch.full((len(queries), depth), -torch.inf)
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, start + CHUNK)
        found = queries[rows] @ passages.T
        own = found.gather(1, positives[rows, None])
        if max_share is not None:
            found = found.masked_fill(found > max_share * own, -torch.inf)
        found.scatter_(1, positives[rows, None], -torch.inf)
        best = found.topk(depth, dim=1)
        scores[rows] = best.values
        ids[rows] = best.indices.masked_fill(best.values == -torch.inf, NONE)
    return ids, scores


def static_negatives(
    candidates: Int[Tensor, "query depth"], n: int, first: int, generator: torch.Generator
) -> Int[Tensor, "query n"]:
    """n of each query's candidates from rank `first` on, drawn at random; −1 where there are too few.

    The very first ranks hold most of the answers that nobody labelled, so they are skipped. Mined once,
    before training: as the model learns, they become easy. Xiao et al. 2023, arXiv:2309.07597 (BGE) draws
    from ranks like these.
    """
    pool = candidates[:, first:]
    noise = torch.rand(pool.shape, generator=generator).masked_fill(pool == NONE, -1.0)
    chosen = pool.gather(1, noise.topk(min(n, pool.shape[1]), dim=1).indices)
    return F.pad(chosen, (0, n - chosen.shape[1]), value=NONE)


# Conan-embedding: negatives that are exchanged when the model has outgrown them. Li et al. 2024,
# arXiv:2408.15710.

Scores = Callable[[Int[Tensor, "query n"]], Float[Tensor, "query n"]]
"""The model's scores, as it is now, of these passages for each query in turn."""


def outgrown(
    initial: Float[Tensor, " query"], now: Float[Tensor, " query"], factor: float = 1.15, below: float = 0.8
) -> Bool[Tensor, " query"]:
    """Whether a query's negatives no longer teach it: factor · now < initial, and |now| < below.

    initial, now: the mean score of its negatives, when it got them and today.
    """
    return (factor * now < initial) & (now.abs() < below)


def negatives_of_turn(
    candidates: Int[Tensor, "query depth"], turn: Int[Tensor, " query"], n: int, first: int = 10
) -> Int[Tensor, "query n"]:
    """Of each query the candidates of its turn i = 1, 2, …: ranks (i − 1)n + first … in + first − 1; −1 where
    there are no more.
    """
    ranks = (turn[:, None] - 1) * n + first + torch.arange(n)
    last = candidates.shape[1] - 1
    return candidates.gather(1, ranks.clamp(max=last)).masked_fill(ranks > last, NONE)


@dataclass
class DynamicNegatives:
    """The hard negatives of a training set; `refresh` is called every 100 steps.

    candidates: of each query, ranked once. `ids` are the n that each has now.
    """

    candidates: Int[Tensor, "query depth"]
    n: int
    turn: Int[Tensor, " query"]
    ids: Int[Tensor, "query n"]
    initial: Float[Tensor, " query"]

    @classmethod
    def begin(cls, candidates: Int[Tensor, "query depth"], n: int, scores: Scores) -> DynamicNegatives:
        """Everybody's first turn."""
        turn = torch.ones(len(candidates), dtype=torch.long)
        ids = negatives_of_turn(candidates, turn, n)
        return cls(candidates, n, turn, ids, mean_score(scores, ids))

    def refresh(self, scores: Scores) -> int:
        """Give the next ones to those who have outgrown theirs and have any left; how many did."""
        following = negatives_of_turn(self.candidates, self.turn + 1, self.n)
        change = outgrown(self.initial, mean_score(scores, self.ids)) & (following != NONE).all(dim=1)
        self.turn += change
        self.ids = following.where(change[:, None], self.ids)
        self.initial = mean_score(scores, self.ids).where(change, self.initial)
        return int(change.sum())


def mean_score(scores: Scores, ids: Int[Tensor, "query n"]) -> Float[Tensor, " query"]:
    """Of the negatives that are there; 0 for a query without any."""
    there = ids != NONE
    return scores(ids.clamp(min=0)).where(there, 0.0).sum(1) / there.sum(1).clamp(min=1)

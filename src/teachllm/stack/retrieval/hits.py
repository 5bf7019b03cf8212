"""What every search answers, whether words or vectors found it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

NO_DOCUMENT = -1
"""The id where a query has fewer than k hits."""


@dataclass(frozen=True)
class Hits:
    """The k best documents of each query, best first; equal scores in the order of their ids.

    Larger scores are better, whatever they measure: a BM25 score, an inner product, a cosine, −‖x − q‖². A
    row with fewer than k hits ends in id `NO_DOCUMENT` and score −∞.
    """

    ids: Int64[np.ndarray, "queries k"]
    scores: Float32[np.ndarray, "queries k"]

    def __post_init__(self) -> None:
        if self.ids.shape != self.scores.shape or self.ids.ndim != 2:
            raise ValueError(f"ids {self.ids.shape} and scores {self.scores.shape} must both be (queries, k)")

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.ids)

    def of(self, query: int) -> list[tuple[int, float]]:
        """The (id, score) pairs that query number `query` has, without the empty places."""
        return [
            (int(document_id), float(score))
            for document_id, score in zip(self.ids[query], self.scores[query], strict=True)
            if document_id != NO_DOCUMENT
        ]


def empty_hits(n_queries: int, k: int) -> Hits:
    """No hit for any query: what a search fills, and what an empty index answers."""
    return Hits(
        np.full((n_queries, k), NO_DOCUMENT, dtype=np.int64),
        np.full((n_queries, k), -np.inf, dtype=np.float32),
    )


def best_hits(
    scores: Float32[np.ndarray, "queries documents"], ids: Int64[np.ndarray, " documents"], k: int
) -> Hits:
    """The k best of scores that are all known, by sorting everything; −∞ is no hit."""
    hits = empty_hits(len(scores), k)
    for row, row_scores in enumerate(scores):
        order = np.lexsort((ids, -row_scores))[:k]
        order = order[row_scores[order] > -np.inf]
        hits.ids[row, : len(order)] = ids[order]
        hits.scores[row, : len(order)] = row_scores[order]
    return hits

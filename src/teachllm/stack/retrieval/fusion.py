"""One ranking of several: what words found and what vectors found, put together by ranks or by scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from teachllm.stack.retrieval.hits import Hits, empty_hits

CONSTANT = 60
"""The paper's choice: so large that to be found by two matters more than to be first in one."""
DEPTH = 100


class TextSearcher(Protocol):
    """Finds documents for texts: a lexical index, vectors, or several together."""

    def search(self, queries: Sequence[str], k: int, /) -> Hits: ...

    @property
    def n_bytes(self) -> int:
        """Memory that the search needs."""
        ...


class FusedSearcher:
    """Several searches over the same ids: each gives its first `depth` documents, and ranks are fused."""

    def __init__(self, searchers: Sequence[TextSearcher], depth: int = DEPTH) -> None:
        self.searchers, self.depth = tuple(searchers), depth

    def search(self, queries: Sequence[str], k: int = 10) -> Hits:
        depth = max(k, self.depth)
        return reciprocal_rank_fusion([one.search(queries, depth) for one in self.searchers], k)

    @property
    def n_bytes(self) -> int:
        return sum(one.n_bytes for one in self.searchers)


def reciprocal_rank_fusion(rankings: Sequence[Hits], k: int, constant: float = CONSTANT) -> Hits:
    """The k documents with the largest Σ over rankings of 1 / (constant + rank), rank 1 being the best.

    Only ranks count, so that scores of different kinds need no common scale; a document that a ranking does
    not have gets nothing from it. Cormack, Clarke and Büttcher 2009. ValueError for rankings of different
    queries, none at all, or a constant that is not positive.
    """
    _check(rankings)
    if constant <= 0 or k < 1:
        raise ValueError(f"constant is {constant} and k is {k}; both must be positive")
    parts = [
        [
            {document_id: 1 / (constant + rank) for rank, (document_id, _) in enumerate(hits.of(query), 1)}
            for query in range(len(hits))
        ]
        for hits in rankings
    ]
    return _best_sums(parts, k)


Scale = Literal["min-max", "z-score", "as they are"]


def score_fusion(
    rankings: Sequence[Hits],
    k: int,
    *,
    weights: Sequence[float] | None = None,
    scale: Scale = "min-max",
    rewarding_agreement: bool = False,
) -> Hits:
    """The k documents with the largest Σ over rankings of weight · scaled score (CombSUM).

    scale: how the scores that a ranking gives one query are made comparable: min-max puts them between 0
    and 1, z-score gives them mean 0 and deviation 1, so that what stands out among the others counts. A
    document that a ranking does not have gets its lowest scaled score there. rewarding_agreement: times the
    number of rankings that have the document (CombMNZ), for scores that are not negative. weights: 1 unless
    given.

    Fox & Shaw 1994, "Combination of Multiple Searches". ValueError for rankings of different queries or none,
    and for CombMNZ of z-scores.
    """
    _check(rankings)
    weights = [1.0] * len(rankings) if weights is None else weights
    if len(weights) != len(rankings) or k < 1:
        raise ValueError(f"{len(weights)} weights for {len(rankings)} rankings, k = {k}")
    if rewarding_agreement and scale == "z-score":
        raise ValueError("z-scores can be negative, and agreement would push such a sum down; take min-max")
    totals: list[dict[int, float]] = []
    for query in range(len(rankings[0])):
        scaled = [_scaled(dict(hits.of(query)), scale) for hits in rankings]
        every = set().union(*scaled)
        sums = {
            document_id: sum(
                weight * one.get(document_id, min(one.values(), default=0.0))
                for weight, one in zip(weights, scaled, strict=True)
            )
            * (sum(document_id in one for one in scaled) if rewarding_agreement else 1)
            for document_id in every
        }
        totals.append(sums)
    return _best_sums([totals], k)


def _scaled(scores: dict[int, float], scale: Scale) -> dict[int, float]:
    if scale == "as they are" or not scores:
        return scores
    values = np.array(list(scores.values()))
    low, spread = (
        (values.min(), values.max() - values.min()) if scale == "min-max" else (values.mean(), values.std())
    )
    spread = spread or 1.0  # all the same: the ranking has no opinion
    return {document_id: float((score - low) / spread) for document_id, score in scores.items()}


def _check(rankings: Sequence[Hits]) -> None:
    if not rankings or len({len(hits) for hits in rankings}) != 1:
        raise ValueError(
            f"rankings answer {[len(hits) for hits in rankings]} queries; all must answer the same"
        )


def _best_sums(parts: Sequence[Sequence[dict[int, float]]], k: int) -> Hits:
    """parts: of every ranking, what each query's documents get from it."""
    fused = empty_hits(len(parts[0]), k)
    for query in range(len(fused)):
        scores: dict[int, float] = {}
        for part in parts:
            for document_id, score in part[query].items():
                scores[document_id] = scores.get(document_id, 0.0) + score
        best = sorted(scores, key=lambda document_id: (-scores[document_id], document_id))[:k]
        fused.ids[query, : len(best)] = best
        fused.scores[query, : len(best)] = np.array(
            [scores[document_id] for document_id in best], dtype=np.float32
        )
    return fused

"""One ranking of several: what words found and what vectors found, put together by ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from teachllm.stack.retrieval.hits import NO_DOCUMENT, Hits, empty_hits

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
    if not rankings or len({len(hits) for hits in rankings}) != 1:
        raise ValueError(
            f"rankings answer {[len(hits) for hits in rankings]} queries; all must answer the same"
        )
    if constant <= 0 or k < 1:
        raise ValueError(f"constant is {constant} and k is {k}; both must be positive")
    fused = empty_hits(len(rankings[0]), k)
    for query in range(len(fused)):
        scores: dict[int, float] = {}
        for hits in rankings:
            for rank, document_id in enumerate(hits.ids[query].tolist(), 1):
                if document_id != NO_DOCUMENT:
                    scores[document_id] = scores.get(document_id, 0.0) + 1 / (constant + rank)
        best = sorted(scores, key=lambda document_id: (-scores[document_id], document_id))[:k]
        fused.ids[query, : len(best)] = best
        fused.scores[query, : len(best)] = np.array(
            [scores[document_id] for document_id in best], dtype=np.float32
        )
    return fused

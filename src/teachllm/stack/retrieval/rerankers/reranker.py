"""What every reranker is, and a search whose first hits are looked at again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float

from teachllm.stack.retrieval.fusion import TextSearcher
from teachllm.stack.retrieval.hits import Hits, empty_hits

DEPTH = 50
"""How many hits are looked at again: what stands behind them stays lost."""


class Reranker(Protocol):
    """Judges passages for a query. It reads both together, so nothing can be computed before the query is
    known.
    """

    def scores(self, query: str, passages: Sequence[str], /) -> Float[np.ndarray, " passages"]:
        """How well each passage answers, in their order; larger is better. Any scale."""
        ...


def rerank(
    reranker: Reranker, queries: Sequence[str], hits: Hits, text_of: Callable[[int], str], k: int
) -> Hits:
    """The k best of each query's hits by the reranker; equal scores stay in the order of the hits.

    text_of: the passage of an id. ValueError for hits of other queries, and for k below 1.
    """
    if len(hits) != len(queries):
        raise ValueError(f"{len(hits)} rows of hits were given for {len(queries)} queries")
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one hit")
    best = empty_hits(len(queries), k)
    for row, query in enumerate(queries):
        ids = [document_id for document_id, _ in hits.of(row)]
        if not ids:
            continue
        scores = np.asarray(reranker.scores(query, [text_of(one) for one in ids]), dtype=np.float32)
        order = np.argsort(-scores, kind="stable")[:k]
        best.ids[row, : len(order)] = np.array(ids)[order]
        best.scores[row, : len(order)] = scores[order]
    return best


class RerankedSearcher:
    """A search, and a reranker for its first `depth` hits. text_of: the passage of an id."""

    def __init__(
        self, searcher: TextSearcher, reranker: Reranker, text_of: Callable[[int], str], depth: int = DEPTH
    ) -> None:
        self.searcher, self.reranker, self.text_of, self.depth = searcher, reranker, text_of, depth

    def search(self, queries: Sequence[str], k: int = 10) -> Hits:
        """The k best of max(k, depth) hits."""
        found = self.searcher.search(queries, max(k, self.depth))
        return rerank(self.reranker, queries, found, self.text_of, k)

    @property
    def n_bytes(self) -> int:
        """Of the search, without the reranker."""
        return self.searcher.n_bytes

"""BM25F: documents with fields, such as a title and a body, of which some say more than others.

Adding up one BM25 score a field would let a term count anew in each. BM25F (Robertson, Zaragoza and Taylor
2004) adds up the counts before they level off, each divided by how long its field is and multiplied by what
the field is worth:

    tf(t, d) = Σ over fields f:  weight_f · tf_f(t, d) / (1 − b_f + b_f · |d_f| / mean length of f)
    score(q, d) = Σ over terms t of q:  idf(t) · tf / (k₁ + tf)

With one field of weight 1 that is BM25.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

from teachllm.stack.retrieval.hits import Hits, best_hits
from teachllm.stack.retrieval.lexical.bm25 import inverse_document_frequency, length_factor

Fields = Mapping[str, Sequence[str]]
"""A document: the terms of each of its fields, each as often as it occurs. A field may be missing."""


@dataclass(frozen=True)
class Field:
    """What a field's terms are worth, and how much of its length it pays for (b, from 0 to 1)."""

    weight: float = 1.0
    b: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf or not 0 <= self.b <= 1:
            raise ValueError(
                f"weight is {self.weight} and b is {self.b}; it must be positive, and from 0 to 1"
            )


def bm25f_scores(
    query: Sequence[str], documents: Sequence[Fields], fields: Mapping[str, Field], k1: float = 1.2
) -> list[float]:
    """The score of each document, as the formula has it. What `FieldedIndex` computes from lists."""
    n = len(documents)
    mean = {name: sum(len(one.get(name, ())) for one in documents) / max(n, 1) for name in fields}
    scores = [0.0] * n
    for term in query:
        counts = [0.0] * n
        for name, field in fields.items():
            for number, document in enumerate(documents):
                if tf := Counter(document.get(name, ()))[term]:
                    factor = length_factor(len(document[name]), mean[name], field.b)
                    counts[number] += field.weight * tf / factor
        df = sum(count > 0 for count in counts)
        for number, count in enumerate(counts):
            if count:
                scores[number] += inverse_document_frequency("lucene", df, n) * count / (k1 + count)
    return scores


class FieldedIndex:
    """An inverted index over documents with fields, made once: document i has the id i.

    Texts become terms outside, so that fields may have different analyzers, and terms that no text spells
    out. ValueError for a field that is not in `fields`, and for no fields.
    """

    def __init__(self, documents: Sequence[Fields], fields: Mapping[str, Field], k1: float = 1.2) -> None:
        if not fields:
            raise ValueError("give at least one field")
        if unknown := {name for one in documents for name in one} - set(fields):
            raise ValueError(f"documents have fields that are not described: {', '.join(sorted(unknown))}")
        self._n_documents = len(documents)
        counts = _weighted_counts(documents, fields)
        self._terms = sorted({term for term, _ in counts})
        numbers = {term: number for number, term in enumerate(self._terms)}
        self._numbers = numbers
        terms = np.fromiter((numbers[term] for term, _ in counts), np.int64, len(counts))
        holders = np.fromiter((document for _, document in counts), np.int32, len(counts))
        tf = np.fromiter(counts.values(), np.float64, len(counts))
        order = np.lexsort((holders, terms))
        terms, self._documents, tf = terms[order], holders[order], tf[order]
        self._starts: Int64[np.ndarray, " terms+1"] = np.searchsorted(terms, np.arange(len(numbers) + 1))
        df = np.diff(self._starts).astype(np.int32)
        idf = inverse_document_frequency("lucene", df, self._n_documents)
        self._weights = (idf[terms] * tf / (k1 + tf)).astype(np.float32)

    def search(self, queries: Sequence[Sequence[str]], k: int = 10) -> Hits:
        """The k best documents of each query, given as its terms. ValueError for k below 1."""
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one hit")
        scores = np.zeros((len(queries), self._n_documents), dtype=np.float32)
        for row, query in zip(scores, queries, strict=True):
            for term in query:
                documents, weights = self.weights_of(term)
                row[documents] += weights
        scores[scores == 0] = -np.inf
        return best_hits(scores, np.arange(self._n_documents), k)

    def best_of(self, ways: Mapping[str, float]) -> Float32[np.ndarray, " documents"]:
        """What each document gets for a word that may be written in several ways: the best of
        weight · score, and 0 without any (the maximum of a disjunction).
        """
        best = np.zeros(self._n_documents, dtype=np.float32)
        for term, weight in ways.items():
            documents, weights = self.weights_of(term)
            best[documents] = np.maximum(best[documents], weight * weights)
        return best

    def weights_of(self, term: str) -> tuple[Int32[np.ndarray, " holders"], Float32[np.ndarray, " holders"]]:
        """The documents that have a term, and what it adds to the score of each; none for a new term."""
        number = self._numbers.get(term)
        if number is None:
            return self._documents[:0], self._weights[:0]
        part = slice(self._starts[number], self._starts[number + 1])
        return self._documents[part], self._weights[part]

    def beginning_with(self, prefix: str, most: int) -> list[str]:
        """Terms that begin so, in alphabetical order: what an unfinished word may become."""
        start = bisect.bisect_left(self._terms, prefix)
        following = itertools.islice(self._terms, start, start + most)
        return list(itertools.takewhile(lambda term: term.startswith(prefix), following))

    def __len__(self) -> int:
        """How many documents there are."""
        return self._n_documents

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays, and of the terms in UTF-8."""
        arrays = (self._starts, self._documents, self._weights)
        return sum(one.nbytes for one in arrays) + sum(len(term.encode()) for term in self._terms)


def _weighted_counts(
    documents: Sequence[Fields], fields: Mapping[str, Field]
) -> dict[tuple[str, int], float]:
    """tf of the formula, for every (term, document) with a term in some field."""
    n = max(len(documents), 1)
    counts: dict[tuple[str, int], float] = {}
    for name, field in fields.items():
        mean = sum(len(one.get(name, ())) for one in documents) / n
        for number, document in enumerate(documents):
            terms = document.get(name, ())
            for term, tf in Counter(terms).items():
                worth = field.weight * tf / length_factor(len(terms), mean, field.b)
                counts[term, number] = counts.get((term, number), 0.0) + worth
    return counts

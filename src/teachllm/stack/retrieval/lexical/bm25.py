"""BM25: what a term of the query adds to the score of a document.

Robertson and Walker 1994 begin with two kinds of documents: those that are about a term and those that merely
contain it, with two Poisson rates of its count. How much a count speaks for the first kind then grows from 0
and levels off, and tf / (tf + k₁) is the simplest function that does so. BM25 (Robertson et al. 1995, TREC-3)
lets the document's length stretch k₁, and weighs each term by how few documents have it:

    score(q, d) = Σ over terms t of q and d:  idf(t) · tf / (tf + k₁·(1 − b + b·|d| / mean length))

`bm25_scores` is that sum, written to be read; the index computes the same from its lists of postings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from teachllm.stack.retrieval.lexical.fast.weights import fill_bm25_weights
from teachllm.stack.retrieval.lexical.postings import Postings

Variant = Literal["robertson", "lucene", "atire", "bm25l", "bm25+"]
VARIANTS: tuple[Variant, ...] = ("robertson", "lucene", "atire", "bm25l", "bm25+")


@overload
def inverse_document_frequency(variant: Variant, df: int, n_documents: int) -> float: ...
@overload
def inverse_document_frequency(
    variant: Variant, df: Int32[np.ndarray, " terms"], n_documents: int
) -> Float64[np.ndarray, " terms"]: ...
def inverse_document_frequency(variant, df, n_documents):
    """idf(t), how much a term tells, when `df` ≥ 1 of the documents have it: ≥ 0, and larger for fewer.

    Robertson's own turns negative for a term that more than half of the documents have; it is 0 there, as a
    match must not count against a document. Lucene adds 1 inside the logarithm instead. Kamphuis et al. 2020,
    "Which BM25 do you mean?", table 1.
    """
    if variant == "robertson":
        return np.maximum(0.0, np.log((n_documents - df + 0.5) / (df + 0.5)))
    if variant == "lucene":
        return np.log(1 + (n_documents - df + 0.5) / (df + 0.5))
    if variant == "atire":
        return np.log(n_documents / df)
    if variant == "bm25l":
        return np.log((n_documents + 1) / (df + 0.5))
    return np.log((n_documents + 1) / df)


def length_factor(length: int, mean_length: float, b: float) -> float:
    """1 − b + b·|d| / mean: 1 for a document of the mean length, or for any when b = 0."""
    return 1 - b + b * length / mean_length


def saturation(variant: Variant, tf: int, factor: float, k1: float, delta: float = 0.0) -> float:
    """What `tf` > 0 occurrences in a document with this `length_factor` count for, before idf.

    Rises with tf and levels off: at 1 for robertson and lucene, at k₁ + 1 for atire and bm25l, at k₁ + 1 + δ
    for bm25+. bm25l and bm25+ keep one occurrence in a very long document worth something (Lv and Zhai 2011).
    """
    if variant in ("robertson", "lucene"):
        return tf / (tf + k1 * factor)
    if variant == "bm25l":
        tf_of_mean_length = tf / factor
        return (k1 + 1) * (tf_of_mean_length + delta) / (k1 + tf_of_mean_length + delta)
    gain = (k1 + 1) * tf / (tf + k1 * factor)
    return gain + delta if variant == "bm25+" else gain


def bm25_scores(
    query: Sequence[str],
    documents: Sequence[Sequence[str]],
    variant: Variant = "lucene",
    k1: float = 1.5,
    b: float = 0.75,
    delta: float = 0.0,
) -> list[float]:
    """The score of each document, given as its terms; a term that the query repeats counts again.

    Only terms that a document has add to its score, also for bm25l and bm25+.
    """
    n_documents = len(documents)
    mean_length = sum(map(len, documents)) / n_documents if n_documents else 0.0
    counts = [Counter(document) for document in documents]
    scores = [0.0] * n_documents
    for term in query:
        df = sum(term in count for count in counts)
        if df == 0:
            continue
        idf = inverse_document_frequency(variant, df, n_documents)
        for number, count in enumerate(counts):
            if count[term]:
                factor = length_factor(len(documents[number]), mean_length, b)
                scores[number] += idf * saturation(variant, count[term], factor, k1, delta)
    return scores


@dataclass(frozen=True)
class BM25:
    """The weighting of an index.

    k1: how late counts level off; 0 makes them yes or no. b: how much of its length a document pays for, from
    0 to 1. delta: of bm25l and bm25+; None is the 0.5 and 1 of their papers, and nothing for the others.
    ValueError for what lies outside.
    """

    variant: Variant = "lucene"
    k1: float = 1.5
    b: float = 0.75
    delta: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.variant not in VARIANTS:
            problems.append(f"variant {self.variant!r} is none of {', '.join(VARIANTS)}")
        if not 0 <= self.k1 < math.inf:
            problems.append(f"k1 is {self.k1}; it must be 0 or more")
        if not 0 <= self.b <= 1:
            problems.append(f"b is {self.b}; it must lie between 0 and 1")
        if self.delta is not None and (self.variant not in ("bm25l", "bm25+") or self.delta < 0):
            problems.append(f"delta is {self.delta}; bm25l and bm25+ alone have one, of 0 or more")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def shift(self) -> float:
        """δ, or 0 for the variants without one."""
        if self.delta is not None:
            return self.delta
        return {"bm25l": 0.5, "bm25+": 1.0}.get(self.variant, 0.0)

    def weights(self, postings: Postings) -> Float32[np.ndarray, " postings"]:
        """idf · saturation of every posting, so that a search has only to add.

        All variants are α·(tf + p·factor) / (tf + q·factor) + s: for bm25l, (c + δ) / (k₁ + c + δ) with
        c = tf / factor, multiplied by the factor above and below.
        """
        gain = 1.0 if self.variant in ("robertson", "lucene") else self.k1 + 1
        is_l = self.variant == "bm25l"
        numbers = np.array(
            [
                gain,
                self.shift if is_l else 0.0,
                self.k1 + self.shift if is_l else self.k1,
                self.shift if self.variant == "bm25+" else 0.0,
            ]
        )
        n_documents = len(postings.lengths)
        idf = inverse_document_frequency(
            self.variant, np.maximum(postings.document_frequencies, 1), n_documents
        )
        mean_length = float(postings.lengths.mean()) if n_documents else 1.0
        factors = 1 - self.b + self.b * postings.lengths / max(mean_length, 1e-9)
        weights = np.empty(len(postings.documents), dtype=np.float32)
        fill_bm25_weights(
            postings.starts, postings.documents, postings.counts, factors, idf, numbers, weights
        )
        return weights

    def query_weights(
        self,
        terms: Int32[np.ndarray, " occurrences"],
        bounds: Int64[np.ndarray, " queries+1"],
        postings: Postings,
    ) -> Float32[np.ndarray, " occurrences"]:
        """1 for every occurrence of a term in a query: one that stands there twice counts twice."""
        return np.ones(len(terms), dtype=np.float32)

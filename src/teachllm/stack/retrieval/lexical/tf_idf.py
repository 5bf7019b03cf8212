"""TF-IDF: texts as vectors with one number a term, tf · idf, compared by the cosine of their angle.

Salton's SMART, with idf smoothed as scikit-learn has it: ln((1 + N) / (1 + df)) + 1, as if one more document
had every term. A count of ten weighs ten times a count of one: that is what BM25 puts right.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from teachllm.stack.retrieval.lexical.fast.weights import fill_tf_idf_weights
from teachllm.stack.retrieval.lexical.postings import Postings


def tf_idf_scores(query: Sequence[str], documents: Sequence[Sequence[str]]) -> list[float]:
    """The cosine between the query and each document, given as terms; 0 where either has no known one."""
    counts = [Counter(document) for document in documents]
    df = Counter(term for count in counts for term in count)
    idf = {term: math.log((1 + len(documents)) / (1 + n)) + 1 for term, n in df.items()}

    def unit_vector(count: Counter[str]) -> dict[str, float]:
        vector = {term: tf * idf[term] for term, tf in count.items() if term in idf}
        norm = math.sqrt(sum(x * x for x in vector.values()))
        return {term: x / norm for term, x in vector.items()}

    asked = unit_vector(Counter(query))
    vectors = map(unit_vector, counts)
    return [sum(x * vector.get(term, 0.0) for term, x in asked.items()) for vector in vectors]


@dataclass(frozen=True)
class TfIdf:
    """The weighting of an index whose scores are cosines."""

    def weights(self, postings: Postings) -> Float32[np.ndarray, " postings"]:
        """Each document's tf · idf, divided by the length of its vector."""
        weights = np.empty(len(postings.documents), dtype=np.float32)
        squares = np.zeros(len(postings.lengths))
        fill_tf_idf_weights(
            postings.starts, postings.documents, postings.counts, _idf(postings), squares, weights
        )
        return weights

    def query_weights(
        self,
        terms: Int32[np.ndarray, " occurrences"],
        bounds: Int64[np.ndarray, " queries+1"],
        postings: Postings,
    ) -> Float32[np.ndarray, " occurrences"]:
        """idf of every occurrence of a term, divided by the length of its query's vector."""
        weights = _idf(postings)[terms]
        for start, end in itertools.pairwise(bounds):
            _, which, counts = np.unique(terms[start:end], return_inverse=True, return_counts=True)
            # Σ over terms of (tf · idf)²: each of the tf occurrences brings tf · idf².
            weights[start:end] /= np.sqrt((counts[which] * weights[start:end] ** 2).sum())
        return weights.astype(np.float32)


def _idf(postings: Postings) -> Float64[np.ndarray, " terms"]:
    return np.log((1 + len(postings.lengths)) / (1 + postings.document_frequencies)) + 1

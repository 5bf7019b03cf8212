"""Postings: for every term the documents that have it, and how often. The inverted index itself.

One array holds the lists of all terms, one after the other, and `starts` says where each begins: a matrix of
terms and documents by columns (CSC). Documents are numbered 0 to N − 1 here; the index knows their ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from teachllm.stack.retrieval.lexical.fast.postings import count_postings, fill_postings

REMOVED = -1
"""The new number of a document that goes."""


@dataclass(frozen=True)
class Postings:
    """Lists of term 0, term 1, …, each in the order of its documents."""

    starts: Int64[np.ndarray, " terms+1"]
    documents: Int32[np.ndarray, " postings"]
    counts: Int32[np.ndarray, " postings"]
    lengths: Int32[np.ndarray, " documents"]
    """Terms of each document, repeated ones included."""

    @property
    def document_frequencies(self) -> Int32[np.ndarray, " terms"]:
        """How many documents have each term."""
        return np.diff(self.starts).astype(np.int32)

    @property
    def n_terms(self) -> int:
        return len(self.starts) - 1


def empty_postings() -> Postings:
    nothing = np.empty(0, dtype=np.int32)
    return Postings(np.zeros(1, dtype=np.int64), nothing, nothing, nothing)


def merge(
    postings: Postings,
    renumbered: Int32[np.ndarray, " documents"],
    terms: Int32[np.ndarray, " occurrences"],
    bounds: Int64[np.ndarray, " added+1"],
    n_terms: int,
) -> Postings:
    """Postings without some documents and with others after them, in one pass over both.

    renumbered: the new number of each old document, in the old order, or `REMOVED`. terms and bounds: those
    of the new documents, document i having terms[bounds[i]:bounds[i + 1]]. n_terms: how many terms there are
    now.
    """
    n_kept = int((renumbered != REMOVED).sum())
    frequencies = np.zeros(n_terms, dtype=np.int64)
    last_seen = np.full(n_terms, -1, dtype=np.int32)
    count_postings(postings.starts, postings.documents, renumbered, terms, bounds, last_seen, frequencies)
    starts = np.zeros(n_terms + 1, dtype=np.int64)
    np.cumsum(frequencies, out=starts[1:])
    documents, counts = np.empty((2, starts[-1]), dtype=np.int32)
    fill_postings(
        postings.starts, postings.documents, postings.counts, renumbered,
        terms, bounds, n_kept, starts, starts[:-1].copy(), documents, counts,
    )  # fmt: skip
    kept_lengths = postings.lengths[renumbered != REMOVED]
    lengths = np.concatenate([kept_lengths, np.diff(bounds).astype(np.int32)])
    return Postings(starts, documents, counts, lengths)


def problems(postings: Postings) -> list[str]:
    """What does not fit together; nothing of what was not damaged on its way."""
    starts, documents, n_documents = postings.starts, postings.documents, len(postings.lengths)
    if (
        starts[0] != 0
        or (np.diff(starts) < 0).any()
        or not starts[-1] == len(documents) == len(postings.counts)
    ):
        return ["lists do not begin where the ones before them end"]
    if len(documents) and not 0 <= documents.min() <= documents.max() < n_documents:
        return ["there are postings of documents that do not exist"]
    found = []
    follows = np.ones(len(documents), dtype=bool)
    follows[starts[:-1][np.diff(starts) > 0]] = False  # the first of each list follows nothing
    if (np.diff(documents, prepend=-1)[follows] <= 0).any():
        found.append("documents do not come in order")
    if (postings.counts < 1).any():
        found.append("there are counts below 1")
    if not np.array_equal(np.bincount(documents, postings.counts, n_documents), postings.lengths):
        found.append("lengths are not the sums of counts")
    return found

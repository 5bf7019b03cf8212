"""The lexical index: texts in, the k best for a query out, by the words that they share.

Documents come and go at any time. How much a word tells depends on all documents, so every change changes
every score; the index gathers changes and works them in before the next search, in one pass over its
postings. Scores are then those of an index built anew. The pass takes some milliseconds for a million
postings: many changes between two searches cost what one does.
"""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from teachllm.stack.retrieval.hits import Hits, empty_hits
from teachllm.stack.retrieval.lexical.analysis import Analyzer, TextAnalyzer
from teachllm.stack.retrieval.lexical.bm25 import BM25
from teachllm.stack.retrieval.lexical.fast.search import BLOCK, search
from teachllm.stack.retrieval.lexical.postings import (
    REMOVED,
    Postings,
    empty_postings,
    merge,
    problems,
)
from teachllm.stack.retrieval.lexical.settings import (
    Weighting,
    saved_analyzer,
    saved_weighting,
    weighting_settings,
)
from teachllm.stack.retrieval.saved_index import SavedIndexError, open_index, save_index

KIND = "lexical"
REPORT_EVERY = 1000  # documents

Progress = Callable[[int, int], object]
"""Called with the documents that are done and the documents that there are; what it raises stops the work."""


@dataclass(frozen=True, slots=True)
class TermScore:
    """What one term of a query adds to the score of a document."""

    term: str
    count: int
    """Occurrences in the document; 0 adds nothing."""
    document_frequency: int
    score: float


class _Searchable(NamedTuple):
    """What a search reads. It is replaced as a whole, so that a search in another thread sees the old or the
    new.
    """

    postings: Postings
    weights: Float32[np.ndarray, " postings"]
    ids: Int64[np.ndarray, " documents"]


class LexicalIndex:
    """An inverted index over texts. It keeps the ids of its documents, not the texts.

    analyzer: makes terms of texts and queries; None is `TextAnalyzer()`. weighting: `BM25` or `TfIdf`.
    Searches may run in several threads at once; changes come from one thread at a time.
    """

    def __init__(self, analyzer: Analyzer | None = None, weighting: Weighting | None = None) -> None:
        self.analyzer: Analyzer = analyzer if analyzer is not None else TextAnalyzer()
        self.weighting: Weighting = weighting if weighting is not None else BM25()
        self._vocabulary = _Vocabulary()
        nothing = empty_postings()
        self._searchable = _Searchable(nothing, self.weighting.weights(nothing), np.empty(0, dtype=np.int64))
        self._next_id = 0
        self._added: dict[int, array[int]] = {}  # the terms of documents that wait, by id
        self._removed: set[int] = set()
        self._numbers: dict[int, int] | None = (
            None  # of the documents in the postings, by id; made when needed
        )
        self._refreshing = threading.Lock()
        self._room = threading.local()

    # Changes ---------------------------------------------------------------------------------------------

    def add(
        self, texts: Sequence[str], ids: Iterable[int] | None = None, *, on_progress: Progress | None = None
    ) -> None:
        """Add documents under `ids`; None continues after the largest id so far, from 0.

        ValueError for ids that are not as many as the texts, are negative, come twice, or are there already:
        nothing is added then.
        """
        if isinstance(texts, str):
            raise TypeError("texts is a list of texts; for one write add([text])")
        given = self._fresh_ids(len(texts), ids)
        terms = self._vocabulary
        for done, (text, document_id) in enumerate(zip(texts, given, strict=True), 1):
            self._added[document_id] = array("i", map(terms.__getitem__, self.analyzer(text)))
            if on_progress is not None and (done % REPORT_EVERY == 0 or done == len(texts)):
                on_progress(done, len(texts))
        self._next_id = max([self._next_id, *(document_id + 1 for document_id in given)])

    def remove(self, ids: Iterable[int]) -> None:
        """Take documents out. KeyError if one of them is not there: none is removed then."""
        gone = set(map(int, ids))
        if unknown := sorted(document_id for document_id in gone if document_id not in self):
            raise KeyError(f"no documents have these ids: {_some(unknown)}")
        for document_id in gone:
            if self._added.pop(document_id, None) is None:
                self._removed.add(document_id)

    def update(self, texts: Sequence[str], ids: Iterable[int]) -> None:
        """Give documents new texts. KeyError if one of them is not there: none is changed then."""
        given = list(map(int, ids))
        if len(given) != len(texts) or len(set(given)) != len(given):
            raise ValueError(f"{len(given)} ids, {len(set(given))} of them different, for {len(texts)} texts")
        self.remove(given)
        self.add(texts, given)

    def refresh(self) -> None:
        """Work in what has changed; a search does it by itself."""
        with self._refreshing:
            if not self._added and not self._removed:
                return
            old = self._searchable
            kept = np.ones(len(old.ids), dtype=bool)
            if self._removed:
                numbers = self._numbers_by_id()
                kept[[numbers[document_id] for document_id in self._removed]] = False
            renumbered = np.where(kept, np.cumsum(kept) - 1, REMOVED).astype(np.int32)
            terms = np.frombuffer(b"".join(self._added.values()), dtype=np.int32)
            bounds = np.zeros(len(self._added) + 1, dtype=np.int64)
            np.cumsum([len(one) for one in self._added.values()], out=bounds[1:])
            postings = merge(old.postings, renumbered, terms, bounds, len(self._vocabulary))
            ids = np.concatenate([old.ids[kept], np.fromiter(self._added, dtype=np.int64)])
            self._searchable = _Searchable(postings, self.weighting.weights(postings), ids)
            self._added, self._removed, self._numbers = {}, set(), None

    def _fresh_ids(self, n: int, ids: Iterable[int] | None) -> list[int]:
        if ids is None:
            return list(range(self._next_id, self._next_id + n))
        given = list(map(int, ids))
        if len(given) != n:
            raise ValueError(f"{len(given)} ids for {n} texts; give one for each")
        if negative := [document_id for document_id in given if document_id < 0]:
            raise ValueError(
                f"ids must be 0 or more, as −1 marks an empty place among hits; got {_some(negative)}"
            )
        if twice := [document_id for document_id, times in Counter(given).items() if times > 1]:
            raise ValueError(f"ids come twice: {_some(twice)}")
        if there := [document_id for document_id in given if document_id in self]:
            raise ValueError(f"documents with these ids are there already: {_some(there)}; use update")
        return given

    # Searching -------------------------------------------------------------------------------------------

    def search(
        self,
        queries: Sequence[str],
        k: int = 10,
        filter: Int64[np.ndarray, " allowed"] | None = None,  # noqa: A002
    ) -> Hits:
        """The k best documents of each query; a document that shares no weighty term with it is no hit.

        filter: the ids that may be found, None for all. ValueError for k below 1.
        """
        if isinstance(queries, str):
            raise TypeError("queries is a list of texts; for one write search([query], k)")
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one hit")
        self.refresh()
        postings, weights, ids = self._searchable
        n_terms = postings.n_terms
        terms, ends = array("i"), [0]
        number_of = self._vocabulary.get
        for query in queries:
            found = [number_of(term, n_terms) for term in self.analyzer(query)]
            terms.extend([number for number in found if number < n_terms])
            ends.append(len(terms))
        asked, bounds = np.frombuffer(terms, dtype=np.int32), np.array(ends, dtype=np.int64)
        hits = empty_hits(len(queries), k)
        search(
            asked, self.weighting.query_weights(asked, bounds, postings), bounds,
            postings.starts, postings.documents, weights, ids, _allowed(ids, filter), k,
            self._zeros(len(ids)), np.empty(k, dtype=np.int64), hits.ids, hits.scores,
        )  # fmt: skip
        return hits

    def explain(self, query: str, document_id: int) -> list[TermScore]:
        """What each term of the query, in its order, adds to the score of a document; the sum is its score.

        KeyError if there is no such document.
        """
        self.refresh()
        if document_id not in self:
            raise KeyError(f"no document has the id {document_id}")
        postings, weights, _ = self._searchable
        number = self._numbers_by_id()[document_id]
        words = [term for term in self.analyzer(query) if term in self._vocabulary]
        asked = np.array([self._vocabulary[word] for word in words], dtype=np.int32)
        query_weights = self.weighting.query_weights(asked, np.array([0, len(asked)]), postings)
        told = []
        for word in dict.fromkeys(words):
            term = self._vocabulary[word]
            start, end = postings.starts[term], postings.starts[term + 1]
            at = int(start + np.searchsorted(postings.documents[start:end], number))
            has = at < end and postings.documents[at] == number
            score = float(query_weights[asked == term].sum() * weights[at]) if has else 0.0
            told.append(TermScore(word, int(postings.counts[at]) if has else 0, int(end - start), score))
        return told

    def _zeros(self, n_documents: int) -> Float32[np.ndarray, " whole_blocks"]:
        """Scores to add to, one array a thread; a search leaves them zero."""
        n = -(-n_documents // BLOCK) * BLOCK
        zeros = getattr(self._room, "zeros", None)
        if zeros is None or len(zeros) != n:
            zeros = self._room.zeros = np.zeros(n, dtype=np.float32)
        return zeros

    # What is in it ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self._searchable.ids) + len(self._added) - len(self._removed)

    def __contains__(self, document_id: int) -> bool:
        return document_id in self._added or (
            document_id in self._numbers_by_id() and document_id not in self._removed
        )

    @property
    def ids(self) -> Int64[np.ndarray, " documents"]:
        self.refresh()
        return self._searchable.ids

    @property
    def postings(self) -> Postings:
        """With the changes so far."""
        self.refresh()
        return self._searchable.postings

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """The number of each term that a document has or had."""
        return self._vocabulary

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays, and of the terms in UTF-8."""
        postings, weights, ids = self._searchable
        arrays = (postings.starts, postings.documents, postings.counts, postings.lengths, weights, ids)
        return sum(one.nbytes for one in arrays) + sum(len(term.encode()) for term in self._vocabulary)

    def check_integrity(self) -> None:
        """Look whether everything fits together. Raises `SavedIndexError` saying what does not."""
        postings, weights, ids = self._searchable
        broken = problems(postings)
        if not len(ids) == len(postings.lengths) == len(np.unique(ids)):
            broken.append("not every document has an id of its own")
        if len(weights) != len(postings.documents):
            broken.append("not every posting has a weight")
        if len(self._vocabulary) < postings.n_terms:
            broken.append("there are lists without a term")
        if broken:
            raise SavedIndexError(f"the index is damaged: {'; '.join(broken)}. Build it again.")

    def _numbers_by_id(self) -> dict[int, int]:
        if self._numbers is None:
            ids = self._searchable.ids
            self._numbers = dict(zip(ids.tolist(), range(len(ids)), strict=True))
        return self._numbers

    # On disk ---------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the index into `folder`, whole or not at all; an index that stands there is replaced."""
        self.refresh()
        postings, weights, ids = self._searchable
        encoded = [term.encode("utf-8", "surrogatepass") for term in self._vocabulary]
        header = {
            "analyzer": self.analyzer.settings,
            "weighting": weighting_settings(self.weighting),
            "next_id": self._next_id,
        }
        arrays = {
            "starts": postings.starts,
            "documents": postings.documents,
            "counts": postings.counts,
            "lengths": postings.lengths,
            "weights": weights,
            "ids": ids,
            "terms": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            "term_lengths": np.array([len(one) for one in encoded], dtype=np.int32),
        }
        save_index(folder, KIND, header, arrays)

    @classmethod
    def open(cls, folder: Path, analyzer: Analyzer | None = None) -> LexicalIndex:
        """An index that `save` wrote. Its arrays stay on disk; only the vocabulary is read.

        analyzer: the one it was made with, if that was not a `TextAnalyzer`. Raises `SavedIndexError` if
        there is no whole index, or the analyzer is another.
        """
        header, arrays = open_index(folder, KIND)
        try:
            index = cls(
                saved_analyzer(folder, header["analyzer"], analyzer), saved_weighting(header["weighting"])
            )
            index._next_id = header["next_id"]
            blob, end = arrays["terms"].tobytes(), 0
            for length in arrays["term_lengths"].tolist():
                index._vocabulary[blob[end : end + length].decode("utf-8", "surrogatepass")]
                end += length
            postings = Postings(*(arrays[name] for name in ("starts", "documents", "counts", "lengths")))
            index._searchable = _Searchable(postings, arrays["weights"], arrays["ids"])
        except (KeyError, TypeError, ValueError) as problem:
            raise SavedIndexError(f"{folder} is damaged ({problem!r}). Build the index again.") from None
        return index


class _Vocabulary(dict[str, int]):
    """The number of each term; a new one gets the next."""

    def __missing__(self, term: str) -> int:
        number = self[term] = len(self)
        return number


def _allowed(
    ids: Int64[np.ndarray, " documents"], wanted: Int64[np.ndarray, " allowed"] | None
) -> np.ndarray:
    """One byte a document; none at all when everything may be found."""
    if wanted is None:
        return np.empty(0, dtype=np.uint8)
    return np.isin(ids, wanted).astype(np.uint8)


def _some(things: Sequence[object]) -> str:
    shown = ", ".join(map(str, things[:5]))
    return shown if len(things) <= 5 else f"{shown} and {len(things) - 5} more"

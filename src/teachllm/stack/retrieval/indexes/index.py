"""What every vector index has in common: one interface, what it accepts, and what its scores mean.

An index keeps vectors with their ids and answers which of them are nearest to a query. Each kind of index
works on numbered rows; ids, checks, normalization for the cosine and rotation happen here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int64, Num

from teachllm.stack.retrieval.hits import NO_DOCUMENT, Hits
from teachllm.stack.retrieval.indexes.identifiers import Identifiers
from teachllm.stack.retrieval.indexes.rotation import Rotation
from teachllm.stack.retrieval.indexes.rows import padded
from teachllm.stack.retrieval.saved_index import SavedIndexError, open_index, save_index

SAVED = "vectors"  # the kind in a saved index, whichever of ours it is
LEAST_QUERIES = 16
"""What a thread of its own is started for."""

Metric = Literal["l2", "inner_product", "cosine"]

Vectors = Num[np.ndarray, "n dimension"] | Sequence[Sequence[float]]


class VectorIndex(ABC):
    """Vectors and their ids. Searches may run at the same time in several threads; what changes the index
    may not.

    Scores of hits are "larger is better": −‖x − q‖² for "l2", x·q for "inner_product", x·q / (‖x‖ ‖q‖) for
    "cosine". An index that keeps codes of its vectors gives the score of what the code stands for.
    """

    kind: ClassVar[str]
    """The name of the kind in a saved file."""

    def __init__(self, dimension: int, metric: Metric = "l2", *, rotation: Rotation | None = None) -> None:
        if dimension < 1:
            raise ValueError(f"vectors have at least one dimension, and {dimension} was given")
        if metric not in get_args(Metric):
            raise ValueError(f"the metric is one of {', '.join(get_args(Metric))}, and {metric!r} was given")
        self.dimension = dimension
        self.metric: Metric = metric
        self.rotation = rotation
        self.threads = 1
        """How many threads `add` and `search` may use."""
        self._ids = Identifiers()

    # What a caller does -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Int64[np.ndarray, " n"]:
        """The ids of all vectors, in the order of the index's rows."""
        return self._ids.array.copy()

    @property
    def is_trained(self) -> bool:
        """Whether vectors can be added."""
        return True

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Bytes of everything that the index keeps, ids included."""

    def train(self, vectors: Vectors) -> None:
        """Learn cells, ranges and codebooks from a sample. Kinds without any of them learn nothing.

        Raises ValueError for what `add` raises it for, for too few vectors, and if there are vectors already.
        """
        checked = self._checked(vectors, "train on")
        if len(self):
            raise ValueError(
                "the index has vectors, encoded with what it was trained on: train before the first add"
            )
        if self.rotation is not None:
            self.rotation.fit(checked)
            checked = self.rotation.apply(checked)
        self._train(checked)

    def add(self, vectors: Vectors, ids: Sequence[int] | np.ndarray | None = None) -> None:
        """Add vectors with these ids; None gives them the numbers behind the largest so far, from 0.

        Raises ValueError for a wrong dimension, NaN or infinity, a zero vector under "cosine", ids that are
        there already, and an index that must be trained first. Then nothing was added.
        """
        checked = self._checked(vectors, "add")
        if not self.is_trained:
            raise ValueError(
                f"this index must be trained first: call train with a sample of the {len(checked)} vectors"
            )
        new = self._ids.new(ids, len(checked))
        if not len(checked):
            return
        order = self._add(padded(self._rotated(checked)))
        self._ids.append(new)
        if order is not None:
            self._ids.reorder(order)

    def search(self, queries: Vectors, k: int, filter: Sequence[int] | np.ndarray | None = None) -> Hits:  # noqa: A002
        """The k nearest vectors of each query. With `filter` only those ids can be found; where fewer than k
        of them are, a row of hits is filled up with id -1 and score −∞.

        Raises ValueError for an empty index, k below 1 or above the number of vectors, and queries that
        `add` would not take.
        """
        checked = self._checked(queries, "search for")
        if not len(self):
            raise ValueError("the index is empty: add vectors before searching")
        if not 1 <= k <= len(self):
            raise ValueError(f"k is {k}, and the index holds {len(self)} vectors: ask for 1 to {len(self)}")
        allowed = None if filter is None else self._ids.mask_of(filter)
        rows = np.full((len(checked), k), NO_DOCUMENT, dtype=np.int64)
        distances = np.full((len(checked), k), np.inf, dtype=np.float32)
        if len(checked) and (allowed is None or allowed.any()):
            self._search_in_threads(padded(self._rotated(checked)), allowed, rows, distances)
        found = np.where(rows >= 0, self._ids.array[rows], NO_DOCUMENT)
        return ordered_hits(found, -distances)

    def remove(self, ids: Sequence[int] | np.ndarray) -> int:
        """Forget the vectors with these ids; returns how many there were. It costs a pass over the whole
        index, so remove many at once.
        """
        gone = self._ids.mask_of(ids)
        if gone.any():
            kept = np.flatnonzero(~gone)
            self._keep(kept)
            self._ids.reorder(kept)
        return int(gone.sum())

    def save(self, folder: str | Path) -> None:
        """Write everything into a folder. An index that was there is replaced when the new one is whole."""
        settings, arrays = self._state()
        header = {
            "index": self.kind,
            "dimension": self.dimension,
            "metric": self.metric,
            "settings": settings,
        }
        arrays = {"ids": self._ids.array, **arrays}
        if self.rotation is not None:
            header["rotation"] = self.rotation.n_parts
            if self.rotation.matrix is not None:
                arrays["rotation"] = self.rotation.matrix
        save_index(Path(folder), SAVED, header, arrays)

    @staticmethod
    def open(folder: str | Path) -> VectorIndex:
        """The index in a folder, which is mapped into memory and read where a search needs it. Adding and
        removing change the index, not the folder. Raises `SavedIndexError` if no whole index is there.
        """
        header, arrays = open_index(Path(folder), SAVED)
        for kind in _kinds(VectorIndex):
            if kind.kind == header["index"]:
                return kind._restored(header, arrays)
        raise SavedIndexError(
            f"{folder} holds a vector index of a kind that is not known here: {header['index']!r}"
        )

    # What a kind of index does ------------------------------------------------------------------------------

    def _train(self, vectors: Float32[np.ndarray, "n dimension"]) -> None:
        return None

    @abstractmethod
    def _add(self, rows: Float32[np.ndarray, "n width"]) -> Int64[np.ndarray, " total"] | None:
        """Add checked rows, padded with zeros. Returns which row now stands where, counted as if the new
        ones had been put behind the old; None if that is where they are.
        """

    @abstractmethod
    def _search(
        self,
        queries: Float32[np.ndarray, "queries width"],
        allowed: Bool[np.ndarray, " n"] | None,
        rows: Int64[np.ndarray, "queries k"],
        distances: Float32[np.ndarray, "queries k"],
    ) -> None:
        """Fill in the nearest rows and their distances ("smaller is nearer"), from the left."""

    @abstractmethod
    def _keep(self, kept: Int64[np.ndarray, " m"]) -> None:
        """Keep only these rows, given in ascending order."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Settings and arrays from which `_restore` makes the same index."""

    @abstractmethod
    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over the arrays of a saved index, which were made with the same settings."""

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> VectorIndex:
        index = cls(header["dimension"], header["metric"], **header["settings"])
        if "rotation" in header:
            index.rotation = Rotation(header["rotation"])
            index.rotation.matrix = arrays.get("rotation")
        index._ids = Identifiers(arrays["ids"])
        index._restore(arrays)
        return index

    # What they share ----------------------------------------------------------------------------------------

    @property
    def _squared(self) -> bool:
        """Whether distances are squared differences; they are negative inner products otherwise."""
        return self.metric == "l2"

    def _search_in_threads(
        self, queries: np.ndarray, allowed: np.ndarray | None, rows: np.ndarray, distances: np.ndarray
    ) -> None:
        """The kernels hold no lock of Python, so each thread can search for some of the queries."""
        size = max(LEAST_QUERIES, -(-len(queries) // self.threads))
        parts = [slice(first, first + size) for first in range(0, len(queries), size)]
        if len(parts) == 1:
            self._search(queries, allowed, rows, distances)
            return
        with ThreadPoolExecutor(len(parts)) as executor:
            jobs = [
                executor.submit(self._search, queries[part], allowed, rows[part], distances[part])
                for part in parts
            ]
        for job in jobs:
            job.result()

    def _checked(self, vectors: Vectors, purpose: str) -> Float32[np.ndarray, "n dimension"]:
        return checked_vectors(vectors, self.dimension, self.metric, purpose)

    def _rotated(self, vectors: Float32[np.ndarray, "n dimension"]) -> Float32[np.ndarray, "n dimension"]:
        return vectors if self.rotation is None else self.rotation.apply(vectors)


def ordered_hits(ids: Int64[np.ndarray, "queries k"], scores: Float32[np.ndarray, "queries k"]) -> Hits:
    """The same hits with equal scores in the order of their ids. Empty places stay at the end."""
    same = (scores[:, 1:] == scores[:, :-1]) & (ids[:, 1:] < ids[:, :-1]) & (ids[:, 1:] >= 0)
    for row in np.flatnonzero(same.any(1)):
        order = np.lexsort((np.where(ids[row] < 0, np.iinfo(np.int64).max, ids[row]), -scores[row]))
        ids[row], scores[row] = ids[row][order], scores[row][order]
    return Hits(ids, scores)


def _kinds(parent: type[VectorIndex]) -> list[type[VectorIndex]]:
    kinds = []
    for child in parent.__subclasses__():
        kinds += [child, *_kinds(child)]
    return kinds


def checked_vectors(
    vectors: Vectors, dimension: int, metric: Metric, purpose: str
) -> Float32[np.ndarray, "n dimension"]:
    """Vectors as float32, of length 1 for the cosine. Raises ValueError for what no index can work with, and
    TypeError for what are no numbers; `purpose` says in the message what they were given for.
    """
    array = np.asarray(vectors)
    if array.ndim == 2 and array.dtype.kind not in "fiub":
        raise TypeError(f"cannot {purpose} vectors of {array.dtype}: numbers are expected")
    if array.ndim != 2 or array.shape[1] != dimension:
        raise ValueError(
            f"cannot {purpose} an array of shape {array.shape}: this index takes (n, {dimension}), a row each"
        )
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite, and is found below
        array = np.ascontiguousarray(array, dtype=np.float32)
    bad = ~np.isfinite(array).all(1)
    if bad.any():
        raise ValueError(f"cannot {purpose} vector number {int(bad.argmax())}: it contains NaN or infinity")
    if metric == "cosine" and len(array):
        lengths = np.sqrt(np.einsum("nd,nd->n", array, array, dtype=np.float64))[:, None]
        if (lengths == 0).any():
            number = int((lengths[:, 0] == 0).argmax())
            raise ValueError(
                f"cannot {purpose} vector number {number}: it is zero, and has no cosine with any other"
            )
        array = (array / lengths).astype(np.float32)
    return array

"""The caller's ids of an index's rows, and the row of an id."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64


class Identifiers:
    """One int64 a row, all different. Looked up through a sorted order, which is made when it is first
    needed.
    """

    def __init__(self, ids: Int64[np.ndarray, " n"] | None = None) -> None:
        self.array = np.empty(0, dtype=np.int64) if ids is None else ids
        self._order: Int64[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.array)

    def new(self, ids: Sequence[int] | np.ndarray | None, n: int) -> Int64[np.ndarray, " n"]:
        """The ids for `n` new rows: those given, or the numbers behind the largest so far.

        Raises ValueError if there are not n of them, or one is negative, given twice, or there already.
        """
        if ids is None:
            first = int(self.array.max()) + 1 if len(self.array) else 0
            return np.arange(first, first + n, dtype=np.int64)
        given = whole_numbers(ids)
        if len(given) != n:
            raise ValueError(f"{n} vectors need as many ids, and {len(given)} were given")
        if n and given.min() < 0:
            raise ValueError(
                f"ids are whole numbers from 0, and {given.min()} was given; -1 stands for no hit"
            )
        unique, counts = np.unique(given, return_counts=True)
        if len(unique) < n:
            raise ValueError(f"id {unique[counts > 1][0]} was given to two vectors")
        there = self.rows_of(unique)
        if (there >= 0).any():
            raise ValueError(
                f"id {unique[there >= 0][0]} is in the index already: remove it first, or give another id"
            )
        return given

    def append(self, ids: Int64[np.ndarray, " n"]) -> None:
        self.array = np.concatenate([self.array, ids])
        self._order = None

    def reorder(self, order: np.ndarray) -> None:
        self.array = self.array[order]
        self._order = None

    def rows_of(self, ids: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """The row of each id, -1 for one that is not there."""
        if not len(self.array):
            return np.full(len(ids), -1, dtype=np.int64)
        if self._order is None:
            self._order = np.argsort(self.array, kind="stable")
        places = np.searchsorted(self.array, ids, sorter=self._order)
        rows = self._order[np.minimum(places, len(self.array) - 1)]
        return np.where(self.array[rows] == ids, rows, -1)

    def mask_of(self, ids: Sequence[int] | np.ndarray) -> Bool[np.ndarray, " n"]:
        """Which rows have one of these ids. Ids that are not there are no error."""
        rows = self.rows_of(whole_numbers(ids))
        mask = np.zeros(len(self.array), dtype=np.bool_)
        mask[rows[rows >= 0]] = True
        return mask


def whole_numbers(ids: Sequence[int] | np.ndarray) -> Int64[np.ndarray, " n"]:
    """Ids as int64. Raises TypeError for numbers that are not whole, ValueError for a wrong shape."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"ids are one row of numbers, and an array of shape {array.shape} was given")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"ids are whole numbers, and {array.dtype} was given")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"ids fit into 63 bits, and {array.max()} does not")
    return array.astype(np.int64)

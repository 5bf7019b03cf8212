"""Vectors in memory: rows that begin at multiples of 64 bytes, in a table that grows at its end.

A row that begins elsewhere touches one more cache line than it needs. Zeros behind the last number change no
distance and spare every loop its remainder.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numpy.typing import DTypeLike

LINE = 64  # bytes; of float32, 16


def padded_width(dimension: int, size: int = 4) -> int:
    """The least multiple of 64 bytes' worth of numbers of `size` bytes that holds `dimension` of them."""
    return -(-dimension * size // LINE) * LINE // size


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Like `np.empty`, beginning at a multiple of 64 bytes."""
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    room = np.empty(n_bytes + LINE, dtype=np.uint8)
    first = -room.ctypes.data % LINE
    return room[first : first + n_bytes].view(dtype).reshape(shape)


def padded(vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n width"]:
    """A copy with zeros behind each row, aligned."""
    n, d = vectors.shape
    rows = aligned_empty((n, padded_width(d)), np.float32)
    rows[:, :d] = vectors
    rows[:, d:] = 0
    return rows


class Rows:
    """A table of `count` rows. Appending doubles the room when it is full, so n rows cost O(n) copies."""

    def __init__(self, width: int, dtype: DTypeLike) -> None:
        self._room = aligned_empty((0, width), dtype)
        self.count = 0

    @classmethod
    def over(cls, array: np.ndarray) -> Rows:
        """The table whose rows are those of an array, which is not copied: it may be a file in memory."""
        rows = cls.__new__(cls)
        rows._room, rows.count = array, len(array)
        return rows

    @property
    def array(self) -> np.ndarray:
        """A view of the rows that are there. Valid until the next `append`, `keep` or `reorder`."""
        return self._room[: self.count]

    @property
    def address(self) -> int:
        return self._room.ctypes.data

    @property
    def n_bytes(self) -> int:
        """Bytes of the rows that are there; up to as many again may be reserved."""
        return self.array.nbytes

    def append(self, rows: np.ndarray) -> None:
        self.extend(len(rows))[:] = rows

    def extend(self, n: int) -> np.ndarray:
        """`n` more rows with arbitrary content, to be filled."""
        if self.count + n > len(self._room):
            room = max(self.count + n, 2 * self.count) if self.count else n
            grown = aligned_empty((room, self._room.shape[1]), self._room.dtype)
            grown[: self.count] = self.array
            self._room = grown
        self.count += n
        return self._room[self.count - n : self.count]

    def reorder(self, order: np.ndarray) -> None:
        """Row i becomes what row order[i] was. Rows that are not named are gone."""
        room = aligned_empty((len(order), self._room.shape[1]), self._room.dtype)
        np.take(self.array, order, axis=0, out=room, mode="clip")
        self._room, self.count = room, len(order)

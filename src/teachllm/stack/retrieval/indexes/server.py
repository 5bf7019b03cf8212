"""Vectors that a server keeps, behind the interface of this room: for more than one process, or one machine.

The ids are the server's too, so that whoever opens the same table finds the same vectors. This side keeps the
ids in memory, for checks and filters; another process's changes are seen after `refresh`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from teachllm.stack.retrieval.indexes.identifiers import Identifiers
from teachllm.stack.retrieval.indexes.index import VectorIndex, Vectors


class ServerIndex(VectorIndex):
    """What the adapters share. A saved folder holds where the vectors are, not the vectors."""

    kind = "server"
    _coming: Int64[np.ndarray, " n"]

    def add(self, vectors: Vectors, ids: Sequence[int] | np.ndarray | None = None) -> None:
        self._coming = self._ids.new(ids, len(self._checked(vectors, "add")))
        super().add(vectors, self._coming)

    def refresh(self) -> None:
        """Learn which ids the server has now."""
        self._ids = Identifiers(np.sort(self._stored_ids()))

    def _add(self, rows: Float32[np.ndarray, "n width"]) -> None:
        self._insert(self._coming, rows[:, : self.dimension])

    def _search(
        self, queries: np.ndarray, allowed: np.ndarray | None, rows: np.ndarray, distances: np.ndarray
    ) -> None:
        wanted = None if allowed is None else self._ids.array[allowed]
        for i, query in enumerate(queries[:, : self.dimension]):
            ids, found = self._nearest(query, rows.shape[1], wanted)
            places = self._ids.rows_of(np.array(ids, dtype=np.int64))
            known = places >= 0  # another process may have added some
            rows[i, : known.sum()] = places[known]
            distances[i, : known.sum()] = np.array(found, dtype=np.float32)[known]

    def _keep(self, kept: np.ndarray) -> None:
        self._delete(np.delete(self._ids.array, kept))

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.refresh()

    # What a server does -------------------------------------------------------------------------------------

    @abstractmethod
    def _stored_ids(self) -> Int64[np.ndarray, " n"]:
        """All ids, in any order."""

    @abstractmethod
    def _insert(self, ids: Int64[np.ndarray, " n"], rows: Float32[np.ndarray, "n dimension"]) -> None:
        """Store all of them, or raise and store none."""

    @abstractmethod
    def _delete(self, ids: Int64[np.ndarray, " n"]) -> None: ...

    @abstractmethod
    def _nearest(
        self, query: Float32[np.ndarray, " dimension"], k: int, allowed: Int64[np.ndarray, " m"] | None
    ) -> tuple[Sequence[int], Sequence[float]]:
        """(ids, distances) of at most k, nearest first; squared for "l2", −x·q for the others."""

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return self._place(), {}

    @abstractmethod
    def _place(self) -> dict[str, Any]:
        """What the constructor needs to find the vectors again."""

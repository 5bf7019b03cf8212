"""The flat index: compare the query with everything. Exact, the oracle of every other index, and the right
choice while vectors are few. With codes in place of vectors it saves memory, and is as exact as the codes
are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from teachllm.stack.retrieval.indexes.index import Metric, VectorIndex
from teachllm.stack.retrieval.indexes.rotation import Rotation
from teachllm.stack.retrieval.indexes.rows import padded
from teachllm.stack.retrieval.indexes.storage import FullVectors, ProductCodes, ScalarCodes, Search, Storage


def storage_for(codes: str, dimension: int, *, in_cells: bool, squared: bool, seed: int) -> Storage:
    """ "Flat" keeps vectors, "SQ8" a byte a number, "PQ16" 16 bytes a vector.

    Raises ValueError for another name.
    """
    if codes == "Flat":
        return FullVectors(dimension)
    if codes == "SQ8":
        return ScalarCodes(dimension)
    if codes.startswith("PQ") and codes[2:].isdecimal():
        return ProductCodes(dimension, int(codes[2:]), in_cells=in_cells, squared=squared, seed=seed)
    raise ValueError(
        f"vectors are kept as Flat, SQ8 or PQ with a number of parts, such as PQ16, not as {codes!r}"
    )


class FlatIndex(VectorIndex):
    """Every query meets every vector, kept as `codes` says (`storage_for`)."""

    kind = "flat"

    def __init__(
        self,
        dimension: int,
        metric: Metric = "l2",
        *,
        codes: str = "Flat",
        seed: int = 0,
        rotation: Rotation | None = None,
    ) -> None:
        super().__init__(dimension, metric, rotation=rotation)
        self._settings = {"codes": codes, "seed": seed}
        self._storage = storage_for(codes, dimension, in_cells=False, squared=self._squared, seed=seed)

    @property
    def is_trained(self) -> bool:
        return self._storage.is_trained

    @property
    def n_bytes(self) -> int:
        return self._storage.n_bytes + self._ids.array.nbytes

    def _train(self, vectors: np.ndarray) -> None:
        self._storage.train(padded(vectors), None)

    def _add(self, rows: np.ndarray) -> None:
        self._storage.append(rows, None)

    def _search(
        self, queries: np.ndarray, allowed: np.ndarray | None, rows: np.ndarray, distances: np.ndarray
    ) -> None:
        starts = np.array([0, len(self)], dtype=np.int64)
        probes = np.zeros((len(queries), 1), dtype=np.int64)
        self._storage.search(Search(queries, self._squared, starts, probes, allowed, rows, distances))

    def _keep(self, kept: np.ndarray) -> None:
        self._storage.reorder(kept)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return self._settings, self._storage.arrays()

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._storage.restore(arrays)

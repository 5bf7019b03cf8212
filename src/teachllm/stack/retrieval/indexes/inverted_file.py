"""The inverted file (IVF): look only into the cells near the query.

k-means cuts the space into cells; a list holds the vectors of each. A search compares the query with the
centroids and then with the vectors of the `n_probe` nearest cells. Near a border, a vector's nearest
neighbour lies in another cell, so one cell is not enough; n_probe trades time for recall.

With K cells of N vectors, a query costs K + N · n_probe / K distances: least at K = √(n_probe · N).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from teachllm.stack.retrieval.indexes.flat import storage_for
from teachllm.stack.retrieval.indexes.index import Metric, VectorIndex
from teachllm.stack.retrieval.indexes.kmeans import CentroidsSideBySide, kmeans, nearest_centroids
from teachllm.stack.retrieval.indexes.rotation import Rotation
from teachllm.stack.retrieval.indexes.rows import padded
from teachllm.stack.retrieval.indexes.storage import Search


class InvertedFileIndex(VectorIndex):
    """`n_cells` lists, of which a search reads `n_probe`; vectors are kept as `codes` says
    (`flat.storage_for`).

    Rows lie list after list, so what a search reads stands together. Adding sorts them anew: add many at
    once.
    """

    kind = "inverted file"

    def __init__(
        self,
        dimension: int,
        metric: Metric = "l2",
        *,
        n_cells: int,
        codes: str = "Flat",
        n_probe: int = 1,
        seed: int = 0,
        rotation: Rotation | None = None,
    ) -> None:
        super().__init__(dimension, metric, rotation=rotation)
        if n_cells < 1:
            raise ValueError(f"an inverted file has at least one cell, and {n_cells} was given")
        self.n_cells = n_cells
        self.n_probe = n_probe
        """Cells that a search looks into. May be changed at any time."""
        self._codes, self._seed = codes, seed
        self._storage = storage_for(codes, dimension, in_cells=True, squared=self._squared, seed=seed)
        self._centroids: np.ndarray | None = None  # (n_cells, width), padded and aligned
        self._side_by_side: CentroidsSideBySide | None = None  # made for the first search
        self._starts = np.zeros(n_cells + 1, dtype=np.int64)

    @property
    def is_trained(self) -> bool:
        return self._centroids is not None and self._storage.is_trained

    @property
    def n_bytes(self) -> int:
        centroids = 0 if self._centroids is None else self._centroids.nbytes
        return self._storage.n_bytes + self._ids.array.nbytes + centroids + self._starts.nbytes

    @property
    def cell_sizes(self) -> np.ndarray:
        """How many vectors each cell holds."""
        return np.diff(self._starts)

    def _train(self, vectors: np.ndarray) -> None:
        self._centroids = padded(kmeans(vectors, self.n_cells, seed=self._seed))
        rows = padded(vectors)
        self._storage.train(rows, self._centroids[nearest_centroids(rows, self._centroids)])

    def _add(self, rows: np.ndarray) -> np.ndarray:
        assert self._centroids is not None
        cells = nearest_centroids(rows, self._centroids)
        self._storage.append(rows, self._centroids[cells])
        all_cells = np.concatenate(
            [np.repeat(np.arange(self.n_cells, dtype=np.int32), self.cell_sizes), cells]
        )
        order = np.argsort(all_cells, kind="stable")
        self._storage.reorder(order)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(all_cells, minlength=self.n_cells))])
        return order

    def _search(
        self, queries: np.ndarray, allowed: np.ndarray | None, rows: np.ndarray, distances: np.ndarray
    ) -> None:
        probes, centroid_distances = self._nearest_cells(queries)
        search = Search(
            queries,
            self._squared,
            self._starts,
            probes,
            allowed,
            rows,
            distances,
            self._centroids,
            centroid_distances,
        )
        self._storage.search(search)

    def _nearest_cells(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cells to probe and their centroids' distances, by the index's own metric, nearest first."""
        if self._side_by_side is None:
            assert self._centroids is not None
            self._side_by_side = CentroidsSideBySide(self._centroids, squared=self._squared)
        return self._side_by_side.nearest(queries, min(max(1, self.n_probe), self.n_cells))

    def _keep(self, kept: np.ndarray) -> None:
        self._storage.reorder(kept)
        self._starts = np.searchsorted(kept, self._starts)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        settings = {
            "n_cells": self.n_cells,
            "codes": self._codes,
            "n_probe": self.n_probe,
            "seed": self._seed,
        }
        arrays = {"starts": self._starts, **self._storage.arrays()}
        return settings, arrays if self._centroids is None else {**arrays, "centroids": self._centroids}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._starts, self._centroids = arrays["starts"], arrays.get("centroids")
        self._storage.restore(arrays)

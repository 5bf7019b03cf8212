"""How an index keeps its vectors: whole, as bytes, or as codes; and how each way compares them with a query.

A storage holds rows that lie list after list: list i is the rows starts[i] … starts[i + 1] − 1. A flat index
has one list, an inverted file many. Distances are "smaller is nearer".
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float32, Int64

from teachllm.stack.retrieval.indexes.fast.scan import (
    inner_product_tables,
    scan_all,
    scan_byte_lists,
    scan_code_lists,
    scan_lists,
    squared_distance_tables,
)
from teachllm.stack.retrieval.indexes.product_quantizer import N_CODES, ProductQuantizer
from teachllm.stack.retrieval.indexes.rows import Rows, aligned_empty, padded_width
from teachllm.stack.retrieval.indexes.scalar_quantizer import ScalarQuantizer

NO_FILTER = np.empty(0, dtype=np.bool_)
TABLES_AT_ONCE = 64  # queries whose tables are made together: they should stay in the cache


class Search:
    """One search through the lists of a storage, and room for what it finds."""

    def __init__(
        self,
        queries: Float32[np.ndarray, "queries width"],
        squared: bool,
        starts: Int64[np.ndarray, " lists+1"],
        probes: Int64[np.ndarray, "queries probes"],
        allowed: Bool[np.ndarray, " n"] | None,
        rows: Int64[np.ndarray, "queries k"],
        distances: Float32[np.ndarray, "queries k"],
        centroids: Float32[np.ndarray, "lists width"] | None = None,
        centroid_distances: Float32[np.ndarray, "queries probes"] | None = None,
    ) -> None:
        self.queries, self.squared = queries, squared
        self.starts, self.probes = starts, probes
        self.allowed = NO_FILTER if allowed is None else allowed
        self.rows, self.distances = rows, distances
        self.centroids, self.centroid_distances = centroids, centroid_distances
        self.pool = np.empty(rows.shape[1], dtype=np.int64)


class Storage(Protocol):
    @property
    def is_trained(self) -> bool: ...

    @property
    def n_bytes(self) -> int: ...

    def train(
        self, vectors: Float32[np.ndarray, "n width"], centroids: Float32[np.ndarray, "n width"] | None
    ) -> None:
        """Learn from a sample. `centroids` are those of the vectors' cells, if there are cells."""
        ...

    def append(
        self, vectors: Float32[np.ndarray, "n width"], centroids: Float32[np.ndarray, "n width"] | None
    ) -> None: ...

    def reorder(self, order: Int64[np.ndarray, " m"]) -> None: ...

    def search(self, search: Search) -> None: ...

    def arrays(self) -> dict[str, np.ndarray]: ...

    def restore(self, arrays: dict[str, np.ndarray]) -> None: ...


class FullVectors:
    """float32, as they came."""

    is_trained = True

    def __init__(self, dimension: int) -> None:
        self.rows = Rows(padded_width(dimension), np.float32)

    @property
    def n_bytes(self) -> int:
        return self.rows.n_bytes

    def train(self, vectors: np.ndarray, centroids: np.ndarray | None) -> None:
        return None

    def append(self, vectors: np.ndarray, centroids: np.ndarray | None) -> None:
        self.rows.append(vectors)

    def reorder(self, order: np.ndarray) -> None:
        self.rows.reorder(order)

    def search(self, search: Search) -> None:
        queries, row_bytes = search.queries, self.rows.array.strides[0]
        if len(search.starts) == 2:  # one list: all queries share what is read of it
            pools = np.empty((len(queries), len(search.pool)), dtype=np.int64)
            scan_all(
                queries.ctypes.data,
                len(queries),
                self.rows.address,
                self.rows.count,
                row_bytes,
                search.squared,
                search.allowed,
                pools,
                np.zeros(len(queries), dtype=np.int64),
                search.rows,
                search.distances,
            )
        else:
            scan_lists(
                queries.ctypes.data,
                len(queries),
                self.rows.address,
                row_bytes,
                search.squared,
                search.starts,
                search.probes,
                search.allowed,
                search.pool,
                search.rows,
                search.distances,
            )

    def arrays(self) -> dict[str, np.ndarray]:
        return {"vectors": self.rows.array}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.rows = Rows.over(arrays["vectors"])


class ScalarCodes:
    """A byte a number (`ScalarQuantizer`). The query stays as it is: −x·q and ‖x − q‖² are computed in
    float32.
    """

    def __init__(self, dimension: int) -> None:
        self.quantizer = ScalarQuantizer(padded_width(dimension))
        self.codes = Rows(padded_width(dimension), np.uint8)  # a multiple of 16 bytes, as the kernel reads

    @property
    def is_trained(self) -> bool:
        return self.quantizer.step is not None

    @property
    def n_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays().values())

    def train(self, vectors: np.ndarray, centroids: np.ndarray | None) -> None:
        self.quantizer.train(vectors)

    def append(self, vectors: np.ndarray, centroids: np.ndarray | None) -> None:
        self.codes.append(self.quantizer.encode(vectors))

    def reorder(self, order: np.ndarray) -> None:
        self.codes.reorder(order)

    def search(self, search: Search) -> None:
        least, step = self.quantizer.ranges()
        queries = search.queries
        if search.squared:  # ‖code · step + (least − q)‖²
            shifts, scales = least - queries, np.broadcast_to(step, queries.shape)
            constants = np.zeros(len(queries), dtype=np.float32)
        else:  # −Σ code · (step · q) − least·q
            shifts, scales = queries, step * queries
            constants = -(queries @ least)
        shifts, scales = np.ascontiguousarray(shifts), np.ascontiguousarray(scales)
        scan_byte_lists(
            shifts.ctypes.data, scales.ctypes.data, constants, self.codes.address, self.codes.array.shape[1],
            search.squared, search.starts, search.probes, search.allowed, search.pool, search.rows,
            search.distances,
        )  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        ranges = dict(zip(("least", "step"), self.quantizer.ranges(), strict=True)) if self.is_trained else {}
        return {"codes": self.codes.array, **ranges}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.codes = Rows.over(arrays["codes"])
        self.quantizer.least, self.quantizer.step = arrays.get("least"), arrays.get("step")


class ProductCodes:
    """m bytes a vector (`ProductQuantizer`). In cells, of the residual r = x − c to the cell's centroid c:
    residuals are shorter than vectors, so the same 256 centroids a part stand closer together.

    ‖q − c − r‖² = ‖q − c‖² + (‖r‖² + 2 c·r) − 2 q·r. The first term is known from choosing the cells. The
    second belongs to the vector: it is computed when it is added and costs four bytes. Only the third needs
    tables, and they are the same for all cells. For inner products, q·(c + r) = q·c + q·r.
    """

    def __init__(self, dimension: int, n_parts: int, *, in_cells: bool, squared: bool, seed: int) -> None:
        self.quantizer = ProductQuantizer(dimension, n_parts)
        self.codes = Rows(n_parts, np.uint8)
        self.extras = Rows(1, np.float32)
        self._has_extras, self._seed = in_cells and squared, seed

    @property
    def is_trained(self) -> bool:
        return self.quantizer.codebooks is not None

    @property
    def n_bytes(self) -> int:
        codebooks = self.quantizer.codebooks
        return self.codes.n_bytes + self.extras.n_bytes + (0 if codebooks is None else codebooks.nbytes)

    def train(self, vectors: np.ndarray, centroids: np.ndarray | None) -> None:
        self.quantizer.train(vectors if centroids is None else vectors - centroids, seed=self._seed)

    def append(self, vectors: np.ndarray, centroids: np.ndarray | None) -> None:
        codes = self.quantizer.encode(vectors if centroids is None else vectors - centroids)
        self.codes.append(codes)
        if self._has_extras and centroids is not None:
            residuals = self.quantizer.decode(codes)
            both = residuals + 2 * centroids[:, : self.quantizer.dimension]
            self.extras.append(np.einsum("nd,nd->n", residuals, both)[:, None])

    def reorder(self, order: np.ndarray) -> None:
        self.codes.reorder(order)
        if self._has_extras:
            self.extras.reorder(order)

    def search(self, search: Search) -> None:
        apart = self.quantizer.codes_apart
        codes, extras = self.codes.array, self.extras.array[:, 0]
        constants = search.centroid_distances
        if constants is None:
            constants = np.zeros((len(search.queries), 1), dtype=np.float32)
        tables = aligned_empty((TABLES_AT_ONCE, self.quantizer.n_parts, N_CODES), np.float32)
        for first in range(0, len(search.queries), TABLES_AT_ONCE):
            some = slice(first, first + TABLES_AT_ONCE)
            queries = search.queries[some]
            if not search.squared:
                inner_product_tables(queries, apart, np.float32(-1), tables)
            elif self._has_extras:
                inner_product_tables(queries, apart, np.float32(-2), tables)
            else:
                squared_distance_tables(queries, apart, tables)
            scan_code_lists(
                tables[: len(queries)], codes, constants[some], extras, search.starts, search.probes[some],
                search.allowed, search.pool, search.rows[some], search.distances[some],
            )  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {"codes": self.codes.array}
        if self.quantizer.codebooks is not None:
            arrays["codebooks"] = self.quantizer.codebooks
        return {**arrays, "extras": self.extras.array} if self._has_extras else arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.codes = Rows.over(arrays["codes"])
        self.quantizer.codebooks = arrays.get("codebooks")
        if self._has_extras:
            self.extras = Rows.over(arrays["extras"])

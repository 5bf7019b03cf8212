"""An index of faiss behind the interface of this room, for people who outgrow ours or have one already.

faiss is not installed with this project: `pip install faiss-cpu`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from teachllm.stack.retrieval.indexes.index import Metric, VectorIndex


def _faiss() -> Any:
    try:
        import faiss  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "this index is one of faiss, which is not installed: pip install faiss-cpu"
        ) from None
    return faiss


class FaissIndex(VectorIndex):
    """`description` is for faiss's own factory, so every index of faiss can be had."""

    kind = "faiss"

    def __init__(self, dimension: int, metric: Metric = "l2", *, description: str) -> None:
        super().__init__(dimension, metric)
        faiss = _faiss()
        self._description = description
        measure = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self.faiss_index = faiss.index_factory(dimension, description, measure)
        """faiss's index, for its own settings (`faiss.ParameterSpace().set_index_parameter(index, "nprobe",
        8)`).
        """
        if not isinstance(self.faiss_index, faiss.IndexIVF):  # which keeps numbers itself
            self.faiss_index = faiss.IndexIDMap2(self.faiss_index)
        self._numbers = np.empty(0, dtype=np.int64)  # by which faiss knows our rows; ascending
        self._next = 0

    @property
    def is_trained(self) -> bool:
        return bool(self.faiss_index.is_trained)

    @property
    def n_bytes(self) -> int:
        """Of the index as faiss would write it."""
        return int(_faiss().serialize_index(self.faiss_index).nbytes) + self._ids.array.nbytes

    def _train(self, vectors: np.ndarray) -> None:
        self.faiss_index.train(vectors)

    def _add(self, rows: np.ndarray) -> None:
        numbers = np.arange(self._next, self._next + len(rows), dtype=np.int64)
        self.faiss_index.add_with_ids(np.ascontiguousarray(rows[:, : self.dimension]), numbers)
        self._numbers, self._next = np.concatenate([self._numbers, numbers]), self._next + len(rows)

    def _search(
        self, queries: np.ndarray, allowed: np.ndarray | None, rows: np.ndarray, distances: np.ndarray
    ) -> None:
        faiss = _faiss()
        vectors, settings = np.ascontiguousarray(queries[:, : self.dimension]), {}
        if allowed is not None:
            selector = faiss.IDSelectorBatch(self._numbers[allowed])
            kind = (
                faiss.SearchParametersIVF
                if isinstance(self.faiss_index, faiss.IndexIVF)
                else faiss.SearchParameters
            )
            settings["params"] = kind(sel=selector)
        scores, found = self.faiss_index.search(vectors, rows.shape[1], **settings)
        distances[:] = np.where(found < 0, np.inf, scores if self._squared else -scores)
        rows[:] = np.where(found < 0, -1, np.searchsorted(self._numbers, found))

    def _keep(self, kept: np.ndarray) -> None:
        gone = np.delete(self._numbers, kept)
        try:
            self.faiss_index.remove_ids(gone)
        except RuntimeError as error:
            raise NotImplementedError(
                f"faiss cannot remove vectors from {self._description}: {error}"
            ) from None
        self._numbers = self._numbers[kept]

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {
            "faiss": _faiss().serialize_index(self.faiss_index),
            "numbers": self._numbers,
            "next": np.array([self._next], dtype=np.int64),
        }
        return {"description": self._description}, arrays

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.faiss_index = _faiss().deserialize_index(arrays["faiss"])
        self._numbers, self._next = arrays["numbers"], int(arrays["next"][0])

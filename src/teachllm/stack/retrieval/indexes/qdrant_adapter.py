"""Vectors in a collection of Qdrant.

The client is no part of this project's own needs: `pip install 'teachllm[qdrant]'`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from teachllm.stack.retrieval.indexes.index import Metric
from teachllm.stack.retrieval.indexes.server import ServerIndex

BATCH = 1000
"""Vectors of a request."""
# Vectors are of length 1 for the cosine, so that products are cosines.
DISTANCES: dict[Metric, str] = {"l2": "Euclid", "inner_product": "Dot", "cosine": "Dot"}


class QdrantIndex(ServerIndex):
    """A collection of Qdrant, made if it is not there, else used with what it holds.

    server: `http://host:6333`; or a folder, or ":memory:", which the client searches itself, slowly. A key is
    given by `api_key`, and not saved. exact: compare with every vector instead of walking Qdrant's graph.
    ValueError for a collection of other vectors; OSError without a server.
    """

    kind = "qdrant"

    def __init__(
        self,
        dimension: int,
        metric: Metric = "l2",
        *,
        server: str,
        collection: str,
        exact: bool = False,
        api_key: str | None = None,
    ) -> None:
        super().__init__(dimension, metric)
        self.server, self.collection, self.exact = server, collection, exact
        client, self._models = _qdrant()
        if server == ":memory:":
            self.client: Any = client(server)
        elif "://" in server:
            self.client = client(url=server, api_key=api_key)
        else:
            self.client = client(path=server)
        weakref.finalize(self, self.client.close)
        self._walks = "://" in server  # without a server the client compares with every vector anyway
        distance = self._models.Distance(DISTANCES[metric])
        try:
            if not self.client.collection_exists(collection):
                self.client.create_collection(
                    collection,
                    vectors_config=self._models.VectorParams(size=dimension, distance=distance),
                )
            there = self.client.get_collection(collection).config.params.vectors
        except Exception as problem:  # one of its own kind for each way to reach it
            raise OSError(f"no Qdrant answers at {server}: {problem}") from problem
        if (there.size, there.distance) != (dimension, distance):
            raise ValueError(
                f"the collection {collection} has vectors of {there.size} dimensions compared by "
                f"{there.distance.value}, not {dimension} by {distance.value}; give another name"
            )
        self.refresh()

    @property
    def n_bytes(self) -> int:
        """Of the vectors and ids alone: Qdrant does not tell what its graph takes."""
        return len(self) * (4 * self.dimension + 8)

    def _stored_ids(self) -> Int64[np.ndarray, " n"]:
        found: list[int] = []
        offset = None
        while True:
            points, offset = self.client.scroll(
                self.collection, limit=10 * BATCH, offset=offset, with_payload=False, with_vectors=False
            )
            found += [point.id for point in points]
            if offset is None:
                return np.array(found, dtype=np.int64)

    def _insert(self, ids: Int64[np.ndarray, " n"], rows: Float32[np.ndarray, "n dimension"]) -> None:
        stored: list[int] = []
        try:
            for part in _parts(len(ids)):
                stored += ids[part].tolist()
                self.client.upsert(
                    self.collection,
                    self._models.Batch(ids=ids[part].tolist(), vectors=rows[part].tolist()),
                    wait=True,
                )
        except Exception:
            self._delete(np.array(stored, dtype=np.int64))
            raise

    def _delete(self, ids: Int64[np.ndarray, " n"]) -> None:
        for part in _parts(len(ids)):
            self.client.delete(
                self.collection, self._models.PointIdsList(points=ids[part].tolist()), wait=True
            )

    def _nearest(
        self, query: Float32[np.ndarray, " dimension"], k: int, allowed: Int64[np.ndarray, " m"] | None
    ) -> tuple[Sequence[int], Sequence[float]]:
        only = None
        if allowed is not None:
            only = self._models.Filter(must=[self._models.HasIdCondition(has_id=allowed.tolist())])
        found = self.client.query_points(
            self.collection,
            query=query.tolist(),
            limit=k,
            query_filter=only,
            search_params=self._models.SearchParams(exact=True) if self._walks and self.exact else None,
            with_payload=False,
        ).points
        # Euclid comes as the distance, smaller is nearer; Dot as the product, larger is nearer.
        return [one.id for one in found], [one.score**2 if self._squared else -one.score for one in found]

    def _place(self) -> dict[str, Any]:
        return {"server": self.server, "collection": self.collection, "exact": self.exact}


def _parts(n: int) -> Iterator[slice]:
    return (slice(first, first + BATCH) for first in range(0, n, BATCH))


def _qdrant() -> tuple[Any, Any]:
    """(its client, its types)."""
    try:
        from qdrant_client import QdrantClient, models  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "vectors in Qdrant need its client, which is not installed: pip install 'teachllm[qdrant]'"
        ) from None
    return QdrantClient, models

"""Texts found by meaning: an embedding model and a vector index, asked with texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from teachllm.stack.retrieval.embedding import EmbeddingModel
from teachllm.stack.retrieval.hits import Hits, empty_hits
from teachllm.stack.retrieval.indexes import FlatIndex, VectorIndex


class DenseSearcher:
    """Documents become vectors when they are added, queries when they are asked.

    index: of the model's dimension and empty; None compares with every vector, exactly. One that learns from
    a sample (IVF, PQ) is trained on the first documents that are added.
    """

    def __init__(self, model: EmbeddingModel, index: VectorIndex | None = None) -> None:
        if index is not None and index.dimension != model.dimension:
            raise ValueError(
                f"the index is for {index.dimension} dimensions, {model.name} has {model.dimension}"
            )
        self.model = model
        self.index = index if index is not None else FlatIndex(model.dimension, "cosine")

    def add(self, texts: Sequence[str], ids: Iterable[int] | None = None) -> None:
        """ValueError for ids that are there already; nothing is added then."""
        vectors = self.model.embed(texts, "passage")
        if not self.index.is_trained:
            self.index.train(vectors)
        self.index.add(vectors, None if ids is None else list(ids))

    def search(self, queries: Sequence[str], k: int = 10) -> Hits:
        """The k nearest documents of each query; all where there are fewer. ValueError for k below 1."""
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one hit")
        hits = empty_hits(len(queries), k)
        n_found = min(k, len(self.index))
        if n_found and queries:
            found = self.index.search(self.model.embed(queries, "query"), n_found)
            hits.ids[:, :n_found], hits.scores[:, :n_found] = found.ids, found.scores
        return hits

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_bytes(self) -> int:
        """Bytes of the index, without the model."""
        return self.index.n_bytes

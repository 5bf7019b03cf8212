"""``teachllm retrieve``: searches measured on a collection with known answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from teachllm.stack.data.assets import AssetError
from teachllm.stack.retrieval.evaluation.collection import CollectionError, read_beir
from teachllm.stack.retrieval.evaluation.harness import Measured, measure, table
from teachllm.stack.retrieval.fusion import FusedSearcher, TextSearcher
from teachllm.stack.retrieval.lexical import BM25, LexicalIndex, TfIdf

Method = Literal["bm25", "tf-idf", "dense", "fused"]
Build = Callable[[Sequence[str]], TextSearcher]
EMBEDDER = "all-minilm-l6-v2"


def retrieve(
    folder: Path,
    *methods: Method,
    split: str = "test",
    k1: float = 1.5,
    b: float = 0.75,
    model: str = EMBEDDER,
    rerank: Path | None = None,
) -> None:
    """Measure searches on a folder of BEIR: quality, with p against the first, and speed and memory.

    Parameters
    ----------
    folder
        Has corpus.jsonl, queries.jsonl and qrels/, as a download of BEIR or of your own making.
    methods
        Any of bm25, tf-idf, dense (vectors, all compared) and fused (bm25 and dense by their ranks). By
        default bm25 and tf-idf.
    split
        Which judgments of qrels/.
    k1
        Of bm25: how late counts level off.
    b
        Of bm25: how much of its length a document pays for, from 0 to 1.
    model
        Of dense: an asset, or the folder of an embedding model.
    rerank
        The folder of a cross-encoder: each search is measured a second time, its hits read again by it.
    """
    try:
        builders = _builders(BM25(k1=k1, b=b), model)
        collection = read_beir(folder, split)
        print(f"{len(collection.documents):,} documents, {len(collection.queries):,} queries")
        reread = None if rerank is None else _reranked(rerank)
        results: list[Measured] = []
        for method in methods or ("bm25", "tf-idf"):
            print(f"measuring {method} …", file=sys.stderr)
            results.append(measure(method, collection, builders[method]))
            if reread is not None:
                print(f"measuring {method}, read again …", file=sys.stderr)
                results.append(measure(f"{method} + rerank", collection, reread(builders[method])))
        print(table(results))
    except (CollectionError, AssetError, ValueError, OSError) as problem:
        sys.exit(f"teachllm retrieve: {problem}")


def _reranked(folder: Path) -> Callable[[Build], Build]:
    """Puts a cross-encoder behind a search."""
    from teachllm.stack.retrieval.rerankers.files import load_cross_encoder
    from teachllm.stack.retrieval.rerankers.reranker import RerankedSearcher

    model = load_cross_encoder(folder)
    return lambda build: lambda documents: RerankedSearcher(build(documents), model, documents.__getitem__)


def _builders(weighting: BM25, model: str) -> dict[Method, Build]:
    def by_terms(documents: Sequence[str], weighting: BM25 | TfIdf = weighting) -> LexicalIndex:
        index = LexicalIndex(weighting=weighting)
        index.add(documents)
        return index

    def dense(documents: Sequence[str]) -> TextSearcher:
        from teachllm.stack.retrieval.dense import DenseSearcher  # PyTorch takes seconds to import
        from teachllm.stack.retrieval.embedding import load_embedding_model

        searcher = DenseSearcher(load_embedding_model(model))
        searcher.add(documents)
        return searcher

    return {
        "bm25": by_terms,
        "tf-idf": lambda documents: by_terms(documents, TfIdf()),
        "dense": dense,
        "fused": lambda documents: FusedSearcher([by_terms(documents), dense(documents)]),
    }

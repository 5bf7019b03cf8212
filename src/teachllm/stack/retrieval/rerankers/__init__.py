"""Rerankers: a second look at the few passages that a fast search found, together with the query."""

from teachllm.stack.retrieval.rerankers.reranker import RerankedSearcher, Reranker, rerank

__all__ = ["RerankedSearcher", "Reranker", "rerank"]

"""Texts to vectors whose products say how much two texts have to do with each other, and how such models are
trained.
"""

from teachllm.stack.retrieval.embedding.loading import BGE_EN, BGE_ZH, E5, load_embedding_model
from teachllm.stack.retrieval.embedding.model import EmbeddingModel

__all__ = ["BGE_EN", "BGE_ZH", "E5", "EmbeddingModel", "load_embedding_model"]

"""Texts to a vector a token, as ColBERT does it: marks, masks that extend the query, no punctuation in
passages.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from teachllm.stack.models.encoder.bert import Bert
from teachllm.stack.retrieval.embedding.batching import length_batches
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.retrieval.embedding.pooling import normalize
from teachllm.stack.tokenizer.bert import BertTokenizer

BATCH_TOKENS = 4096
PUNCTUATION = frozenset(string.punctuation + "，。、；：？！“”‘’（）《》【】…—·「」『』")


@dataclass(frozen=True)
class TokenEncoder:
    """An encoder whose vectors stay apart instead of being pooled.

    projection: to fewer dimensions, without bias (ColBERT: 768 to 128); None keeps the encoder's.
    query_tokens: to which [MASK] fills a query up, so that the encoder may add to it what belongs to it
    (query augmentation); 0 adds none, as for an encoder that was not trained with it. marks: tokens behind
    [CLS] that say which kind of text it is. max_tokens: of a passage, with its special tokens.
    """

    encoder: Bert
    tokenizer: BertTokenizer
    projection: nn.Linear | None = None
    query_tokens: int = 0
    marks: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"query": (), "passage": ()})
    max_tokens: int = 256

    @classmethod
    def from_embedding_model(cls, model: EmbeddingModel) -> TokenEncoder:
        """The token vectors of a model that was trained for their mean: they carry meaning too, if less
        than those of one that was trained for MaxSim. ValueError if it is no BERT.
        """
        if not isinstance(model.encoder, Bert) or not isinstance(model.tokenizer, BertTokenizer):
            raise ValueError(f"{model.name} is no BERT with BERT's tokenizer; late interaction needs one")
        return cls(model.encoder, model.tokenizer, max_tokens=model.max_tokens)

    @property
    def dimension(self) -> int:
        return self.projection.out_features if self.projection else self.encoder.config.d_model

    def query_ids(self, text: str) -> list[int]:
        most = self.encoder.config.context_length
        ids = self._ids(text, "query", min(self.query_tokens or most, most))
        return ids + [self.tokenizer.mask] * (self.query_tokens - len(ids))

    def passage_ids(self, text: str) -> list[int]:
        return self._ids(text, "passage", min(self.max_tokens, self.encoder.config.context_length))

    @torch.inference_mode()
    def queries(self, texts: Sequence[str]) -> list[Float32[np.ndarray, "_ d"]]:
        """The vectors of each query's tokens, all of length 1."""
        return self._all([self.query_ids(text) for text in texts], [None] * len(texts))

    @torch.inference_mode()
    def passages(self, texts: Sequence[str]) -> list[Float32[np.ndarray, "_ d"]]:
        """The vectors of each passage's tokens without punctuation, which would match a query's and mean
        nothing.
        """
        ids = [self.passage_ids(text) for text in texts]
        return self._all(ids, [self.kept(one) for one in ids])

    def kept(self, ids: Sequence[int]) -> list[int]:
        """The places of a passage's tokens that are kept; all if it is nothing but punctuation."""
        vocabulary = self.tokenizer.vocabulary
        places = [place for place, one in enumerate(ids) if not _is_punctuation(vocabulary[one])]
        return places or list(range(len(ids)))

    def vectors(self, ids: Sequence[Sequence[int]]) -> list[Float[Tensor, "_ d"]]:
        """Of texts that are ids already, with gradients: what training uses."""
        device = next(self.encoder.parameters()).device
        flat = torch.tensor([token for one in ids for token in one], device=device)
        x = self.encoder(flat, [len(one) for one in ids])
        x = normalize(self.projection(x) if self.projection else x)
        return list(x.split([len(one) for one in ids]))

    def _all(
        self, ids: list[list[int]], kept: Sequence[list[int] | None]
    ) -> list[Float32[np.ndarray, "_ d"]]:
        found: list[np.ndarray] = [np.empty((0, self.dimension), dtype=np.float32)] * len(ids)
        for batch in length_batches([len(one) for one in ids], BATCH_TOKENS):
            for i, vectors in zip(batch, self.vectors([ids[i] for i in batch]), strict=True):
                chosen = kept[i]
                found[i] = (vectors if chosen is None else vectors[chosen]).float().cpu().numpy()
        return found

    def _ids(self, text: str, kind: str, most: int) -> list[int]:
        cls, sep = self.tokenizer.cls, self.tokenizer.sep
        begin = [cls, *self.marks[kind]]
        return [*begin, *self.tokenizer.encode(text)[: max(0, most - len(begin) - 1)], sep]


def _is_punctuation(token: str) -> bool:
    return bool(token.removeprefix("##")) and set(token.removeprefix("##")) <= PUNCTUATION

"""Texts to vectors: the tokenizer, the encoder, the pooling and the prefixes that belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from teachllm.stack.retrieval.embedding.batching import length_batches
from teachllm.stack.retrieval.embedding.pooling import Pooling, normalize, pool

BATCH_TOKENS = 4096
Kind = Literal["query", "passage"]
Progress = Callable[[int, int], object]
"""Called with the texts that are done and all of them; what it raises stops the work."""


class TextTokenizer(Protocol):
    """`BertTokenizer`, or the `Tokenizer` of a decoder."""

    def encode(self, text: str, /) -> list[int]: ...


@dataclass(frozen=True)
class EmbeddingModel:
    """An encoder with all that decides what vector a text gets; change one of them, and the index must be
    built anew.

    encoder: (tokens, lengths) to a vector a token, texts end to end: `Bert`, or a decoder in `CausalEncoder`.
    tokenizer: ids of a text, without begin and end tokens. max_tokens: with these; what is behind is not
    read. prefixes: what is put before a text of each kind. normalized: vectors of length 1.
    """

    name: str
    encoder: nn.Module
    tokenizer: TextTokenizer
    begin_tokens: tuple[int, ...]
    end_tokens: tuple[int, ...]
    max_tokens: int
    vocab_size: int
    dimension: int
    pooling: Pooling = "mean"
    normalized: bool = True
    prefixes: Mapping[str, str] = field(default_factory=dict)

    def embed(
        self,
        texts: Sequence[str],
        kind: Kind = "passage",
        *,
        dimension: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
        progress: Progress | None = None,
    ) -> Float32[np.ndarray, "text dimension"]:
        """The vectors of `texts`, in their order.

        kind: "query" or "passage"; some models were trained with another prefix for each. A text is read up
        to `max_tokens`, begin and end included; the rest of it is left out. dimension: keep the first so many
        numbers and normalize again, for models that were trained for it (Matryoshka).
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; give a list of texts, such as [text]")
        prefix = self.prefixes.get(kind, "")
        tokens = [self.truncated(self.tokens_of(prefix + text)) for text in texts]
        return self.embed_tokens(tokens, dimension=dimension, batch_tokens=batch_tokens, progress=progress)

    def tokens_of(self, text: str) -> list[int]:
        """All ids of a text, begin and end included, however long it is."""
        return [*self.begin_tokens, *self.tokenizer.encode(text), *self.end_tokens]

    def truncated(self, tokens: list[int], most: int | None = None) -> list[int]:
        """At most `most` of a text's ids, `max_tokens` unless given: the front, and the end tokens."""
        most = self.max_tokens if most is None else most
        if len(tokens) <= most:
            return tokens
        return [*tokens[: max(0, most - len(self.end_tokens))], *self.end_tokens]

    @torch.inference_mode()
    def embed_tokens(
        self,
        tokens: Sequence[Sequence[int]],
        *,
        dimension: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
        progress: Progress | None = None,
    ) -> Float32[np.ndarray, "text dimension"]:
        """The vectors of texts that are ids already, with their begin and end. ValueError for a text that is
        empty or too long, and for a dimension that the model does not have.
        """
        if dimension is not None and not 0 < dimension <= self.dimension:
            raise ValueError(f"{self.name} has {self.dimension} dimensions; {dimension} cannot be had")
        device = next(self.encoder.parameters()).device
        vectors = np.empty((len(tokens), dimension or self.dimension), dtype=np.float32)
        done = 0
        for batch in length_batches([len(one) for one in tokens], batch_tokens):
            flat = torch.tensor([token for i in batch for token in tokens[i]], device=device)
            found = self.vectors(flat, [len(tokens[i]) for i in batch], dimension)
            vectors[batch] = found.float().cpu().numpy()
            done += len(batch)
            if progress is not None:
                progress(done, len(tokens))
        return vectors

    def vectors(
        self, tokens: Int[Tensor, " total"], lengths: Sequence[int], dimension: int | None = None
    ) -> Float[Tensor, "text dimension"]:
        """What training and `embed` share: texts end to end, encoded, pooled, shortened, normalized."""
        pooled = pool(self.encoder(tokens, lengths), lengths, self.pooling)
        if dimension is not None:
            pooled = pooled[:, :dimension]
        return normalize(pooled) if self.normalized else pooled

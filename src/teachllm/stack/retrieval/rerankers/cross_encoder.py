"""A cross-encoder: query and passage in one text, so that every word of one sees every word of the other.

    [CLS] query [SEP] passage [SEP]  →  BERT  →  the vector of [CLS]  →  tanh(W·)  →  w·  →  one number

Nogueira & Cho 2019, arXiv:1901.04085.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from teachllm.stack.models.encoder.bert import Bert
from teachllm.stack.retrieval.embedding.batching import length_batches
from teachllm.stack.tokenizer.bert import BertTokenizer

BATCH_TOKENS = 4096
SPECIAL = 3  # [CLS], and a [SEP] behind each text


class PairScorer(nn.Module):
    """Pairs to a number each: an encoder, a pooler and a head, as in BERT's classifiers of one class."""

    def __init__(self, encoder: Bert) -> None:
        super().__init__()
        self.config = encoder.config
        width = self.config.d_model
        self.encoder = encoder
        self.pooler = nn.Linear(width, width)
        self.head = nn.Linear(width, 1)

    def forward(
        self, tokens: Int[Tensor, " total"], lengths: Sequence[int], token_types: Int[Tensor, " total"]
    ) -> Float[Tensor, " pair"]:
        """Scores of pairs that lie end to end. lengths: of the pairs. token_types: 0 in the query, 1 behind
        it.
        """
        vectors = self.encoder(tokens, lengths, token_types)
        sizes = torch.tensor(lengths, device=tokens.device)
        first = vectors[sizes.cumsum(0) - sizes]
        return self.head(torch.tanh(self.pooler(first))).squeeze(-1)


@dataclass(frozen=True)
class CrossEncoder:
    """A `PairScorer` with the tokenizer that it was trained with: a `Reranker`.

    max_tokens: of a pair, with its three special tokens; longer ones are shortened, see `fitting`.
    """

    name: str
    model: PairScorer
    tokenizer: BertTokenizer
    max_tokens: int

    def scores(self, query: str, passages: Sequence[str]) -> Float32[np.ndarray, " passages"]:
        """Logits, so any number; the sigmoid of one is the probability that a model trained for it means."""
        return self.pair_scores([(query, passage) for passage in passages])

    @torch.inference_mode()
    def pair_scores(
        self, pairs: Sequence[tuple[str, str]], batch_tokens: int = BATCH_TOKENS
    ) -> Float32[np.ndarray, " pairs"]:
        """Scores of (query, passage) pairs, in their order. A query is tokenized once, however often it
        stands there.
        """
        of_text = {
            text: self.tokenizer.encode(text) for text in dict.fromkeys(t for pair in pairs for t in pair)
        }
        encoded = [self.encode(of_text[query], of_text[passage]) for query, passage in pairs]
        found = np.empty(len(pairs), dtype=np.float32)
        for batch in length_batches([len(tokens) for tokens, _ in encoded], batch_tokens):
            found[batch] = self.batch_scores([encoded[i] for i in batch]).float().cpu().numpy()
        return found

    def batch_scores(self, encoded: Sequence[tuple[list[int], int]]) -> Float[Tensor, " pair"]:
        """What training and `pair_scores` share. encoded: of each pair what `encode` gives."""
        device = next(self.model.parameters()).device
        flat = torch.tensor([token for tokens, _ in encoded for token in tokens], device=device)
        types = [kind for tokens, own in encoded for kind in [0] * own + [1] * (len(tokens) - own)]
        return self.model(flat, [len(tokens) for tokens, _ in encoded], torch.tensor(types, device=device))

    def encode(self, query: Sequence[int], passage: Sequence[int]) -> tuple[list[int], int]:
        """The tokens of a pair, and how many of them are the query's, with the marks around it."""
        n_query, n_passage = fitting(len(query), len(passage), self.max_tokens - SPECIAL)
        cls, sep = self.tokenizer.cls, self.tokenizer.sep
        return [cls, *query[:n_query], sep, *passage[:n_passage], sep], n_query + 2


def fitting(n_query: int, n_passage: int, most: int) -> tuple[int, int]:
    """How many tokens of each of two texts are kept, so that there are at most `most`: the longer one gives
    first.

    >>> fitting(5, 100, most=50), fitting(60, 100, most=51)
    ((5, 45), (25, 26))
    """
    if n_query + n_passage <= most:
        return n_query, n_passage
    shorter, longer = sorted((n_query, n_passage))
    longer = max(shorter, most - shorter)
    if shorter + longer > most:
        shorter, longer = most // 2, most - most // 2
    return (longer, shorter) if n_query > n_passage else (shorter, longer)

"""How well a model predicts a text that it was not trained on, in units that can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from teachllm.stack.data.packing import IGNORED
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.objective import NextTokenLoss
from teachllm.stack.training.parallel import settle
from teachllm.stack.training.state import Batch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a text cost. nats: Σ -ln p(token). n_bytes: of the text in UTF-8; the end of a text has none."""

    nats: float
    n_tokens: int
    n_bytes: int

    @property
    def loss(self) -> float:
        """Nats a token: depends on how the tokenizer cuts."""
        return self.nats / self.n_tokens

    @property
    def perplexity(self) -> float:
        """e^loss: among how many equally probable tokens the model is undecided, on average."""
        return perplexity(self.loss)

    @property
    def bits_per_token(self) -> float:
        return self.loss / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """The size of the text compressed by the model over its size: comparable across tokenizers."""
        return bits_per_byte(self.nats, self.n_bytes)


def perplexity(loss: float) -> float:
    """e^loss for a loss in nats a token; infinite where that is too large for a float."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(nats: float, n_bytes: int) -> float:
    """nats / (ln 2 · n_bytes)."""
    return nats / (math.log(2) * n_bytes)


@torch.no_grad()
def evaluate(
    objective: NextTokenLoss, batches: Iterable[Batch], token_bytes: Int[Tensor, " vocab"]
) -> Evaluation:
    """The cost of every target in `batches` that counts; the model is left in the mode that it was in.

    token_bytes: see `token_byte_lengths`. Of several processes that share a model, each must evaluate the
    same batches; all get the same result. ValueError if there are no targets, or none of any bytes.
    """
    was_training, device = objective.training, next(objective.model.parameters()).device
    nats, n_tokens, n_bytes = 0.0, 0, 0
    objective.eval()
    try:
        for batch in batches:
            counted = batch.targets[batch.targets != IGNORED]
            if not len(counted):
                continue
            parts = (batch.tokens, batch.targets, batch.document_ids)
            nats += float(objective(*(part.to(device) for part in parts), 1))
            n_tokens += len(counted)
            n_bytes += int(token_bytes.cpu()[counted.cpu()].sum())
    finally:
        objective.train(was_training)
        settle(objective.model)
    if n_bytes == 0:
        raise ValueError(
            f"{n_tokens} tokens of {n_bytes} bytes to evaluate on: nothing can be said. Hold out more text"
        )
    return Evaluation(nats, n_tokens, n_bytes)


def token_byte_lengths(tokenizer: Tokenizer) -> Int[Tensor, " vocab"]:
    """The bytes that each token stands for: 0 for special tokens, which are no text, and for unused ids."""
    lengths = torch.zeros(tokenizer.vocab_size, dtype=torch.long)
    for token_id, content in tokenizer.vocabulary.tokens.items():
        lengths[token_id] = len(content)
    return lengths

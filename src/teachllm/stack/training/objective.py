"""From a batch to the number that training makes smaller, as one module: what data parallelism wraps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from teachllm.stack.training.documents import attention_within_documents
from teachllm.stack.training.loss import chunked_cross_entropy
from teachllm.stack.training.precision import ComputeWeights


class TrainableModel(Protocol):
    """Any model of the stack that predicts the next token."""

    head: nn.Linear

    def features(self, tokens: Int[Tensor, "row position"]) -> Float[Tensor, "row position d_model"]:
        """What the head reads."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class NextTokenLoss(nn.Module):
    """The cross-entropy of a model on rows of tokens.

    The model computes with copies of its weights in `compute_dtype`; after the weights have changed,
    `weights.refresh()` rounds them anew. within_documents: no token attends to another document of its row.
    """

    def __init__(
        self, model: nn.Module, compute_dtype: torch.dtype = torch.float32, within_documents: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self.weights = ComputeWeights(model, compute_dtype)
        self.within_documents = within_documents

    def forward(
        self,
        tokens: Int[Tensor, "row position"],
        targets: Int[Tensor, "row position"],
        document_ids: Int[Tensor, "row position"],
        divisor: int,
    ) -> Float[Tensor, ""]:
        """Σ -log p(target) / divisor, in nats. The rows may be a piece of a batch with `divisor` targets."""
        model = cast(TrainableModel, self.model)
        attention = attention_within_documents(document_ids) if self.within_documents else nullcontext()
        with self.weights.in_use(), attention:
            features = model.features(tokens)
            return chunked_cross_entropy(features, model.head.weight, targets, divisor)

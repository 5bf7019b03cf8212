"""The training loop. Everything a run does to a model happens in `train`, once a step, in nine numbered lines."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import psutil
import torch
from jaxtyping import Int
from torch import Tensor, nn

from teachllm.stack.training.documents import attention_within_documents
from teachllm.stack.training.loss import IGNORED, chunked_cross_entropy


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. ValueError names everything that does not fit together.

    steps: updates of the weights. micro_rows: rows that go through the model at a time; a batch of more rows
    is done in pieces whose gradients add up. clip: longest gradient, as one vector over all weights.
    within_documents: no token attends to another document of its row.
    checkpoint_every, keep: steps between two checkpoints, and how many of them stay; 0 for none.
    """

    steps: int
    micro_rows: int
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    within_documents: bool = True
    recompute: bool = False
    checkpoint_every: int = 0
    keep: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least {least}"
            for name, least in (("steps", 1), ("micro_rows", 1), ("checkpoint_every", 0), ("keep", 1))
            if getattr(self, name) < least
        ]
        problems += [
            f"{name} is {getattr(self, name)}; it must be above 0 and finite"
            for name in ("learning_rate", "clip")
            if not 0 < getattr(self, name) < math.inf
        ]
        if problems:
            raise ValueError("this is no way to train: " + "; ".join(problems))


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """What one step was like.

    step: counted from 1. tokens: trained on so far, all processes together. loss: nats a token, before the
    update. gradient_norm: before clipping. matmul_fraction: of the machine's fastest matrix product, None if
    nobody measured it. memory_bytes: of this process, or of its GPU. seconds_left: None at the first step.
    """

    step: int
    tokens: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    matmul_fraction: float | None
    memory_bytes: int
    seconds_left: float | None


class Batch(Protocol):
    """Rows of tokens, the token after each, and the document that each belongs to; see `data.loader`."""

    tokens: Int[Tensor, "row position"]
    targets: Int[Tensor, "row position"]
    document_ids: Int[Tensor, "row position"]


class Loader(Protocol):
    """An endless iterator of batches whose position is part of a checkpoint."""

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class TrainingState:
    """Everything that training changes, and therefore everything that a checkpoint holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: Loader
    step: int = 0
    tokens: int = 0
    recent_losses: list[float] = field(default_factory=list)


def begin(model: nn.Module, loader: Loader, config: TrainingConfig) -> TrainingState:
    """The state before the first step."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
    )
    return TrainingState(model.train(), optimizer, loader)


def train(state: TrainingState, config: TrainingConfig) -> Iterator[StepMetrics]:
    """Steps from where `state` stands to the last one, one for each `next`.

    Between two of them the state is whole: stop there, evaluate, sample, save a checkpoint.
    """
    device = next(state.model.parameters()).device
    while state.step < config.steps:
        begun = time.perf_counter()
        # 1. The next batch, in pieces that fit in memory.
        batch = next(state.loader)
        pieces = list(zip(*(t.to(device).split(config.micro_rows) for t in _tensors(batch)), strict=True))
        n_targets = int((batch.targets != IGNORED).sum())
        # 2. Forward and backward; gradients add up over the pieces.
        loss = torch.zeros((), device=device)
        for tokens, targets, document_ids in pieces:
            with _attention(document_ids, config):
                features = state.model.features(tokens)  # pyright: ignore[reportCallIssue]
                piece_loss = chunked_cross_entropy(features, state.model.head.weight, targets, n_targets)  # pyright: ignore
            piece_loss.backward()
            loss += piece_loss.detach()
        # 3. Clip.
        norm = float(nn.utils.clip_grad_norm_(state.model.parameters(), config.clip))
        # 4. Update.
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.tokens += batch.tokens.numel()
        seconds = time.perf_counter() - begun
        yield StepMetrics(
            step=state.step,
            tokens=state.tokens,
            loss=float(loss),
            learning_rate=config.learning_rate,
            gradient_norm=norm,
            tokens_per_second=batch.tokens.numel() / seconds,
            matmul_fraction=None,
            memory_bytes=psutil.Process().memory_info().rss,
            seconds_left=seconds * (config.steps - state.step),
        )


def _tensors(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.tokens, batch.targets, batch.document_ids


def _attention(document_ids: Tensor, config: TrainingConfig) -> AbstractContextManager[None]:
    return attention_within_documents(document_ids) if config.within_documents else nullcontext()

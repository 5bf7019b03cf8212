"""What the training loop reports. Whoever only reads it, from the log of a run, needs no PyTorch for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """What one step was like.

    step: counted from 1. tokens: that went through the model in all steps so far, padding included.
    loss: of this batch before the update, nats a token. gradient_norm: before clipping. matmul_fraction: of
    the speed of the machine's fastest matrix products, None if that was not given. memory_bytes: of this
    process, or the most that its GPU has held.
    """

    step: int
    tokens: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    matmul_fraction: float | None
    memory_bytes: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Spike:
    """The loss of step `step` lies far above the median of those before it. back_to: the step of the
    checkpoint whose weights the run goes on with, behind the data of the spike; None if it just goes on.
    """

    step: int
    loss: float
    median: float
    back_to: int | None


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint was written."""

    step: int
    folder: Path


TrainingEvent: TypeAlias = StepMetrics | Spike | Saved

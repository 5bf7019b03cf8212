"""How a model is trained: every number that decides it, checked before anything begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from teachllm.stack.training.precision import choose_precision
from teachllm.stack.training.schedules import Schedule, Shape

OptimizerName = Literal["adamw", "muon"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
OnSpike = Literal["report", "rollback"]
Sharing = Literal["ddp", "fsdp"]


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. ValueError names everything that does not fit together.

    steps: updates of the weights. micro_rows: rows that go through the model at a time, in each process; a
    batch of more rows is done in pieces whose gradients add up.
    learning_rate: the peak of the schedule; the rest of it is explained in `schedules.Schedule`.
    clip: the longest gradient, as one vector over all weights.
    precision: of products and activations; "auto" asks `choose_precision`. Weights are always float32.
    within_documents: no token attends to another document of its row.
    recompute: keep only the input of each block, and compute the rest again in the backward pass.
    checkpoint_every: steps from one checkpoint to the next; 0 for one at the end. keep: how many stay.
    spike_threshold: a loss is a spike when it lies so many robust standard deviations above the median of
    those before it; see `watch`. on_spike: only report it, or go back to the last checkpoint and go on with
    the data behind the spike.
    sharing: what several processes do: "ddp" copies the model to each, "fsdp" cuts it into shares.
    """

    steps: int
    micro_rows: int
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 3e-3
    schedule: Shape = "cosine"
    warmup_steps: int = 0
    floor: float = 0.0
    decay_steps: int | None = None
    period: int | None = None
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    precision: PrecisionName = "auto"
    within_documents: bool = True
    recompute: bool = False
    checkpoint_every: int = 0
    keep: int = 2
    spike_threshold: float = 10.0
    on_spike: OnSpike = "report"
    sharing: Sharing = "ddp"

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least {least}"
            for name, least in (("steps", 1), ("micro_rows", 1), ("checkpoint_every", 0), ("keep", 1))
            if getattr(self, name) < least
        ]
        problems += [
            f"{name} is {getattr(self, name)}; it must be above 0"
            for name in ("clip", "spike_threshold")
            if not getattr(self, name) > 0
        ]
        problems += [
            f"{name} is {getattr(self, name)}; it must be at least 0 and below 1"
            for name in ("beta1", "beta2")
            if not 0 <= getattr(self, name) < 1
        ]
        if not 0 <= self.weight_decay < math.inf:
            problems.append(f"weight_decay is {self.weight_decay}; it must be at least 0")
        problems += [
            f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}"
            for name, kind in (
                ("optimizer", OptimizerName),
                ("precision", PrecisionName),
                ("on_spike", OnSpike),
                ("sharing", Sharing),
            )
            if getattr(self, name) not in get_args(kind)
        ]
        if self.on_spike == "rollback" and self.checkpoint_every == 0:
            problems.append("on_spike is rollback, which needs checkpoints: checkpoint_every must be above 0")
        try:
            _ = self.learning_rates
        except ValueError as problem:
            problems.append(str(problem).removeprefix("this is no schedule: "))
        if problems:
            raise ValueError("a model cannot be trained like this: " + "; ".join(problems))

    @property
    def learning_rates(self) -> Schedule:
        """The learning rate of every step, for `lr_at`."""
        return Schedule(
            self.schedule,
            peak=self.learning_rate,
            n_steps=max(self.steps, 1),
            warmup_steps=self.warmup_steps,
            floor=self.floor,
            decay_steps=self.decay_steps,
            period=self.period,
        )

    def compute_dtype(self, device: torch.device | str) -> torch.dtype:
        """The dtype of products and activations on this device."""
        if self.precision == "auto":
            return choose_precision(device).compute_dtype
        return torch.float32 if self.precision == "float32" else torch.bfloat16

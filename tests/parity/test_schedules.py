"""Our schedules beside those of `transformers` and `torch.optim.lr_scheduler`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from torch.optim import lr_scheduler

from teachllm.stack.training import schedules
from teachllm.stack.training.schedules import Schedule, lr_at

pytestmark = pytest.mark.parity

STEPS = 60


def rates(make: Callable[[torch.optim.Optimizer], Any], n_steps: int = STEPS) -> list[float]:
    """The learning rate of each update of an optimizer that begins with 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    got = []
    for _ in range(n_steps):
        got.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings(action="ignore"):  # torch's own, about an argument that it passes itself
            scheduler.step()
    return got


WARM = 10
WITH_WARMUP = {
    "constant": (
        Schedule("constant", 1.0, STEPS, WARM),
        partial(transformers.get_constant_schedule_with_warmup, num_warmup_steps=WARM),
    ),
    "linear": (
        Schedule("linear", 1.0, STEPS, WARM),
        partial(
            transformers.get_linear_schedule_with_warmup, num_warmup_steps=WARM, num_training_steps=STEPS
        ),
    ),
    "cosine": (
        Schedule("cosine", 1.0, STEPS, WARM, floor=0.1),
        partial(
            transformers.get_cosine_with_min_lr_schedule_with_warmup,
            num_warmup_steps=WARM,
            num_training_steps=STEPS,
            min_lr_rate=0.1,
        ),
    ),
    "wsd": (
        Schedule("wsd", 1.0, STEPS, WARM, floor=0.1, decay_steps=20),
        partial(
            transformers.get_wsd_schedule,
            num_warmup_steps=WARM,
            num_decay_steps=20,
            num_training_steps=STEPS,
            decay_type="1-sqrt",
            min_lr_ratio=0.1,
        ),
    ),
    "inverse_square_root": (
        Schedule("inverse_square_root", 1.0, STEPS, WARM),
        partial(transformers.get_inverse_sqrt_schedule, num_warmup_steps=WARM),
    ),
}


@pytest.mark.parametrize("name", WITH_WARMUP)
def test_schedules_of_transformers(name: str) -> None:
    schedule, theirs = WITH_WARMUP[name]
    expected = rates(theirs)
    got = [lr_at(step, schedule) for step in range(STEPS)]
    assert got[WARM:] == pytest.approx(expected[WARM:], rel=1e-12)
    # In the warm-up they are one step behind, and make the first update with a rate of 0 (or the floor).
    if schedule.floor == 0:
        assert got[: WARM - 1] == pytest.approx(expected[1:WARM], rel=1e-12)
    assert got[0] == pytest.approx(1 / WARM)


OLDER = {
    "exponential": (
        lambda step: schedules.exponential(step, 0.9, every=1),
        partial(lr_scheduler.ExponentialLR, gamma=0.9),
    ),
    "staircase": (
        lambda step: schedules.exponential(step, 0.5, every=7, staircase=True),
        partial(lr_scheduler.StepLR, step_size=7, gamma=0.5),
    ),
    "piecewise": (
        lambda step: schedules.piecewise(step, [5, 30], [1.0, 0.1, 0.01]),
        partial(lr_scheduler.MultiStepLR, milestones=[5, 30], gamma=0.1),
    ),
    "polynomial": (
        lambda step: schedules.polynomial(step, 40, power=2.0),
        partial(lr_scheduler.PolynomialLR, total_iters=40, power=2.0),
    ),
    "cyclic": (
        # theirs begins at the bottom
        lambda step: schedules.cyclic(step + 8, period=16, floor=0.2),
        partial(lr_scheduler.CyclicLR, base_lr=0.2, max_lr=1.0, step_size_up=8, cycle_momentum=False),
    ),
    "restarts": (
        lambda step: schedules.cosine_restarts(step, 8, growth=2, floor=0.1),
        partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=8, T_mult=2, eta_min=0.1),
    ),
}


@pytest.mark.parametrize("name", OLDER)
def test_schedules_of_torch(name: str) -> None:
    ours, theirs = OLDER[name]
    assert [ours(step) for step in range(STEPS)] == pytest.approx(rates(theirs), abs=1e-12)

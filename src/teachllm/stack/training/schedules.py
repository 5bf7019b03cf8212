"""Learning rates over time: which share of its peak the learning rate has at each step.

Every shape is a function of the step (0 is the first) that returns a factor, 1 at the peak. `Schedule` is
what a recipe chooses: one of the shapes that language models are trained with, behind a warm-up.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Shape = Literal["constant", "linear", "cosine", "wsd", "inverse_square_root", "cyclic"]


@dataclass(frozen=True)
class Schedule:
    """What `lr_at` computes. ValueError names everything that does not fit together.

    peak: the largest learning rate. n_steps: length of the whole run, warm-up included.
    floor: a share of the peak; what is left at the end (linear, cosine, wsd) or at the low points (cyclic).
    decay_steps: how many steps the decay at the end of wsd takes. period: steps from one peak of a cyclic
    schedule to the next.
    """

    shape: Shape
    peak: float
    n_steps: int
    warmup_steps: int = 0
    floor: float = 0.0
    decay_steps: int | None = None
    period: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.shape not in get_args(Shape):
            problems.append(f"shape is {self.shape!r}; there are {', '.join(get_args(Shape))}")
        if not 0 < self.peak < math.inf:
            problems.append(f"peak is {self.peak}; it must be above 0 and finite")
        if self.n_steps < 1:
            problems.append(f"n_steps is {self.n_steps}; it must be at least 1")
        if not 0 <= self.warmup_steps <= max(0, self.n_steps):
            problems.append(f"warmup_steps is {self.warmup_steps}; it must be 0 to n_steps = {self.n_steps}")
        if not 0 <= self.floor <= 1:
            problems.append(f"floor is {self.floor}; it is a share of the peak, 0 to 1")
        elif self.floor and self.shape in ("constant", "inverse_square_root"):
            problems.append(f"floor is {self.floor}, but {self.shape} has none; leave it out")
        for name, needed_by in (("decay_steps", "wsd"), ("period", "cyclic")):
            given = getattr(self, name)
            if self.shape == needed_by and (given is None or given < 1):
                problems.append(f"{name} is {given}; {needed_by} needs at least 1")
            if self.shape != needed_by and given is not None:
                problems.append(f"{name} is {given}, but only {needed_by} has one; leave it out")
        if self.shape == "wsd" and self.warmup_steps + (self.decay_steps or 0) > self.n_steps:
            problems.append(
                f"warmup_steps + decay_steps is {self.warmup_steps + (self.decay_steps or 0)}, "
                f"more than n_steps = {self.n_steps}"
            )
        if self.shape == "inverse_square_root" and self.warmup_steps < 1:
            problems.append(
                "inverse_square_root decays as √(warmup_steps / step): warmup_steps must be above 0"
            )
        if problems:
            raise ValueError("this is no schedule: " + "; ".join(problems))


def lr_at(step: int, schedule: Schedule) -> float:
    """The learning rate of update number `step`, counted from 0.

    It rises in a line through the warm-up and reaches the peak with its last step; the first update has a
    rate above 0. Then the shape begins. Steps after the last one keep the last value of the shape.
    """
    if step < schedule.warmup_steps:
        return schedule.peak * (step + 1) / schedule.warmup_steps
    after, length = step - schedule.warmup_steps, schedule.n_steps - schedule.warmup_steps
    match schedule.shape:
        case "constant":
            factor = 1.0
        case "linear":
            factor = linear(after, length, schedule.floor)
        case "cosine":
            factor = cosine(after, length, schedule.floor)
        case "wsd":
            factor = wsd(after, length, schedule.decay_steps or 1, schedule.floor)
        case "inverse_square_root":
            factor = inverse_square_root(step, schedule.warmup_steps)
        case "cyclic":
            factor = cyclic(after, schedule.period or 1, schedule.floor)
    return schedule.peak * factor


# What language models are trained with -----------------------------------------------------------------


def linear(step: int, n_steps: int, floor: float = 0.0) -> float:
    """A straight line from 1 to `floor`, reached after n_steps."""
    return 1 + (floor - 1) * _progress(step, n_steps)


def cosine(step: int, n_steps: int, floor: float = 0.0) -> float:
    """floor + (1 - floor) · (1 + cos(π · step / n_steps)) / 2: slow, fast, slow.

    Loshchilov & Hutter 2016, arXiv:1608.03983, equation 5, without restarts.
    """
    return floor + (1 - floor) * (1 + math.cos(math.pi * _progress(step, n_steps))) / 2


def wsd(step: int, n_steps: int, decay_steps: int, floor: float = 0.0) -> float:
    """Warm-up, stable, decay: 1 until decay_steps before the end, then 1 - √(share of the decay).

    The stable part does not know how long the run is: it can go on, and any point of it can be decayed from.
    Hu et al. 2024, arXiv:2404.06395, section 4 (the shape); Hägele et al. 2024, arXiv:2405.18392 (the root).
    """
    share = _progress(step - (n_steps - decay_steps), decay_steps)
    return 1 - (1 - floor) * math.sqrt(share)


def inverse_square_root(step: int, warmup_steps: int) -> float:
    """√(warmup_steps / step), counted from the beginning of the run: needs no end.

    Vaswani et al. 2017, arXiv:1706.03762, section 5.3.
    """
    return math.sqrt(warmup_steps / max(step, warmup_steps))


def cyclic(step: int, period: int, floor: float = 0.0) -> float:
    """A triangle: from 1 down to `floor` in half a period, and up again. Smith 2015, arXiv:1506.01186."""
    position = step % period / period
    return floor + (1 - floor) * abs(1 - 2 * position)


def cosine_restarts(step: int, period: int, growth: int = 1, floor: float = 0.0) -> float:
    """Cosines one after another, each `growth` times as long as the one before.

    Loshchilov & Hutter 2016, arXiv:1608.03983 (SGDR).
    """
    while step >= period:
        step, period = step - period, period * growth
    return cosine(step, period, floor)


# Older decays, which do not depend on the length of the run --------------------------------------------


def piecewise(step: int, boundaries: Sequence[int], factors: Sequence[float]) -> float:
    """factors[i] between boundaries[i - 1] and boundaries[i]; a boundary belongs to what follows it.

    ValueError unless boundaries rise and there is one factor more.
    """
    if len(factors) != len(boundaries) + 1 or list(boundaries) != sorted(set(boundaries)):
        raise ValueError(
            f"boundaries {list(boundaries)} must rise, and need {len(boundaries) + 1} factors, "
            f"not {len(factors)}"
        )
    return factors[bisect_right(boundaries, step)]


def exponential(step: int, rate: float, every: int, staircase: bool = False) -> float:
    """rate^(step / every); as a staircase the exponent is rounded down, so that it falls once every `every`.

    With rate = 1/e it is called natural exponential decay: another base, the same family.
    """
    return rate ** (step // every if staircase else step / every)


def inverse_time(step: int, rate: float, every: int, staircase: bool = False) -> float:
    """1 / (1 + rate · step / every): a hyperbola, which falls slower than any exponential."""
    return 1 / (1 + rate * (step // every if staircase else step / every))


def polynomial(step: int, n_steps: int, power: float, floor: float = 0.0, cycle: bool = False) -> float:
    """floor + (1 - floor) · (1 - step / n_steps)^power.

    cycle: instead of staying at the floor, the end moves on to the next multiple of n_steps, and the rate
    jumps up to where the longer curve is.
    """
    if cycle:
        n_steps *= max(1, math.ceil(step / n_steps))
    return floor + (1 - floor) * (1 - _progress(step, n_steps)) ** power


def linear_cosine(
    step: int, n_steps: int, waves: float = 0.5, lift: float = 0.0, floor: float = 0.001
) -> float:
    """(lift + 1 - step / n_steps) · (1 + cos(2π · waves · step / n_steps)) / 2 + floor: a cosine that leans.

    Bello et al. 2017, arXiv:1709.07417, found by search.
    """
    progress = _progress(step, n_steps)
    return (lift + 1 - progress) * (1 + math.cos(2 * math.pi * waves * progress)) / 2 + floor


def noisy_linear_cosine(
    step: int,
    n_steps: int,
    seed: int,
    waves: float = 0.5,
    lift: float = 0.0,
    floor: float = 0.001,
    spread: float = 1.0,
    spread_decay: float = 0.55,
) -> float:
    """`linear_cosine` with normal noise of variance spread / (1 + step)^spread_decay added to its line.

    The noise depends on seed and step alone, so that any step can be asked for first.
    """
    progress = _progress(step, n_steps)
    noise = random.Random(f"{seed} {step}").gauss(0, math.sqrt(spread / (1 + step) ** spread_decay))
    wave = (1 + math.cos(2 * math.pi * waves * progress)) / 2
    return (lift + 1 - progress + noise) * wave + floor


def _progress(step: int, n_steps: int) -> float:
    return min(1.0, max(0.0, step / n_steps)) if n_steps else 1.0

"""From measured steps to a device: shares of peak and bandwidth that are reached, and what is paid anyway."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from teachllm.stack.inference.simulation.cost import Piece, StepTimes, Work


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """What a step computed, and how long it took."""

    pieces: tuple[Piece, ...]
    n_sampled: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The cost whose device fits the steps best, and how well: |predicted / measured − 1|, step by step."""

    cost: StepTimes
    errors: tuple[float, ...]

    @property
    def mean_error(self) -> float:
        return sum(self.errors) / len(self.errors)

    @property
    def largest_error(self) -> float:
        return max(self.errors)

    def __str__(self) -> str:
        device = self.cost.device
        return (
            f"{device.name}: {device.reached_peak / 1e12:.3g} TFLOP/s "
            f"({device.compute_share:.0%} of the peak), "
            f"{device.reached_bandwidth / 1e9:.3g} GB/s ({device.bandwidth_share:.0%}), "
            f"{device.overhead * 1e3:.3g} ms a step; error {self.mean_error:.1%} on average, "
            f"{self.largest_error:.1%} at most, over {len(self.errors)} steps"
        )


def calibrate(cost: StepTimes, steps: Sequence[MeasuredStep]) -> Calibration:
    """Least squares of the relative error over compute_share, bandwidth_share and overhead.

    If it were known what binds each part of each step, arithmetic or traffic, the time would be linear in
    1 / peak, 1 / bandwidth and overhead. So guess, solve, see what binds now, and solve again until nothing
    changes; begin from several guesses and keep the best. Shares may exceed 1 where the data sheet is wrong
    or a cache helps; the error, not the shares, says how good the model is.
    ValueError if there are fewer than 4 steps (3 numbers are fitted), the device is parallel, or the steps do
    not tell arithmetic and traffic apart.
    """
    if len(steps) < 4 or cost.n_devices > 1:
        raise ValueError(
            f"{len(steps)} steps on {cost.n_devices} devices: give at least 4, measured on a single one"
        )
    works = [cost.work(step.pieces, step.n_sampled) for step in steps]
    measured = np.array([step.seconds for step in steps])
    fits = [
        fit
        for balance in np.geomspace(1, 1000, 13)  # operations a byte from which arithmetic binds
        if (fit := _fit_from(cost, works, measured, balance)) is not None
    ]
    if not fits:
        raise ValueError(
            "these steps do not tell arithmetic and traffic apart; measure prefills of hundreds of tokens, "
            "and decoding of a few texts"
        )

    def errors(fitted: StepTimes) -> np.ndarray:
        predicted = [fitted.seconds(step.pieces, step.n_sampled) for step in steps]
        return np.abs(np.array(predicted) / measured - 1)

    best = min(fits, key=lambda fitted: float((errors(fitted) ** 2).sum()))
    return Calibration(best, tuple(errors(best).tolist()))


def _fit_from(cost: StepTimes, works: list[Work], measured: np.ndarray, balance: float) -> StepTimes | None:
    """The fixpoint that is reached from `balance`; None if there is none."""
    device = cost.device
    for _ in range(20):
        rows = np.array([_linear(work, balance) for work in works])
        per_flop, per_byte, overhead = _nonnegative_least_squares(rows / measured[:, None])
        if per_flop <= 0 or per_byte <= 0:
            return None
        device = replace(
            cost.device,
            compute_share=float(1 / per_flop / cost.device.peak),
            bandwidth_share=float(1 / per_byte / cost.device.bandwidth),
            overhead=float(overhead),
        )
        if np.isclose(per_byte / per_flop, balance, rtol=1e-6):
            break
        balance = per_byte / per_flop
    return replace(cost, device=device)


def _linear(work: Work, balance: float) -> tuple[float, float, float]:
    """(operations, bytes, 1): of each part of a step only what binds it."""
    flops, n_bytes = 0.0, 0.0
    for operations, traffic in ((work.matrix_flops, work.weight_bytes), *work.attention):
        if operations > traffic * balance:
            flops += operations
        else:
            n_bytes += traffic
    return flops, n_bytes, 1.0


def _nonnegative_least_squares(rows: np.ndarray) -> np.ndarray:
    """The x ≥ 0 with the least ‖rows · x − 1‖: of all choices of what is 0, the best that is feasible."""
    n = rows.shape[1]
    best, least = np.zeros(n), np.inf
    scale = np.abs(rows).max(axis=0)
    scale[scale == 0] = 1
    for size in range(1, n + 1):
        for used in itertools.combinations(range(n), size):
            part, *_ = np.linalg.lstsq((rows / scale)[:, used], np.ones(len(rows)), rcond=None)
            x = np.zeros(n)
            x[list(used)] = part
            error = np.linalg.norm((rows / scale) @ x - 1)
            if (x >= 0).all() and error < least:
                best, least = x / scale, error
    return best

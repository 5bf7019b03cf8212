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
    """The times whose device fits the steps best, and how well: |predicted / measured − 1|, step by step."""

    times: StepTimes
    errors: tuple[float, ...]

    @property
    def mean_error(self) -> float:
        return sum(self.errors) / len(self.errors)

    @property
    def largest_error(self) -> float:
        return max(self.errors)

    def __str__(self) -> str:
        device = self.times.device
        return (
            f"{device.name}: {device.reached_peak / 1e12:.3g} TFLOP/s "
            f"({device.compute_share:.0%} of the peak), "
            f"{device.reached_bandwidth / 1e9:.3g} GB/s ({device.bandwidth_share:.0%}), "
            f"{device.overlap:.0%} overlap, {device.overhead * 1e3:.3g} ms a step; "
            f"error {self.mean_error:.1%} on average, "
            f"{self.largest_error:.1%} at most, over {len(self.errors)} steps"
        )


def calibrate(times: StepTimes, steps: Sequence[MeasuredStep]) -> Calibration:
    """Least squares of the relative error over compute_share, bandwidth_share, overlap and overhead.

    If it were known what binds each part of each step, arithmetic or traffic, and how much the two overlap,
    the time would be linear in 1 / peak, 1 / bandwidth and overhead. So guess, solve, see what binds now, and
    solve again until nothing changes; begin from several guesses and keep the best. No share exceeds 1.
    Measure on a quiet machine: what others slow down is no share of anything.
    ValueError if there are fewer than 5 steps (4 numbers are fitted), the device is parallel, or all steps
    are bound by the same.
    """
    if len(steps) < 5 or times.n_devices > 1:
        raise ValueError(
            f"{len(steps)} steps on {times.n_devices} devices: give at least 5, measured on a single one"
        )
    works = [times.work(step.pieces, step.n_sampled) for step in steps]
    measured = np.array([step.seconds for step in steps])

    def errors(fitted: StepTimes) -> np.ndarray:
        predicted = [fitted.seconds(step.pieces, step.n_sampled) for step in steps]
        return np.abs(np.array(predicted) / measured - 1)

    best = min(
        (
            _fit_from(times, works, measured, balance, overlap)
            for balance in np.geomspace(1, 1000, 7)  # operations a byte from which arithmetic binds
            for overlap in np.linspace(0, 1, 11)
        ),
        key=lambda fitted: float((errors(fitted) ** 2).sum()),
    )
    balance = best.device.reached_peak / best.device.reached_bandwidth
    if len({work.matrix_flops > balance * work.weight_bytes for work in works}) < 2:
        raise ValueError(
            "these steps do not tell arithmetic and traffic apart; measure prefills of hundreds of tokens, "
            "and decoding of a few texts"
        )
    return Calibration(best, tuple(errors(best).tolist()))


def _fit_from(
    times: StepTimes, works: list[Work], measured: np.ndarray, balance: float, overlap: float
) -> StepTimes:
    """The fixpoint that is reached from `balance`."""
    device = times.device
    least = np.array([1 / device.peak, 1 / device.bandwidth, 0.0])
    for _ in range(20):
        rows = np.array([_linear(work, balance, overlap) for work in works])
        per_flop, per_byte, overhead = _bounded_least_squares(rows / measured[:, None], least)
        device = replace(
            device,
            compute_share=float(1 / per_flop / device.peak),
            bandwidth_share=float(1 / per_byte / device.bandwidth),
            overlap=float(overlap),
            overhead=float(overhead),
        )
        if np.isclose(per_byte / per_flop, balance, rtol=1e-6):
            break
        balance = per_byte / per_flop
    return replace(times, device=device)


def _linear(work: Work, balance: float, overlap: float) -> tuple[float, float, float]:
    """(operations, bytes, 1): of each part of a step all of what binds it, and of the other what is not
    hidden.
    """
    flops, n_bytes = 0.0, 0.0
    for operations, traffic in ((work.matrix_flops, work.weight_bytes), *work.attention):
        bound = operations > traffic * balance
        flops += operations * (1 if bound else 1 - overlap)
        n_bytes += traffic * (1 - overlap if bound else 1)
    return flops, n_bytes, 1.0


def _bounded_least_squares(rows: np.ndarray, least: np.ndarray) -> np.ndarray:
    """The x ≥ `least` with the least ‖rows · x − 1‖: of all choices of what lies at its bound, the best."""
    target = 1 - rows @ least
    n = rows.shape[1]
    scale = np.abs(rows).max(axis=0)
    scale[scale == 0] = 1
    best, error = np.zeros(n), float(np.linalg.norm(target))
    for size in range(1, n + 1):
        for used in itertools.combinations(range(n), size):
            part, *_ = np.linalg.lstsq((rows / scale)[:, used], target, rcond=None)
            x = np.zeros(n)
            x[list(used)] = part / scale[list(used)]
            distance = float(np.linalg.norm(rows @ x - target))
            if (x >= 0).all() and distance < error:
                best, error = x, distance
    return least + best

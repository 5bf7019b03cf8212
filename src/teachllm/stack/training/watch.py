"""Watching a run: a loss that is no number, and a loss that jumps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

WINDOW = 64  # losses that a new one is compared with
LEAST = 16  # so many are needed before a jump can be told from noise
SMALLEST_SHARE = 0.01  # of the median: what counts as ordinary noise even after very even losses


class TrainingDiverged(RuntimeError):
    """The loss or its gradient is no number any more, or training falls back again and again.

    step: the update that was not made. checkpoint: where the run can be continued from, if anywhere.
    """

    def __init__(self, message: str, step: int, checkpoint: Path | None) -> None:
        super().__init__(message)
        self.step, self.checkpoint = step, checkpoint


def robust_deviation(value: float, recent: Sequence[float]) -> float:
    """How many standard deviations `value` lies above the median of `recent`: at least two of them.

    (value - median) / σ with σ = 1.4826 · MAD(Δ) / √2, where Δ are the differences of neighbours and MAD is
    the median distance from the median: for normal noise that is its standard deviation. Medians, because a
    mean would be moved by the very spikes that are looked for; differences, because the slow fall of the loss
    would count as noise otherwise. σ counts as at least 1% of the median.
    """
    middle = median(recent)
    differences = [after - before for before, after in pairwise(recent)]
    usual = median(differences)
    sigma = 1.4826 * median(abs(x - usual) for x in differences) / math.sqrt(2)
    return (value - middle) / max(sigma, SMALLEST_SHARE * abs(middle), 1e-12)


def is_spike(loss: float, recent: Sequence[float], threshold: float) -> bool:
    """Whether `loss` lies more than `threshold` robust deviations above the last `WINDOW` of `recent`.

    Never before there are `LEAST` of them.
    """
    window = recent[-WINDOW:]
    return len(window) >= LEAST and robust_deviation(loss, window) > threshold


def check_finite(
    loss: float, gradient_norm: float, step: int, learning_rate: float, checkpoint: Path | None
) -> None:
    """`TrainingDiverged`, saying what can be done, if the loss or the gradient is infinite or no number.

    To be called before the update, so that the weights are still good.
    """
    if math.isfinite(loss) and math.isfinite(gradient_norm):
        return
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's length is {gradient_norm}"
    where = (
        f"The last checkpoint is {checkpoint}."
        if checkpoint is not None
        else "There is no checkpoint to go back to."
    )
    raise TrainingDiverged(
        f"at step {step} {what}; the update was not made. {where} Usual causes, most frequent first: the "
        f"learning rate is too high (it is {learning_rate:.2g} at this step: try a third of it, or a longer "
        "warm-up); a batch of broken data (look at its documents); gradients that are not clipped tightly "
        "enough (try a smaller clip). Continue from the checkpoint with other settings.",
        step,
        checkpoint,
    )

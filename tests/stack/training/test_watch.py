"""A jump of the loss is told from its noise and from its fall."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from teachllm.stack.training.watch import LEAST, TrainingDiverged, check_finite, is_spike, robust_deviation


def noisy(mean: float, deviation: float, n: int, seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(mean, deviation) for _ in range(n)]


def test_for_normal_noise_it_is_the_standard_deviation() -> None:
    recent = noisy(3.0, 0.2, 4001)
    assert robust_deviation(4.0, recent) == pytest.approx(5.0, rel=0.05)
    assert robust_deviation(2.8, recent) == pytest.approx(-1.0, rel=0.1)


def test_earlier_spikes_do_not_hide_a_new_one() -> None:
    recent = noisy(3.0, 0.1, 64)
    clean = robust_deviation(4.0, recent)
    recent[20] = recent[40] = recent[41] = 50.0
    assert robust_deviation(4.0, recent) == pytest.approx(clean, rel=0.25)


def test_the_fall_of_the_loss_is_no_noise() -> None:
    falling = [6 - 0.05 * i + x for i, x in enumerate(noisy(0, 0.05, 64))]
    assert not is_spike(falling[-1] + 0.2, falling, 10)
    assert is_spike(max(falling) + 0.5, falling, 10)


def test_ordinary_noise_is_no_spike() -> None:
    losses = noisy(3.0, 0.15, 3000, seed=1)
    assert not any(is_spike(losses[i], losses[:i], 8) for i in range(1, len(losses)))


def test_very_even_losses_do_not_make_a_spike_of_nothing() -> None:
    assert not is_spike(2.1, [2.0] * 64, 10)  # 5% above
    assert is_spike(2.3, [2.0] * 64, 10)


def test_too_few_losses_say_nothing() -> None:
    assert not is_spike(100.0, [2.0] * (LEAST - 1), 10)
    assert is_spike(100.0, [2.0] * LEAST, 10)


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (2.0, math.inf)]
)
def test_what_is_no_number_is_said_with_what_to_do(loss: float, norm: float) -> None:
    check_finite(2.0, 1.0, 7, 3e-3, None)
    with pytest.raises(TrainingDiverged, match=r"at step 7 .* run/step-5\. .*it is 0\.003 at this step"):
        check_finite(loss, norm, 7, 3e-3, Path("run/step-5"))

"""Scaling laws: planted constants come back, and the closed form agrees with a search."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from teachllm.stack.training.scaling_laws import (
    CHINCHILLA,
    CHINCHILLA_REFITTED,
    MixtureLaw,
    ScalingLaw,
    best_ratio,
    compute_optimal,
    fit_mixture_law,
    fit_scaling_law,
    iso_flop,
)

LARGE = [(n, d) for n in (7e7, 3e8, 1e9, 4e9, 1.6e10) for d in (5e9, 2e10, 1e11, 5e11)]
TINY = [(n, d) for n in (2e4, 5e4, 1e5, 2e5) for d in (5e4, 1e5, 2e5, 4e5)]


def constants(law: ScalingLaw) -> list[float]:
    return [law.E, law.A, law.B, law.alpha, law.beta]


@pytest.mark.parametrize(
    ("law", "runs"),
    [(CHINCHILLA, LARGE), (CHINCHILLA_REFITTED, LARGE), (ScalingLaw(1.2, 30.0, 90.0, 0.3, 0.4), TINY)],
)
def test_planted_constants_come_back(law: ScalingLaw, runs: list[tuple[float, float]]) -> None:
    found = fit_scaling_law(*zip(*runs, strict=True), [law.loss(*run) for run in runs])
    assert constants(found) == pytest.approx(constants(law), rel=1e-4)


def test_a_run_that_went_wrong_bends_nothing() -> None:
    losses = [CHINCHILLA.loss(*run) for run in LARGE]
    losses[7] *= 1.5
    found = fit_scaling_law(*zip(*LARGE, strict=True), losses)
    assert found.alpha == pytest.approx(CHINCHILLA.alpha, abs=0.01)
    assert found.beta == pytest.approx(CHINCHILLA.beta, abs=0.01)
    squared = fit_scaling_law(*zip(*LARGE, strict=True), losses, delta=10.0)
    assert abs(squared.alpha - CHINCHILLA.alpha) > 0.03


def test_noise_of_a_thousandth_leaves_the_prediction_right() -> None:
    random_numbers = random.Random(0)
    losses = [CHINCHILLA.loss(*run) * math.exp(random_numbers.gauss(0, 1e-3)) for run in LARGE]
    found = fit_scaling_law(*zip(*LARGE, strict=True), losses)
    assert found.loss(7e10, 1.4e12) == pytest.approx(CHINCHILLA.loss(7e10, 1.4e12), rel=5e-3)


@pytest.mark.parametrize("law", [CHINCHILLA, CHINCHILLA_REFITTED])
@pytest.mark.parametrize("flops", [1e18, 5.76e23])
def test_closed_form_agrees_with_a_grid(law: ScalingLaw, flops: float) -> None:
    grid = np.geomspace(1e6, 1e14, 80_001)
    losses = [loss for _, loss in iso_flop(law, flops, grid.tolist())]
    parameters, tokens = law.optimal(flops)
    assert parameters == pytest.approx(grid[int(np.argmin(losses))], rel=1e-3)
    assert 6 * parameters * tokens == pytest.approx(flops)


def test_the_optimum_grows_with_the_other_exponent() -> None:
    (n, d), (n10, d10) = CHINCHILLA.optimal(1e21), CHINCHILLA.optimal(1e22)
    assert math.log10(n10 / n) == pytest.approx(0.28 / 0.62)
    assert math.log10(d10 / d) == pytest.approx(0.34 / 0.62)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="flops = 0"):
        compute_optimal(0, 1, 1, 0.3, 0.3)
    with pytest.raises(ValueError, match="4 runs cannot fix five"):
        fit_scaling_law([1, 2, 3, 4], [1, 2, 3, 4], [4, 3, 2, 1])
    with pytest.raises(ValueError, match="losses must be above 0"):
        fit_scaling_law([1] * 5, [1] * 5, [4, 3, 2, 1, math.nan])
    with pytest.raises(ValueError, match="'tokens': 2"):
        fit_scaling_law([1] * 5, [1] * 2, [1] * 5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit_mixture_law([1e4] * 7, [0.5] * 6 + [50], [3.0] * 7)


MIXTURE = MixtureLaw(E=1.0, B=20.0, C=0.5, beta=0.3, eta=0.5, gamma=0.4, epsilon=0.1)


def test_a_planted_mixture_law_comes_back() -> None:
    runs = [(d, r) for d in (1e4, 4e4, 1.6e5, 6e5) for r in (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)]
    found = fit_mixture_law(*zip(*runs, strict=True), [MIXTURE.loss(*run) for run in runs])
    for tokens in (2e4, 1e6):
        for share in (0.07, 0.6):
            assert found.loss(tokens, share) == pytest.approx(MIXTURE.loss(tokens, share), rel=1e-6)


def test_best_ratio_takes_what_general_ability_bears() -> None:
    def domain(share: float) -> float:
        return 3 - share

    def general(share: float) -> float:
        return 2 + 0.4 * (1 - share)

    shares = [i / 100 for i in range(5, 96)]
    assert best_ratio(domain, general, 2.0, 0.1, shares) == pytest.approx(0.49)  # 0.5 is not below
    assert best_ratio(domain, general, 2.0, 0.5, shares) == pytest.approx(0.95)
    assert best_ratio(domain, general, 1.0, 0.1, shares) is None

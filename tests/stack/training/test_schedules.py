"""Values at the corners of each schedule, and what a wrong one says."""

from __future__ import annotations

import math

import pytest

from teachllm.stack.training import schedules
from teachllm.stack.training.schedules import Schedule, lr_at


def test_warmup_rises_in_a_line_and_wastes_no_step() -> None:
    schedule = Schedule("constant", peak=0.4, n_steps=10, warmup_steps=4)
    assert [lr_at(step, schedule) for step in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert lr_at(0, Schedule("constant", peak=0.4, n_steps=10)) == 0.4


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_decays_from_peak_to_floor(shape: schedules.Shape) -> None:
    schedule = Schedule(shape, peak=2.0, n_steps=110, warmup_steps=10, floor=0.1)
    assert lr_at(10, schedule) == 2.0
    assert lr_at(60, schedule) == pytest.approx(2.0 * 0.55)
    assert lr_at(109, schedule) > lr_at(110, schedule) == pytest.approx(0.2)
    assert lr_at(10_000, schedule) == pytest.approx(0.2)
    rates = [lr_at(step, schedule) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)


def test_cosine_is_slow_at_both_ends() -> None:
    falls = [schedules.cosine(step, 100) - schedules.cosine(step + 1, 100) for step in (0, 49, 99)]
    assert falls[1] > 50 * falls[0]
    assert falls[0] == pytest.approx(falls[2])


def test_wsd_does_not_know_its_length_before_the_decay() -> None:
    short, long = (Schedule("wsd", 1.0, n, warmup_steps=10, decay_steps=20) for n in (100, 1000))
    assert [lr_at(step, short) for step in range(80)] == [lr_at(step, long) for step in range(80)]
    assert lr_at(80, short) == 1.0
    assert lr_at(85, short) == pytest.approx(1 - math.sqrt(0.25))
    assert lr_at(100, short) == 0.0
    assert lr_at(980, long) == 1.0


def test_inverse_square_root_meets_its_warmup() -> None:
    schedule = Schedule("inverse_square_root", 1.0, 1000, warmup_steps=25)
    assert lr_at(24, schedule) == 1.0
    assert lr_at(100, schedule) == pytest.approx(0.5)
    assert lr_at(400, schedule) == pytest.approx(0.25)


def test_cyclic_and_restarts_return_to_the_peak() -> None:
    schedule = Schedule("cyclic", 1.0, 100, floor=0.2, period=10)
    assert [lr_at(step, schedule) for step in (0, 5, 10, 15)] == pytest.approx([1.0, 0.2, 1.0, 0.2])
    assert [schedules.cosine_restarts(step, 10, growth=2) for step in (0, 5, 10, 20, 30)] == pytest.approx(
        [1.0, 0.5, 1.0, 0.5, 1.0]
    )


def test_polynomial_with_cycle_jumps_up_at_the_end_and_not_at_zero() -> None:
    def at(step: int) -> float:
        return schedules.polynomial(step, 100, power=1.0, floor=0.1, cycle=True)

    assert at(0) == 1.0
    assert at(100) == pytest.approx(0.1)
    assert at(101) == pytest.approx(0.1 + 0.9 * (1 - 101 / 200))
    assert schedules.polynomial(101, 100, power=1.0, floor=0.1) == pytest.approx(0.1)


def test_staircases_fall_at_once() -> None:
    assert [schedules.exponential(step, 0.5, 10, staircase=True) for step in (9, 10, 19)] == [1.0, 0.5, 0.5]
    assert schedules.exponential(5, 0.5, 10) == pytest.approx(math.sqrt(0.5))
    assert [schedules.inverse_time(step, 1.0, 10, staircase=True) for step in (9, 10, 20)] == [
        1,
        1 / 2,
        1 / 3,
    ]
    assert schedules.exponential(30, 1 / math.e, 10) == pytest.approx(math.exp(-3))


def test_a_boundary_belongs_to_what_follows() -> None:
    assert [schedules.piecewise(step, [10, 20], [1, 0.1, 0.01]) for step in (9, 10, 19, 20)] == [
        1,
        0.1,
        0.1,
        0.01,
    ]
    for boundaries, factors in (([20, 10], [1, 2, 3]), ([10, 10], [1, 2, 3]), ([10], [1])):
        with pytest.raises(ValueError, match="must rise"):
            schedules.piecewise(0, boundaries, factors)


def test_linear_cosine_and_its_noise() -> None:
    assert schedules.linear_cosine(0, 100) == pytest.approx(1.001)
    assert schedules.linear_cosine(50, 100) == pytest.approx(0.5 * 0.5 + 0.001)
    noisy = [schedules.noisy_linear_cosine(step, 100, seed=1) for step in range(100)]
    assert noisy == [schedules.noisy_linear_cosine(step, 100, seed=1) for step in range(100)]
    assert noisy != [schedules.noisy_linear_cosine(step, 100, seed=2) for step in range(100)]
    quiet = [schedules.noisy_linear_cosine(step, 100, seed=1, spread=0.0) for step in range(100)]
    assert quiet == pytest.approx([schedules.linear_cosine(step, 100) for step in range(100)])


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="this is no schedule") as problem:
        Schedule("cosine", peak=-1.0, n_steps=5, warmup_steps=9, floor=2.0, period=3)
    said = str(problem.value)
    for part in ("peak is -1.0", "warmup_steps is 9", "floor is 2.0", "period is 3, but only cyclic"):
        assert part in said
    for wrong, part in (
        ({"shape": "cubic"}, "there are constant, linear"),
        ({"shape": "wsd"}, "wsd needs at least 1"),
        ({"shape": "wsd", "decay_steps": 95, "warmup_steps": 10}, "more than n_steps = 100"),
        ({"shape": "constant", "floor": 0.1}, "constant has none"),
        ({"shape": "inverse_square_root"}, "warmup_steps must be above 0"),
        ({"shape": "cyclic", "period": 0}, "period is 0"),
    ):
        with pytest.raises(ValueError, match=part):
            Schedule(peak=1.0, n_steps=100, **wrong)

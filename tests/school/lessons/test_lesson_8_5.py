"""Lesson 8.5: its pictures are plans of the real scheduler, and say what the text says."""

from __future__ import annotations

import json

import pytest

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("8.5")


@pytest.fixture(scope="module")
def real_model(lesson):
    try:
        asset(CHAT_MODEL)
    except AssetMissing as missing:
        pytest.skip(str(missing))


def evaluate(lesson, called: str, /, **arguments):
    return lesson.values[called].evaluate(arguments)


def charts(lesson, name: str, **arguments) -> list[dict]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


def shown(lesson, lab: str, name: str, **arguments) -> dict:
    """The last chart of that name that the lab showed."""
    events = list(lesson.labs[lab].run(arguments, "en"))
    assert not [event for event in events if event["event"] == "error"]
    json.dumps(events)  # as they are sent to the page
    return [event for event in events if event["event"] == "show" and event["name"] == name][-1]["chart"]


def test_the_example_is_what_can_be_counted_by_hand(lesson) -> None:
    assert evaluate(lesson, "steps", policy="static") == 7 + 6
    assert evaluate(lesson, "steps", policy="continuous") == 9
    assert evaluate(lesson, "utilization", policy="static") == pytest.approx(30 / 52)
    assert evaluate(lesson, "utilization", policy="continuous") == pytest.approx(30 / 36)
    assert evaluate(lesson, "finishes", name="E", policy="static") == 8
    assert evaluate(lesson, "finishes", name="E", policy="continuous") == 3


def test_equal_lengths_make_no_difference(lesson) -> None:
    for slots in (1, 2, 4, 8):
        one, other = (
            charts(lesson, "slots_over_time", policy=policy, slots=slots, spread=0.0)[0]["values"]
            for policy in ("static", "continuous")
        )
        assert one == other


def test_a_step_spends_its_budget_and_lets_nobody_who_writes_wait(lesson) -> None:
    for budget in (5, 16, 40, 72):
        for step in range(1, 15):
            table = charts(lesson, "plan_of_a_step", budget=budget, step=step)[0]
            wanted = [row[2] for row in table["rows"]]
            gets = [row[3] for row in table["rows"]]
            assert sum(gets) == min(budget, sum(wanted))
            assert all(got == 1 for want, got in zip(wanted, gets, strict=True) if want == 1)


def test_a_reservation_costs_the_more_the_larger_max_tokens_is(lesson) -> None:
    together = [
        evaluate(lesson, "together", how="reserved", max_tokens=most, mean=40) for most in (64, 256, 1024)
    ]
    assert together == [1280 // (32 + most) for most in (64, 256, 1024)]
    assert evaluate(lesson, "together", how="needed") > 3 * together[1]


def test_static_batches_give_way_first(lesson) -> None:
    rows = shown(lesson, "under_load", "table", n=40, slots=8)["rows"]
    static, continuous = rows[0::2], rows[1::2]
    assert rows[0][5] == pytest.approx(rows[1][5], rel=0.1)  # few requests: the same throughput
    assert all(one[3] > other[3] for one, other in zip(static, continuous, strict=True))
    assert continuous[-1][5] > 1.5 * static[-1][5]


@pytest.mark.slow
def test_the_real_engine_needs_fewer_steps(lesson, real_model) -> None:
    (static, continuous) = shown(lesson, "both_ways", "table", rounds=1)["rows"]
    assert static[1] == 24 + 18
    assert continuous[1] < 0.75 * static[1]

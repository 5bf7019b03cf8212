"""Lesson 8.8: its numbers are the paper's where it says so, and its labs show what the text promises."""

from __future__ import annotations

import json

import pytest

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("8.8")


def evaluate(lesson, called: str, /, **arguments):
    return lesson.values[called].evaluate(arguments)


def events_of(lesson, lab: str, **arguments) -> list[dict]:
    events = list(lesson.labs[lab].run(arguments, "en"))
    assert not [event for event in events if event["event"] == "error"]
    json.dumps(events)  # as they are sent to the page
    return events


def last_table(events: list[dict]) -> list[list]:
    return [event for event in events if event["event"] == "show"][-1]["chart"]["rows"]


def test_the_third_row_of_table_2_is_predicted(lesson) -> None:
    assert evaluate(lesson, "step_ms", prompt=1021, decoding=3) == pytest.approx(238.4, rel=0.01)
    assert evaluate(lesson, "token_ms", prompt=1021, decoding=3) < 1.8
    assert evaluate(lesson, "token_ms", prompt=0, decoding=4) == pytest.approx(12.49, rel=0.01)


def test_small_budgets_cannot_keep_up(lesson) -> None:
    waits = {budget: evaluate(lesson, "p90", what="ttft", budget=budget) for budget in (64, 256)}
    stalls = {budget: evaluate(lesson, "p90", what="gap", budget=budget) for budget in (64, 256, 2048)}
    assert stalls[64] < stalls[256] < stalls[2048] / 2
    assert waits[64] > 3 * waits[256]


def test_equal_batches_have_the_fewest_bubbles(lesson) -> None:
    idle = {
        cause: evaluate(lesson, "bubbles_by_cause", cause=cause) for cause in ("PB1", "PB2", "PB3", "chunks")
    }
    assert idle["chunks"] < 0.1
    assert min(idle["PB1"], idle["PB2"], idle["PB3"]) > idle["chunks"] + 0.02
    assert idle["PB2"] > idle["PB3"]


def test_one_chunk_a_step_loses_with_short_prompts_and_wins_between_tiles(lesson) -> None:
    def ratio(**arguments) -> float:
        events = events_of(lesson, "your_batches", **arguments)
        seconds = [event["value"] for event in events if "all done" in event.get("name", "")]
        return seconds[0] / seconds[1]

    assert ratio(prompt=64, budget=256) > 1.1
    assert ratio(prompt=960, budget=300) < 0.9
    assert ratio(prompt=960, budget=256) == pytest.approx(1, abs=0.06)


@pytest.mark.slow  # a float32 model, and steps of 16 tokens
def test_chunks_give_the_same_numbers_in_the_real_model(lesson) -> None:
    try:
        asset(CHAT_MODEL)
    except AssetMissing as missing:
        pytest.skip(str(missing))
    rows = last_table(events_of(lesson, "the_same_numbers", n=128))
    assert [row[0] for row in rows] == [128, 64, 50, 16]
    assert [row[2] for row in rows] == [0, 64, 50 + 100, 16 * (7 * 8 // 2)]
    assert all(float(row[4]) < 1e-3 and float(row[5]) < 1e-3 for row in rows)
    assert len({row[6] for row in rows}) == 1

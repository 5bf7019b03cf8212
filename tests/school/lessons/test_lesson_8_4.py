"""Lesson 8.4: its pictures are those of the real engine, and say what the text says."""

from __future__ import annotations

import json

import pytest

from teachllm.school.lesson import load_lesson


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("8.4")


def evaluate(lesson, called: str, /, **arguments):
    return lesson.values[called].evaluate(arguments)


def charts(lesson, figure: str, /, **arguments) -> list[dict]:
    return lesson.figures[figure].draw(arguments, "en")["charts"]


def shown(lesson, lab: str, name: str, **arguments) -> dict:
    """The last chart of that name that the lab showed."""
    events = list(lesson.labs[lab].run(arguments, "en"))
    assert not [event for event in events if event["event"] == "error"]
    json.dumps(events)  # as they are sent to the page
    return [event for event in events if event["event"] == "show" and event["name"] == name][-1]["chart"]


def test_the_card_of_the_paper(lesson) -> None:
    assert evaluate(lesson, "cache_tokens") == pytest.approx(15_700, rel=0.01)
    assert evaluate(lesson, "cache_gib") == pytest.approx(12, rel=0.01)
    assert evaluate(lesson, "at_once", way="reserved") == 7
    assert evaluate(lesson, "at_once", way="paged") > 4 * 7
    assert evaluate(lesson, "l2_tokens") < 60
    assert "not one block fits" in charts(lesson, "memory_map", name="llama3-70b")[1]["text"]


def test_more_together_is_more_throughput_and_longer_steps(lesson) -> None:
    # Figure 1 of the paper: about 300 tokens a second become about 900.
    assert evaluate(lesson, "tokens_per_second", batch=8) == pytest.approx(300, rel=0.2)
    assert 2.5 < evaluate(lesson, "throughput_ratio", few=8, many=40) < 5
    assert evaluate(lesson, "step_ratio", few=8, many=40) > 1.2


def test_a_scarce_memory_delays_and_changes_nothing_else(lesson) -> None:
    assert evaluate(lesson, "first_token_step", name="C") == 5
    assert evaluate(lesson, "times_preempted") > 0
    assert evaluate(lesson, "times_preempted", n_blocks=32) == 0
    assert evaluate(lesson, "last_step", name="B", n_blocks=11) > evaluate(lesson, "last_step", name="B")
    words = [row[1] for row in charts(lesson, "one_request", name="B", n_blocks=11)[0]["rows"]]
    assert any("put out" in said for said in words)
    assert "leaves" in words[-1]


def test_a_fork_copies_one_block_less_than_there_are_answers(lesson) -> None:
    for n in (1, 2, 4, 5):
        assert evaluate(lesson, "copies_in_step", n=n) == n - 1
        assert evaluate(lesson, "copies_in_step", n=n, step=3) == 0
        rows = charts(lesson, "block_map", n=n, step=7)[0]["values"]
        assert [row[-1] for row in rows[:2]] == [n, n]  # the prompt's full blocks
    assert evaluate(lesson, "blocks_in_use", n=4) < evaluate(lesson, "blocks_unshared", n=4)
    beams = charts(lesson, "block_map", way="beam", n=3, step=5)
    assert len(beams[1]["rows"]) == 3


def test_pages_bear_more_requests_before_latency_shoots_up(lesson) -> None:
    rows = shown(lesson, "load_curve", "table", n=100)["rows"]
    reserved, paged = rows[0::2], rows[1::2]
    assert reserved[0][2] == pytest.approx(paged[0][2], rel=0.1)  # few requests: no difference
    assert reserved[-1][2] > 4 * paged[-1][2]
    assert reserved[-1][5] <= 7
    assert paged[-1][5] > 3 * reserved[-1][5]
    assert paged[-1][6] > 2 * reserved[-1][6]


def test_the_engine_lies_between_the_two_estimates(lesson) -> None:
    rows = shown(lesson, "your_max_concurrent", "table", answer=16)["rows"]
    for _, to_the_end, let_in, prompts_alone, *_ in rows:
        assert to_the_end <= let_in <= prompts_alone

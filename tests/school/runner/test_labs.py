"""Labs in processes of their own: streamed, cancelled, left, and run on the learner's function."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from teachllm.school.figures.controls import ControlError
from teachllm.school.runner import Runner, exercise
from teachllm.school.runner.lab_process import Merged, install

SLOW = {"pause": 0.5}


def test_a_lab_streams_its_events_in_the_learners_language(runner: Runner) -> None:
    events = list(runner.run_lab("1.1", "sample_many", {"draws": 1000}, "zh"))
    assert events[-1]["event"] == "done"
    samples = [event for event in events if event["event"] == "sample"]
    assert [sample["x"] for sample in samples] == [100 * step for step in range(1, 11)]
    last = {event["event"]: event for event in events}
    assert (last["progress"]["done"], last["progress"]["note"]) == (10, "采样中")
    assert sum(last["show"]["chart"]["series"][0]["values"]) == 1000
    assert last["say"]["text"] == "频率和概率差不多了。"
    english = list(runner.run_lab("1.1", "sample_many", {}, "en"))
    assert any(event.get("note") == "drawing" for event in english)


def test_what_there_is_not_is_refused_before_anything_starts(runner: Runner) -> None:
    with pytest.raises(LookupError, match=r"has no lab 'nothing'; it has: sample_many"):
        runner.run_lab("1.1", "nothing", {}, "en")
    with pytest.raises(ControlError):
        runner.run_lab("1.1", "sample_many", {"temperature": 99.0}, "en")


def test_a_lab_is_cancelled_from_another_thread(runner: Runner) -> None:
    lab = runner.run_lab("1.1", "sample_many", SLOW, "en")
    began = time.monotonic()
    events = []
    for event in lab:
        events.append(event)
        lab.cancel()
    assert events[-1] == {"event": "cancelled"}
    assert not any(event["event"] == "done" for event in events)
    assert time.monotonic() - began < 4.9, "it was not cancelled but ran to its end"
    assert list(runner.run_lab("1.1", "sample_many", {}, "en"))[-1]["event"] == "done"


def test_a_lab_that_is_cancelled_before_it_begins_does_not_run(runner: Runner) -> None:
    lab = runner.run_lab("1.1", "sample_many", SLOW, "en")
    lab.cancel()
    assert list(lab) == [{"event": "cancelled"}]


def test_leaving_the_loop_ends_the_lab_and_frees_its_place(course: Any) -> None:
    with Runner(labs=1) as own:
        for event in own.run_lab("1.1", "sample_many", SLOW, "en"):
            assert event["event"] in ("progress", "sample", "show")
            break
        events = list(own.run_lab("1.1", "sample_many", {}, "en"))
        assert events[0]["event"] != "queued"
        assert events[-1]["event"] == "done"


def test_labs_beyond_the_places_queue_and_are_told_so_while_they_wait(course: Any) -> None:
    with Runner(labs=1) as own:
        own.isolation()
        first = own.run_lab("1.1", "sample_many", SLOW, "en")
        running = iter(first)
        next(running)
        second = iter(own.run_lab("1.1", "sample_many", {}, "en"))
        assert next(second) == {"event": "queued", "position": 1}
        first.cancel()
        assert [event["event"] for event in running][-1] == "cancelled"
        assert list(second)[-1]["event"] == "done"


def test_a_cancelled_lab_leaves_the_queue(course: Any) -> None:
    with Runner(labs=1) as own:
        first = own.run_lab("1.1", "sample_many", SLOW, "en")
        running = iter(first)
        next(running)
        waiting = own.run_lab("1.1", "sample_many", {}, "en")
        events: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: events.extend(waiting))
        thread.start()
        while not events:
            time.sleep(0.01)
        waiting.cancel()
        thread.join(timeout=30)
        assert events == [{"event": "queued", "position": 1}, {"event": "cancelled"}]
        first.cancel()
        assert list(running)[-1] == {"event": "cancelled"}


Replaced = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def replaced(runner: Runner) -> Replaced:
    """Runs the lab with this source in the place of the function that makes JSON of its numbers."""

    def run(source: str) -> list[dict[str, Any]]:
        return list(runner.run_lab("1.1", "sample_many", {}, "en", {exercise("1.1").symbol: source}))

    return run


def test_the_learners_function_stands_in_the_real_system(replaced: Replaced) -> None:
    events = replaced("def number(value):\n    if value == 10: print('seen')\n    return 7\n")
    assert {event["y"] for event in events if event["event"] == "sample"} == {7}
    assert events[-1]["event"] == "done"
    assert events[-2]["event"] == "say"
    assert events[-2]["text"].startswith("Your code printed:\nseen\n")


def test_an_error_of_the_learners_function_ends_the_lab_with_its_line(replaced: Replaced) -> None:
    events = replaced("def number(value):\n    return value.nothing\n")
    assert events[-1]["event"] == "error"
    assert events[-1]["line"] == 2
    assert "has no attribute 'nothing'" in events[-1]["message"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def number(value)\n", "SyntaxError"),
        ("x = 1\n", "does not define the function number"),
        ("1/0\n", "Zero"),
    ],
)
def test_a_source_that_cannot_be_loaded_is_an_error(replaced: Replaced, source: str, message: str) -> None:
    events = replaced(source)
    assert [event["event"] for event in events] == ["error"]
    assert message in events[0]["message"]


def test_an_endless_loop_in_the_real_system_is_stopped(replaced: Replaced) -> None:
    events = replaced("def number(value):\n    while True:\n        pass\n")
    assert events[-1]["event"] == "error"
    assert events[-1]["message"] in [f"Stopped after 8 seconds, at your line {line}." for line in (2, 3)]
    assert events[-1]["line"] in (2, 3)


def test_a_crash_in_the_real_system_is_an_error(replaced: Replaced) -> None:
    events = replaced("import os\ndef number(value):\n    os._exit(1)\n")
    assert events[-1]["event"] == "error"
    assert "ended unexpectedly" in events[-1]["message"]


def test_a_replacement_goes_wherever_the_function_was_imported() -> None:
    from teachllm.school.figures import charts, plain

    def mine(value: object) -> int:
        return 1

    original = plain.number
    try:
        places = install(original, mine)
        assert "teachllm.school.figures.plain:number" in places
        assert charts.number is mine
    finally:
        install(mine, original)
    assert charts.number is original


def test_events_of_one_kind_are_merged_but_samples_and_endings_are_not() -> None:
    sent: list[dict[str, Any]] = []
    with Merged(sent.append) as merged:
        for step in range(1, 501):
            merged.send({"event": "progress", "done": step})
            merged.send({"event": "sample", "x": step})
        merged.send({"event": "done"})
    progress = [event["done"] for event in sent if event["event"] == "progress"]
    assert [event["x"] for event in sent if event["event"] == "sample"] == list(range(1, 501))
    assert progress[-1] == 500
    assert len(progress) < 250
    assert sent[-1] == {"event": "done"}

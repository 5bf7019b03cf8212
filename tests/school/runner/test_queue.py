"""Several gradings at once, the queue, cancelling, and a fork server that dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from teachllm.school.runner import Runner, RunnerError, Verdict
from teachllm.school.runner.slots import Slots

RIGHT = "def number(value):\n    return 7\n"
ENDLESS = "def number(value):\n    while True: pass\n"


def in_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_two_gradings_run_at_once_and_a_third_waits(course: Path) -> None:
    with Runner(grades=2) as own:
        own.isolation()
        endless = [in_thread(lambda: own.grade("1.2", ENDLESS))]
        assert own.grade("1.2", RIGHT).status == "passed", "one that hangs holds up no other"
        assert own.is_ready(), "the studio's process is not held up either"
        endless += [in_thread(lambda: own.grade("1.2", ENDLESS))]
        time.sleep(0.3)
        events: list[dict[str, Any]] = []
        verdict = own.grade("1.2", RIGHT, events.append)
        assert verdict.status == "passed"
        assert events[0] == {"event": "queued", "position": 1}
        assert [event["event"] for event in events[1:]] == ["starting", "check", "check"]
        for thread, results in endless:
            thread.join(timeout=60)
            assert [result.status for result in results] == ["timeout"]


def test_many_gradings_do_not_mix_up_their_answers(runner: Runner) -> None:
    sources = [f"def number(value):\n    print({number})\n    return {number}\n" for number in range(5, 11)]
    running = [in_thread(lambda source=source: runner.grade("1.2", source)) for source in sources]
    verdicts: list[Verdict] = []
    for thread, results in running:
        thread.join(timeout=120)
        verdicts += results
    assert [verdict.passed for verdict in verdicts] == [False, False, True, False, False, False]
    assert [verdict.output.split()[0] for verdict in verdicts] == ["5", "6", "7", "8", "9", "10"]


def test_a_grading_is_cancelled_while_it_runs_or_waits(course: Path) -> None:
    with Runner(grades=1) as own:
        own.isolation()
        first, second = own.submit("1.2", ENDLESS), own.submit("1.2", RIGHT)
        running, waiting = in_thread(first.result), in_thread(second.result)
        time.sleep(0.3)
        second.cancel()
        waiting[0].join(timeout=30)
        first.cancel()
        running[0].join(timeout=30)
        assert [results[0].status for _, results in (running, waiting)] == ["cancelled", "cancelled"]
        assert first.result().to_json("zh")["diagnosis"] == "已取消。"
        assert own.grade("1.2", RIGHT).status == "passed", "their places are free again"
        before = own.submit("1.2", RIGHT)
        before.cancel()
        assert before.result().status == "cancelled"


def test_a_fork_server_that_dies_is_started_again(course: Path, learner_home: Path) -> None:
    if not Path("/proc").exists():
        pytest.skip("finds the fork server in /proc")
    with Runner(kind="fork") as own:
        own.isolation()
        [zygote] = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and str(learner_home).encode() in environment(entry)
        ]
        os.kill(zygote, signal.SIGKILL)
        assert own.grade("1.2", RIGHT).status == "passed"


def environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes() if int(process.name) != os.getpid() else b""
    except OSError:
        return b""


def test_a_closed_runner_says_so(course: Path) -> None:
    own = Runner()
    own.close()
    with pytest.raises(RunnerError, match="closed"):
        own.isolation()
    verdict = own.grade("1.2", RIGHT)
    assert verdict.status == "error"
    assert verdict.diagnosis is not None
    assert "not your code" in verdict.diagnosis.en


def test_everything_that_the_stack_has_is_imported_ahead_of_time(runner: Runner) -> None:
    assert runner.not_imported() == {}


def test_places_are_given_in_the_order_of_asking() -> None:
    slots, never = Slots(1), threading.Event()
    first, second, third = (slots.place(never) for _ in range(3))
    assert list(first.wait()) == []
    waiting_second, waiting_third = second.wait(), third.wait()
    assert next(waiting_second) == 1
    assert next(waiting_third) == 2
    first.release()
    assert list(waiting_second) == []
    assert second.taken
    assert next(waiting_third) == 1
    second.release()
    second.release()
    assert list(waiting_third) == []
    assert third.taken
    late = slots.place(never)
    assert next(late.wait()) == 1, "releasing twice gives back one place"


def test_who_cancels_takes_no_place() -> None:
    slots, cancelled = Slots(1), threading.Event()
    holder = slots.place(threading.Event())
    list(holder.wait())
    place = slots.place(cancelled)
    waiting = place.wait()
    assert next(waiting) == 1
    cancelled.set()
    slots.wake()
    assert list(waiting) == []
    assert not place.taken
    place.release()
    holder.release()
    again = slots.place(threading.Event())
    assert list(again.wait()) == []

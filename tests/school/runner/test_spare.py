"""Runs without fork, as on macOS and Windows, give the same verdicts and labs, only later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teachllm.school.runner import Runner, exercise


@pytest.fixture(scope="module")
def spares(course: Path) -> Iterator[Runner]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEACHLLM_COURSE", str(course))
        with Runner(kind="spare") as runner:
            runner.isolation()
            yield runner


def test_it_says_which_layers_it_has(spares: Runner) -> None:
    isolation = spares.isolation()
    assert isolation.level == "partial"
    assert isolation.layers["namespaces"] == "needs a process that is forked"
    assert spares.is_ready()


def test_right_wrong_and_written_outside(spares: Runner, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    source = (
        "import os\ndef number(value):\n    try:\n"
        f"        open({str(planted)!r}, 'w')\n"
        "    except OSError:\n        print('refused', sorted(os.listdir('.')))\n    return 7\n"
    )
    verdict = spares.grade("1.2", source)
    assert verdict.status == "passed", verdict
    if spares.isolation().layers["landlock"] is None:
        assert verdict.output == "refused []\n" * 3
        assert not planted.exists()
    wrong = spares.grade("1.2", "def number(value): return 8\n")
    assert wrong.first_failed == "test_seven"


def test_endless_loops_crashes_and_memory_have_their_verdicts(spares: Runner) -> None:
    endless = spares.grade("1.2", "def number(value):\n    while True:\n        pass\n")
    assert (endless.status, endless.line in (2, 3)) == ("timeout", True)
    crash = spares.grade("1.2", "import ctypes\ndef number(value):\n    ctypes.string_at(0)\n")
    assert (crash.status, crash.line) == ("crashed", 3)
    if spares.isolation().layers["limits"] is None:
        hoard = (
            "def number(value):\n    hoard = []\n    while True:\n        hoard.append(bytearray(10**7))\n"
        )
        assert spares.grade("1.2", hoard).status == "memory"


def test_labs_stream_are_cancelled_and_take_the_learners_function(spares: Runner) -> None:
    assert list(spares.run_lab("1.1", "sample_many", {}, "en"))[-1]["event"] == "done"
    lab = spares.run_lab("1.1", "sample_many", {"pause": 0.5}, "en")
    events = []
    for event in lab:
        events.append(event["event"])
        lab.cancel()
    assert events[-1] == "cancelled"
    assert "done" not in events
    replaced = {exercise("1.1").symbol: "def number(value):\n    print('mine')\n    return 7\n"}
    events = list(spares.run_lab("1.1", "sample_many", {}, "en", replaced))
    assert {event["y"] for event in events if event["event"] == "sample"} == {7}
    assert events[-2]["text"].startswith("Your code printed:\nmine\n")
    assert events[-1]["event"] == "done"

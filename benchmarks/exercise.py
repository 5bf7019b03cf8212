"""From submitting an exercise to its verdict, beside plain pytest. `make bench NAME=exercise`.

Both run the checks of lesson 1.2 on the stack's own function. Ours runs them against a sandboxed process; the
peer imports everything anew, and locks nothing in.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import alternate, compare, report, without_peer
from teachllm.school.exercise import Exercise, exercise
from teachllm.school.runner import Runner

LESSON = "1.2"
PACKAGES = ("torch", "pytest")
CONFTEST = """
import pytest
from solution import {function}

@pytest.fixture(scope="session")
def implementation():
    def call(*args, **kwargs):
        return {function}(*args, **kwargs)
    call.mutated = []
    return call
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    lesson = exercise(LESSON)
    with Runner() as runner, tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        level = runner.isolation().level
        start_up = time.perf_counter() - began
        command = prepare_pytest(lesson, Path(folder))

        def ours() -> None:
            verdict = runner.grade(LESSON, lesson.solution_source)
            if not verdict.passed:
                raise SystemExit(f"the stack's own function does not pass: {verdict}")

        def pytest_alone() -> None:
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

        mine, theirs = alternate(ours, pytest_alone, times=runs)
        wrong = [runner.grade(LESSON, lesson.stub).seconds for _ in range(runs)]
        endless = f"def {lesson.function}(*args, **kwargs):\n    while True: pass\n"
        stopped = runner.grade(LESSON, endless).seconds
        stages = stage_medians(runner, lesson, runs)
    what = "submit to verdict"
    limit = f"an endless loop, limit {lesson.limits.seconds:g} s"
    rows = [
        compare(what, mine, theirs, "pytest", "s", lower_is_better=True, packages=PACKAGES),
        without_peer(f"{what}, unwritten stub", statistics.median(wrong), "pytest", "s", "not timed"),
        without_peer("start of the fork server, once", start_up, "pytest", "s", "has none"),
        without_peer(limit, stopped, "pytest", "s", "never ends"),
    ]
    spent = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in stages.items())
    notes = [
        f"lesson {LESSON}, {runs} runs, isolation: {level}; {os.cpu_count()} cores, shared with other work",
        f"where the time goes (medians): {spent}",
    ]
    report("exercise", rows, notes=notes)


def prepare_pytest(lesson: Exercise, folder: Path) -> list[str]:
    """The same checks as ordinary tests of a module `solution`; that of changed arguments sees nothing."""
    (folder / "solution.py").write_text(lesson.solution_source, encoding="utf-8")
    (folder / "conftest.py").write_text(CONFTEST.format(function=lesson.function), encoding="utf-8")
    (folder / "test_solution.py").write_bytes(lesson.checks.read_bytes())
    return [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        ".",
    ]


def stage_medians(runner: Runner, lesson: Exercise, runs: int) -> dict[str, float]:
    """Seconds until the first check is told (fork, sandbox, source, collecting), in the others, and after."""
    spans: dict[str, list[float]] = {"until the first check": [], "the other checks": [], "the verdict": []}
    for _ in range(runs):
        times = [time.perf_counter()]

        def note(event: dict[str, Any], times: list[float] = times) -> None:
            if event["event"] == "check":
                times.append(time.perf_counter())

        runner.grade(LESSON, lesson.solution_source, note)
        times.append(time.perf_counter())
        spans["until the first check"].append(times[1] - times[0])
        spans["the other checks"].append(times[-2] - times[1])
        spans["the verdict"].append(times[-1] - times[-2])
    return {name: statistics.median(seconds) for name, seconds in spans.items()}


if __name__ == "__main__":
    main()

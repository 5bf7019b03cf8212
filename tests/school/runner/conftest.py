"""A small course, whose second exercise has a limit of four seconds, and one runner for all tests."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teachllm.school.runner import Runner, Verdict

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures/course"
CHECKS = """
import torch
from teachllm.school.checks import diagnosis

@diagnosis(zh="应当返回 7。", en="It should return 7.")
def test_seven(implementation):
    assert implementation([1, 2]) == 7

@diagnosis(zh="参数被改动了。", en="The argument was changed.")
def test_arguments_stay(implementation):
    implementation([1, 2])
    assert implementation.mutated == []
    implementation(value=torch.zeros(3))
    assert implementation.mutated == []
"""


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "course"
    shutil.copytree(FIXTURE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    table = folder / "course.yaml"
    table.write_text(table.read_text("utf-8").replace("planned", "available"), "utf-8")
    second = folder / "01-basics/02-sampling"
    shutil.copytree(folder / "01-basics/01-temperature", second)
    (second / "checks.py").write_text(CHECKS, "utf-8")
    exercise = second / "exercise.yaml"
    exercise.write_text(exercise.read_text("utf-8") + "limits: {seconds: 4, memory_mb: 512}\n", "utf-8")
    return folder


@pytest.fixture(autouse=True)
def _in_that_course(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(course))


@pytest.fixture(scope="session")
def runner(course: Path) -> Iterator[Runner]:
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # only while it starts: other tests of this process go on
            patch.setenv("TEACHLLM_COURSE", str(course))
            shared = stack.enter_context(Runner())
            shared.isolation()
        yield shared


@pytest.fixture
def grade(runner: Runner) -> Callable[[str], Verdict]:
    """Grades a source as the solution of lesson 1.2, which must define ``number(value)``."""
    return lambda source: runner.grade("1.2", source)

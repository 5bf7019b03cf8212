"""Every exercise is proven: its stub fails, the stack's function passes, each mutant gets its diagnosis."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from teachllm.school.course import course_folder, load_course
from teachllm.school.runner import Runner, prove

PLAIN = "school.figures.plain"
with pytest.MonkeyPatch.context() as patch:
    patch.delenv("TEACHLLM_COURSE", raising=False)
    COURSE = course_folder()
    AVAILABLE = [lesson.id for lesson in load_course().available()]


@pytest.mark.parametrize("lesson_id", AVAILABLE)
def test_the_exercise_of_each_available_lesson(
    lesson_id: str, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(COURSE))
    assert [str(problem) for problem in prove(lesson_id, runner)] == []


@pytest.fixture
def lesson(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(course, tmp_path / "course")
    monkeypatch.setenv("TEACHLLM_COURSE", str(tmp_path / "course"))
    return tmp_path / "course/01-basics/01-temperature"


def test_the_exercise_of_the_test_course(lesson: Path, runner: Runner) -> None:
    assert prove("1.1", runner) == []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "checks.py",
            lambda text: text.replace("== 0.5", "== 0.6"),
            "the stack's own function does not pass",
        ),
        ("checks.py", lambda text: text.replace('@diagnosis(zh="普通', "# ", 1), "syntax error|no diagnosis"),
        (
            "checks.py",
            lambda text: "def test_nothing(implementation): pass\n",
            "check test_nothing has no diagnosis; the stub, which is not written yet, passes the checks; "
            "mutant always_text: there is no check test_plain_numbers",
        ),
        ("mutants.py", lambda text: "", "there is no mutant"),
        (
            "mutants.py",
            lambda text: text.replace(
                "return str(value)", f"import teachllm.{PLAIN} as plain; return plain.number(value)"
            ),
            "mutant always_text must first fail test_plain_numbers; instead: passed",
        ),
        (
            "mutants.py",
            lambda text: text.replace('@mutant("test_not_finite")', '@mutant("test_text_is_refused")'),
            "mutant keeps_nan must first fail test_text_is_refused; instead: failed · test_not_finite",
        ),
        (
            "mutants.py",
            lambda text: text.replace("return str(value)", "return vlaue"),
            "mutant always_text does not get that check's diagnosis but: A name is used that is not defined",
        ),
        ("mutants.py", lambda text: text + "def (", "syntax error"),
        ("exercise.yaml", lambda text: text.replace(":number", ":numbr"), "no module-level function numbr"),
    ],
)
def test_what_proves_nothing_is_a_problem(
    lesson: Path, runner: Runner, name: str, change: Callable[[str], str], message: str
) -> None:
    path = lesson / name
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    shown = "; ".join(problem.message.en for problem in prove("1.1", runner))
    assert any(part in shown for part in message.split("|")), shown

"""``teachllm check`` grades a file like the studio does, in the learner's language, and records it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from teachllm.school import check_command
from teachllm.school.check_command import MOST_BYTES, check
from teachllm.school.exercise import exercise
from teachllm.school.language import Lang
from teachllm.school.progress import open_store
from teachllm.school.runner import Runner

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures/course"
WRONG = "def number(value):\n    print('hello')\n    return [value]\n"


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as shared:
        yield shared


@pytest.fixture(autouse=True)
def _one_runner_for_all_commands(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command starts its own, which takes seconds; the last test has it do so."""
    monkeypatch.setattr(check_command, "Runner", lambda **_: contextlib.nullcontext(runner))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEACHLLM_COURSE", str(FIXTURE))
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(lesson: str, file: Path | None = None, lang: Lang | None = None) -> int:
    with pytest.raises(SystemExit) as ended:
        check(lesson, file, lang=lang)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_without_a_file_it_writes_the_stub_and_grades_it_the_next_time(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("1.1") == 2
    written = folder / "lesson-1.1.py"
    assert written.read_text("utf-8") == exercise("1.1").stub
    assert "lesson-1.1.py is made. Open it, fill in the body" in capsys.readouterr().out
    assert run("1.1") == 1
    assert "not written yet" in capsys.readouterr().out
    assert written.read_text("utf-8") == exercise("1.1").stub


def test_a_right_solution_passes_and_is_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "mine.py"
    file.write_text("\ufeff" + exercise("1.1").solution_source, "utf-8")
    assert run("1.1", file) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:3] == ["✓ plain numbers", "✓ not finite", "✓ text is refused"]
    assert "All 3 checks pass" in shown
    store = open_store()
    state = store.exercise_state("1.1")
    store.close()
    assert state.passed
    assert state.draft == exercise("1.1").solution_source
    assert [submission.verdict.status for submission in state.submissions] == ["passed"]


def test_a_wrong_solution_gets_its_diagnosis_in_the_chosen_language(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "mine.py"
    file.write_text(WRONG, "utf-8")
    assert run("1.1", file) == 1
    english = capsys.readouterr().out
    assert "✗ plain numbers" in english
    assert "A plain number should come back as it is." in english
    assert "assert [3] == 3" in english
    assert "Your code printed:\nhello\n" in english
    assert run("1.1", file, "zh") == 1
    assert "普通的数应当原样返回。" in capsys.readouterr().out
    store = open_store()
    store.set_setting("lang", "zh")
    store.close()
    assert run("1.1", file) == 1
    assert "普通的数应当原样返回。" in capsys.readouterr().out, "the studio's language"


def test_what_cannot_be_graded_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "binary.py").write_bytes(b"x = '\xff'")
    (folder / "large.py").write_text("#" * (MOST_BYTES + 1))
    for lesson, file, message in (
        ("9.9", None, "9.9"),
        ("1.2", None, "is not written yet"),
        ("1.1", folder / "nothing.py", "nothing.py cannot be read: No such file"),
        ("1.1", folder / "binary.py", "is not UTF-8 text (byte 5)"),
        ("1.1", folder / "large.py", "has 400,001 bytes"),
    ):
        assert run(lesson, file) == 2
        assert message in capsys.readouterr().out
    assert not (folder / "lesson-1.2.py").exists()


def test_a_database_that_cannot_be_opened_does_not_hinder_grading(
    folder: Path, learner_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHLLM_DATABASE", f"sqlite:///{folder}")
    file = folder / "mine.py"
    file.write_text(exercise("1.1").solution_source, "utf-8")
    assert run("1.1", file) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("This will not be recorded: ")
    assert "All 3 checks pass" in shown


def test_watching_grades_again_when_the_file_is_saved(folder: Path) -> None:
    file = folder / "mine.py"
    file.write_text(WRONG, "utf-8")
    command = [sys.executable, "-m", "teachllm.cli", "check", "1.1", str(file), "--watch"]
    watching = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUTF8": "1"}
    )
    assert watching.stdout is not None
    try:
        with watching.stdout:
            assert _said_until("Save the file", watching.stdout)
            file.write_text(exercise("1.1").solution_source, "utf-8")
            assert _said_until("All 3 checks pass", watching.stdout), "it ended without grading again"
            assert _said_until("Save the file", watching.stdout)  # "…; Ctrl-C ends."
            watching.send_signal(signal.SIGINT)
            assert watching.wait(timeout=60) == 130
    finally:
        watching.kill()
        watching.wait()


def _said_until(beginning: str, lines: IO[str]) -> bool:
    """Reads on until a line begins like this; whether one did."""
    return any(line.startswith(beginning) for line in lines)

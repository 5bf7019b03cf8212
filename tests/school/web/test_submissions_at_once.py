"""Fifty submissions at once, ten of them hostile: right verdicts, pages throughout, nothing left running."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.submissions import hostile, submit_at_once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="the layers of the sandbox are Linux's"),
]
CHECKS = """
from teachllm.school.checks import diagnosis

@diagnosis(zh="应当是真的 7。", en="It should be a true 7.")
def test_seven(implementation):
    assert implementation("seven") == 7
"""
RIGHT = "def number(value):\n    return 7\n"
UNWRITTEN = "def number(value):\n    raise NotImplementedError\n"


def test_fifty_at_once(running_studio: Any, wait_until: Any, tmp_path: Path, monkeypatch: Any) -> None:
    course = tmp_path / "course"
    shutil.copytree(Path(__file__).parents[2] / "fixtures/course", course)
    lesson = course / "01-basics/01-temperature"
    (lesson / "checks.py").write_text(CHECKS, "utf-8")
    task = lesson / "exercise.yaml"
    task.write_text(task.read_text("utf-8") + "limits: {seconds: 4, memory_mb: 512}\n", "utf-8")
    with running_studio(tmp_path / "home") as studio:
        monkeypatch.setenv("TEACHLLM_COURSE", str(course))
        with studio.client() as page:
            page.post("/api/settings", json={"lang": "en", "welcomed": True}).raise_for_status()
        wait_until(studio.studio.runner.is_ready, 60)
        before = len(psutil.Process().children(recursive=True))
        bad = hostile("number", "0", tmp_path / "home/teachllm.db")
        outcome = submit_at_once(studio.client, "1.1", RIGHT, UNWRITTEN, bad)
        assert not outcome.wrong
        assert outcome.early_pages > 20, "pages wait for verdicts"
        wait_until(lambda: len(psutil.Process().children(recursive=True)) <= before, 30)
        with studio.client() as page:
            kept = page.get("/api/exercise/1.1").json()
        assert kept["passed"]

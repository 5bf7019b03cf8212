"""The studio's one door to running code: gradings of exercises, and labs, each in processes of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

import platformdirs

from teachllm.school.exercise import exercise
from teachllm.school.language import Lang
from teachllm.school.runner.grading import GradeRun, OnEvent
from teachllm.school.runner.isolation import Isolation, isolation_of
from teachllm.school.runner.lab_run import LabRun
from teachllm.school.runner.launcher import Launcher, ZygoteLauncher
from teachllm.school.runner.slots import Slots
from teachllm.school.runner.verdict import Verdict

Kind = Literal["fork", "spare"]


class Runner:
    """Thread-safe. :meth:`start` returns at once; what is asked before it is ready waits.

    ``grades`` and ``labs`` are how many run at a time; others queue. ``kind``: forks of a pre-imported
    process (Linux), or spare pre-imported processes (anywhere). ``without`` leaves out layers of the sandbox,
    to try what a system gives that does not have them.
    """

    def __init__(
        self,
        *,
        grades: int = 2,
        labs: int = 2,
        kind: Kind | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        kind = kind or ("fork" if sys.platform == "linux" else "spare")
        self._launcher = _launcher(kind, without)
        self._without = without
        self._grades = Slots(grades)
        self._labs = Slots(labs)

    def __enter__(self) -> Runner:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        self._launcher.start()

    def close(self) -> None:
        """Ends every process that it started."""
        self._launcher.close()

    def is_ready(self) -> bool:
        return self._launcher.is_ready()

    def isolation(self) -> Isolation:
        """What learner code is held back by on this machine; waits until the runner has started."""
        return isolation_of(self._launcher.ready()["layers"])

    def not_imported(self) -> dict[str, str]:
        """Modules of the stack and libraries that could not be imported ahead of time, with the reason."""
        return self._launcher.ready()["failed"]

    def grade(self, lesson_id: str, source: str, on_event: OnEvent | None = None) -> Verdict:
        """Grades a solution. ``on_event`` is told ``queued``, ``starting`` and ``check`` events.

        Raises what :func:`teachllm.school.exercise.exercise` raises; whatever the source does is in the
        verdict.
        """
        return self.submit(lesson_id, source, on_event).result()

    def submit(self, lesson_id: str, source: str, on_event: OnEvent | None = None) -> GradeRun:
        """As :meth:`grade`, but gives the run, which can be cancelled; call its ``result()`` to run it."""
        return GradeRun(
            exercise(lesson_id),
            source,
            self._launcher,
            self._grades,
            private_folders(),
            self._without,
            on_event,
        )

    def run_lab(
        self,
        lesson_id: str,
        name: str,
        args: dict[str, Any],
        lang: Lang,
        replace: dict[str, str] | None = None,
    ) -> LabRun:
        """Runs a lab of the lesson's ``figures.py``; iterate over the result for its events.

        ``replace`` maps a symbol (``module:function``) to the learner's source: the lab then runs the real
        system with the learner's function in its place, sandboxed like a solution, with more memory and four
        times the lab's own time. Raises ``LookupError`` if there is no such lab, and ``ControlError`` for bad
        ``args``.
        """
        return LabRun(
            lesson_id,
            name,
            args,
            lang,
            replace or {},
            self._launcher,
            self._labs,
            private_folders(),
            self._without,
        )


def private_folders() -> tuple[str, ...]:
    """Where the learner's data lie: hidden from learner code."""
    home = os.environ.get("TEACHLLM_HOME") or platformdirs.user_data_dir("teachllm")
    return (str(Path(home).absolute()),)


def _launcher(kind: Kind, without: frozenset[str]) -> Launcher:
    if kind == "fork":
        return ZygoteLauncher(without)
    from teachllm.school.runner.spare import SpareLauncher

    return SpareLauncher(without)

"""One grading: pytest runs the checks in this trusted process, the learner's code answers from its sandbox.

:func:`grade` is called in a fresh process that was forked from (or is) a pre-imported one, and tells what
happens by JSON-able events: ``{"event": "check", …}`` for each check and at last ``{"event": "verdict", …}``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

from teachllm.school.checks import LearnerError, diagnosis_of
from teachllm.school.language import Both
from teachllm.school.runner.explain import explain_error, explain_gone
from teachllm.school.runner.implementation import Implementation, Learner, LearnerGone

Send: TypeAlias = Callable[[dict[str, Any]], None]

PYTEST = (
    *("-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:logging", "-p", "no:junitxml"),
    *("-s", "-q", "--noconftest", "-c", os.devnull, "--import-mode=importlib", "-W", "ignore"),
)
_PYTEST_ADVICE = "Use -v to get more diff"


@dataclass(frozen=True)
class GradeRequest:
    """What is graded. ``parameters``: names of the symbol's parameters in order."""

    checks: Path
    function: str
    parameters: tuple[str, ...]
    source: str
    seconds: float
    memory_mb: int
    run_folder: Path
    hidden: tuple[Path, ...]
    without: frozenset[str]


def grade(request: GradeRequest, start: Callable[[GradeRequest], Learner], send: Send) -> None:
    """Starts the learner's process, runs the checks, sends the events. Never raises for bad code."""
    learner = start(request)
    torch.set_num_threads(1)  # only now: a process that has used torch's threads cannot fork one that does
    plugin = Grading(Implementation(learner, request.function, request.parameters), send)
    try:
        learner.load()
        plugin.run(request.checks)
        learner.close()
        verdict = plugin.verdict()
    except LearnerError as error:
        learner.close()
        verdict = explain_error(error, while_loading=True)
    except LearnerGone as gone:
        learner.close()
        verdict = explain_gone(gone)
    verdict.setdefault("checks", plugin.results())
    send({"event": "verdict", "output": learner.printed.text(), "layers": learner.layers, **verdict})


@dataclass
class _Check:
    name: str
    diagnosis: Both | None
    passed: bool | None = None
    message: str = ""
    error: LearnerError | None = None
    returned_nothing: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "diagnosis": _texts(self.diagnosis),
            "message": self.message,
        }


class Grading:
    """A pytest plugin: gives the fixture, keeps the order of definition, collects what each check found."""

    def __init__(self, implementation: Implementation, send: Send) -> None:
        self._implementation = implementation
        self._send = send
        self._checks: dict[str, _Check] = {}
        self._gone: LearnerGone | None = None
        self._broken = ""

    @pytest.fixture(scope="session")
    def implementation(self) -> Implementation:
        return self._implementation

    def run(self, checks: Path) -> None:
        arguments = [*PYTEST, "--rootdir", str(checks.parent), str(checks)]
        sys.dont_write_bytecode = True
        with _quiet():
            code = pytest.main(arguments, plugins=[self])
        if self._gone is None and code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self._broken = self._broken or f"pytest ended with {code!r}"

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            self._checks[item.name] = _Check(item.name, diagnosis_of(getattr(item, "function", None)))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._broken = str(report.longrepr)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        check = self._checks[item.name]
        if call.excinfo is not None:
            self._failed(item, check, call.excinfo)
        elif call.when == "call":
            check.passed = True
        if call.when == "teardown":
            self._send({"event": "check", **check.to_json()})
        return report

    def _failed(self, item: pytest.Item, check: _Check, info: pytest.ExceptionInfo[BaseException]) -> None:
        error = info.value
        check.passed = False
        if isinstance(error, LearnerGone):
            self._gone = error
            item.session.shouldstop = "the learner's process has ended"
        elif isinstance(error, LearnerError):
            check.error = error
            check.message = error.trace or str(error)
        else:
            check.message = info.exconly(tryshort=True).removesuffix(_PYTEST_ADVICE).rstrip()[:2000]
            check.returned_nothing = self._implementation.returned_nothing

    def results(self) -> list[dict[str, Any]]:
        return [check.to_json() for check in self._checks.values()]

    def verdict(self) -> dict[str, Any]:
        failed = next((check for check in self._checks.values() if check.passed is False), None)
        if self._broken or not self._checks:
            return _broken_checks(self._broken or "checks.py defines no check")
        if failed is None and self._gone is None:
            return {"status": "passed"}
        if failed is None or (self._gone is not None and not failed.message):
            return explain_gone(self._gone or LearnerGone("exited"))
        if failed.error is not None:
            return explain_error(failed.error, failed.diagnosis)
        text = failed.diagnosis
        if failed.returned_nothing:
            text = Both(
                "你的函数没有返回结果（返回了 None）。检查一下是不是少了 return。",
                "Your function returned nothing (None). Check whether a return is missing.",
            )
        return {"status": "failed", "diagnosis": _texts(text), "message": _texts(Both.same(failed.message))}


def _broken_checks(why: str) -> dict[str, Any]:
    diagnosis = Both(
        "这一课的检查代码自己出了错，不是你的问题。",
        "The checks of this lesson are broken; it is not your code.",
    )
    return {"status": "error", "diagnosis": _texts(diagnosis), "message": _texts(Both.same(why[-3000:]))}


def _texts(text: Both | None) -> dict[str, str] | None:
    return None if text is None else {"zh": text.zh, "en": text.en}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """pytest's own report goes nowhere."""
    saved = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    os.dup2(null, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
        os.close(null)

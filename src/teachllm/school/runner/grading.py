"""One submission on the studio's side: waits for its turn, follows the checker, makes the verdict."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from teachllm.school.exercise import Exercise
from teachllm.school.language import Both
from teachllm.school.runner.launcher import Job, Launcher, RunnerError
from teachllm.school.runner.slots import Slots
from teachllm.school.runner.verdict import CheckResult, Verdict

OnEvent: TypeAlias = Callable[[dict[str, Any]], None]
# For the checks' own work on top of the learner's time; whoever passes it is stuck.
_CHECKER_SECONDS = 60.0


class GradeRun:
    """A submission being graded. :meth:`result` waits; :meth:`cancel` may come from any thread."""

    def __init__(
        self,
        exercise: Exercise,
        source: str,
        launcher: Launcher,
        slots: Slots,
        hidden: tuple[str, ...],
        without: frozenset[str],
        on_event: OnEvent | None = None,
    ) -> None:
        self._exercise = exercise
        self._source = source
        self._launcher = launcher
        self._slots = slots
        self._hidden = hidden
        self._without = without
        self._on_event = on_event or (lambda event: None)
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._verdict: Verdict | None = None

    def cancel(self) -> None:
        """Kills everything that belongs to it; :meth:`result` then gives the status ``cancelled``."""
        self._cancelled.set()
        self._slots.wake()
        with self._lock:
            if self._job is not None:
                self._job.kill()

    def result(self) -> Verdict:
        """Runs it in this thread and returns the verdict. Events: ``queued``, ``starting``, ``check``."""
        if self._verdict is not None:
            return self._verdict
        began = time.perf_counter()
        try:
            verdict = self._run()
        except (RunnerError, ValueError) as error:
            verdict = _runner_failed(error)
        seconds = time.perf_counter() - began
        self._verdict = replace(verdict, seconds=seconds)
        return self._verdict

    def _run(self) -> Verdict:
        place = self._slots.place(self._cancelled)
        try:
            for position in place.wait():
                self._on_event({"event": "queued", "position": position})
            if not place.taken:
                return _cancelled()
            self._on_event({"event": "starting", "ready": self._launcher.is_ready()})
            for _ in range(2):  # again if the fork server died at that moment
                layers = self._wait_ready()
                verdict = _cancelled() if layers is None else self._follow(layers)
                if verdict is not None:
                    return verdict
            raise RunnerError("the grading process ended without a verdict")
        finally:
            place.release()

    def _wait_ready(self) -> dict[str, str | None] | None:
        while not self._cancelled.is_set():
            with contextlib.suppress(TimeoutError):
                return self._launcher.ready(timeout=0.2)["layers"]
        return None

    def _follow(self, layers: dict[str, str | None]) -> Verdict | None:
        """The verdict; ``None`` if the process ended and had told nothing."""
        told = False
        job = self._launcher.start_job(self._request())
        with self._lock:
            self._job = job
        guard = threading.Timer(self._exercise.limits.seconds + _CHECKER_SECONDS, job.kill)
        guard.daemon = True
        guard.start()
        try:
            if self._cancelled.is_set():
                return _cancelled()
            for event in job.events():
                if event.get("event") == "verdict":
                    return _weaker(event, layers) or verdict_of(event)
                told = True
                self._on_event(event)
        finally:
            guard.cancel()
            with self._lock:
                self._job = None
            job.close()
        if self._cancelled.is_set():
            return _cancelled()
        if told:
            raise RunnerError("the grading process ended without a verdict")
        return None

    def _request(self) -> dict[str, Any]:
        exercise = self._exercise
        return {
            "role": "grade",
            "checks": str(exercise.checks),
            "function": exercise.function,
            "parameters": list(exercise.parameters),
            "source": self._source,
            "seconds": exercise.limits.seconds,
            "memory_mb": exercise.limits.memory_mb,
            "hidden": list(self._hidden),
            "without": sorted(self._without),
        }


def verdict_of(event: dict[str, Any]) -> Verdict:
    """The verdict in a checker's last event."""
    checks = tuple(
        CheckResult(check["name"], check["passed"], _both(check["diagnosis"]), check["message"])
        for check in event["checks"]
    )
    return Verdict(
        status=event["status"],
        diagnosis=_both(event.get("diagnosis")),
        message=_both(event.get("message")) or Both("", ""),
        checks=checks,
        output=event["output"],
        line=event.get("line"),
    )


def _both(texts: dict[str, str] | None) -> Both | None:
    return None if texts is None else Both(texts["zh"], texts["en"])


def _weaker(event: dict[str, Any], promised: dict[str, str | None]) -> Verdict | None:
    """A verdict of a run that had less isolation than the probe found is not given."""
    obtained = event.get("layers") or {}
    lost = [layer for layer, missing in promised.items() if missing is None and obtained.get(layer, "")]
    if not lost:
        return None
    names = ", ".join(lost)
    text = Both(
        f"沙箱没有完整建立（缺少 {names}），这次没有运行。请再试一次。",
        f"The sandbox could not be set up fully ({names} missing), so this was not run. Try again.",
    )
    return Verdict("error", diagnosis=text, message=text)


def _cancelled() -> Verdict:
    text = Both("已取消。", "Cancelled.")
    return Verdict("cancelled", diagnosis=text, message=text)


def _runner_failed(error: Exception) -> Verdict:
    text = Both(
        "评分进程出了问题，不是你的代码。再提交一次；还不行就运行 teachllm doctor。",
        "The grading process failed; it is not your code. Submit again; if it persists, run teachllm doctor.",
    )
    return Verdict("error", diagnosis=text, message=Both.same(str(error)))

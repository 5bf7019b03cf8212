"""The submissions that are being graded, so that they can be stopped."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread

from teachllm.school.runner import GradeRun, Verdict

T = TypeVar("T")
_MOST_WAITING = 64


class Submissions:
    """Thread-safe."""

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(_MOST_WAITING)
        self._lock = threading.Lock()
        self._runs: dict[str, list[GradeRun]] = defaultdict(list)

    async def waiting(self, work: Callable[[], T]) -> T:
        """Runs what waits for a verdict in threads of its own: those that answer pages must stay free."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    def grade(self, lesson_id: str, run: GradeRun) -> Verdict:
        """Waits for the verdict; :meth:`cancel` ends the waiting."""
        with self._lock:
            self._runs[lesson_id].append(run)
        try:
            return run.result()
        finally:
            with self._lock:
                self._runs[lesson_id].remove(run)

    def cancel(self, lesson_id: str) -> int:
        """Stops the gradings of a lesson; returns how many there were."""
        with self._lock:
            runs = list(self._runs.get(lesson_id, ()))
        for run in runs:
            run.cancel()
        return len(runs)

    def stop(self) -> None:
        for lesson_id in list(self._runs):
            self.cancel(lesson_id)

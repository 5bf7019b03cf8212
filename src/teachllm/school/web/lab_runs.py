"""The labs that are running: started by a request, followed by a page, ended when no page follows them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

from teachllm.school.language import Both, Lang
from teachllm.school.runner import LabRun, Runner
from teachllm.school.web.event_log import Event, EventLog
from teachllm.school.web.event_stream import encoded

ATTACH_SECONDS = 15.0
"""How long a run waits for the page that started it."""
LEAVE_SECONDS = 1.0
"""How long it goes on when its last page has left: enough to attach again, too short to matter."""
_FINISHED_KEPT = 16


class LabRuns:
    """Thread-safe."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._stopped = False

    def start(
        self,
        lesson_id: str,
        name: str,
        args: dict[str, Any],
        lang: Lang,
        replace: dict[str, str],
        on_done: Callable[[list[Event]], None],
    ) -> str:
        """Starts a lab and returns the id of its run.

        ``on_done`` gets its events before anyone hears that it is done.
        Raises what :meth:`teachllm.school.runner.Runner.run_lab` raises.
        """
        lab = self._runner.run_lab(lesson_id, name, args, lang, replace or None)
        run_id = secrets.token_hex(8)
        run = _Run(lab, on_done, lang)
        with self._lock:
            if self._stopped:
                raise RuntimeError("the studio is closing")
            finished = [key for key, other in self._runs.items() if other.log.closed]
            for key in finished[:-_FINISHED_KEPT]:
                del self._runs[key]
            self._runs[run_id] = run
        run.begin()
        return run_id

    def log(self, run_id: str) -> EventLog | None:
        with self._lock:
            run = self._runs.get(run_id)
        return run.log if run else None

    def cancel(self, run_id: str) -> bool:
        """Whether there was such a run; it may have ended by itself."""
        with self._lock:
            run = self._runs.get(run_id)
        if run is not None:
            run.lab.cancel()
        return run is not None

    def stop(self) -> None:
        """Ends all of them, and takes no more."""
        with self._lock:
            self._stopped = True
            runs = list(self._runs.values())
        for run in runs:
            run.lab.cancel()
        for run in runs:
            run.thread.join(timeout=5)


class _Run:
    def __init__(self, lab: LabRun, on_done: Callable[[list[Event]], None], lang: Lang) -> None:
        self.lab = lab
        self.log = EventLog(on_alone=lambda: self._end_if_alone_in(LEAVE_SECONDS))
        self.thread = threading.Thread(target=self._work, name="lab", daemon=True)
        self._on_done = on_done
        self._lang: Lang = lang

    def begin(self) -> None:
        self.thread.start()
        self._end_if_alone_in(ATTACH_SECONDS)

    def _work(self) -> None:
        try:
            for event in self.lab:
                if event.get("event") == "done":
                    self._on_done(self.log.snapshot())
                if _can_be_told(event):
                    self.log.add(event)
        except Exception as error:
            text = Both(f"工作室没能记录这次运行：{error}", f"The studio could not record this run: {error}")
            self.log.add({"event": "error", "message": text.get(self._lang)})
            raise
        finally:
            self.log.close()

    def _end_if_alone_in(self, seconds: float) -> None:
        if self.log.closed:
            return
        timer = threading.Timer(seconds, self._end_if_alone)
        timer.daemon = True
        timer.start()

    def _end_if_alone(self) -> None:
        if not self.log.followers and not self.log.closed:
            self.lab.cancel()


def _can_be_told(event: Event) -> bool:
    """A learner's process may send what JSON cannot say (an infinite number); the page does without it."""
    try:
        encoded(event)
    except ValueError:
        return False
    return True

"""A lab on the studio's side: an iterable of events that can be cancelled from any thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from teachllm.school.course import course_folder
from teachllm.school.language import Both, Lang
from teachllm.school.runner.launcher import Job, Launcher, RunnerError
from teachllm.school.runner.slots import Slots
from teachllm.stack.data.assets import asset_folder

_THREADS = 2
_REPLACED_MEMORY_MB = 6144
_REPLACED_TIMES = 4  # a learner's function may be slower than the stack's
_PLAIN_SECONDS = (600.0, 20)  # at least; times the lab's own estimate
_LAST = {"done", "error", "cancelled"}
_KNOWN = {"progress", "metric", "sample", "show", "say", *_LAST}


class LabRun:
    """Iterate over it once: JSON events, the last of which is ``done``, ``error`` or ``cancelled``.

    ``{"event": "queued", "position"}`` may come first. Leaving the loop early cancels the lab.
    """

    def __init__(
        self,
        lesson_id: str,
        name: str,
        args: dict[str, Any],
        lang: Lang,
        replace: dict[str, str],
        launcher: Launcher,
        slots: Slots,
        hidden: tuple[str, ...],
        without: frozenset[str],
    ) -> None:
        from teachllm.school.lesson import load_lesson

        lesson = load_lesson(lesson_id)
        if name not in lesson.labs:
            known = ", ".join(lesson.labs) or "none"
            raise LookupError(f"lesson {lesson_id} has no lab {name!r}; it has: {known}")
        spec = lesson.labs[name]
        spec.run(args, lang)  # does not begin it, but refuses wrong arguments now
        self._lang: Lang = lang
        self._launcher = launcher
        self._slots = slots
        self._cancelled = threading.Event()
        self._timed_out = False
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._replaced = bool(replace)
        least, times = _PLAIN_SECONDS
        self._seconds = spec.seconds * _REPLACED_TIMES if replace else max(least, spec.seconds * times)
        folders = data_folders()
        self._request = {
            "role": "lab",
            "lesson": lesson_id,
            "name": name,
            "args": args,
            "lang": lang,
            "threads": _THREADS,
            "replace": replace,
            "seconds": self._seconds,
            "memory_mb": _REPLACED_MEMORY_MB,
            "readable": list(folders.values()),
            "environment": folders,
            "hidden": list(hidden),
            "without": sorted(without),
        }

    def cancel(self) -> None:
        """Kills the lab and all that it started."""
        self._cancelled.set()
        self._slots.wake()
        with self._lock:
            if self._job is not None:
                self._job.kill()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        place = self._slots.place(self._cancelled)
        try:
            for position in place.wait():
                yield {"event": "queued", "position": position}
            if place.taken:
                yield from self._events()
            else:
                yield {"event": "cancelled"}
        finally:
            place.release()

    def _out_of_time(self) -> None:
        self._timed_out = True
        with self._lock:
            if self._job is not None:
                self._job.kill()

    def _events(self) -> Iterator[dict[str, Any]]:
        try:
            job = self._launcher.start_job(self._request)
        except RunnerError as error:
            yield {"event": "error", "message": str(error)}
            return
        with self._lock:
            self._job = job
        guard = threading.Timer(self._seconds + 30.0, self._out_of_time)
        guard.daemon = True
        guard.start()
        try:
            if not self._cancelled.is_set():
                yield from self._follow(job)
            if self._cancelled.is_set():
                yield {"event": "cancelled"}
        finally:
            guard.cancel()
            with self._lock:
                self._job = None
            job.close()

    def _follow(self, job: Job) -> Iterator[dict[str, Any]]:
        last: dict[str, Any] | None = None
        ended: dict[str, Any] = {}
        with contextlib.suppress(ValueError):  # a learner's process that writes what is no event
            for event in job.events():
                kind = event.get("event")
                if kind == "ended":
                    ended = event
                elif last is None and kind in _KNOWN:
                    if kind not in _LAST:
                        yield event
                    elif self._replaced:
                        last = event  # what it printed comes before its end
                    else:
                        yield event
                        return
        if self._cancelled.is_set():
            return
        printed = str(ended.get("printed") or "").strip()
        if printed:
            title = Both("你的代码打印了：", "Your code printed:").get(self._lang)
            yield {"event": "say", "text": f"{title}\n{printed}"}
        yield last or self._why_it_ended(ended)

    def _why_it_ended(self, ended: dict[str, Any]) -> dict[str, Any]:
        line = ended.get("line")
        if self._timed_out or ended.get("timed_out"):
            at = Both(f"，停在你的第 {line} 行" if line else "", f", at your line {line}" if line else "")
            text = Both(
                f"超过 {self._seconds:.0f} 秒，已经停下{at.zh}。",
                f"Stopped after {self._seconds:.0f} seconds{at.en}.",
            )
        else:
            text = Both(
                "实验的进程意外结束了，多半是内存不够。",
                "The lab's process ended unexpectedly, mostly for lack of memory.",
            )
        return {"event": "error", "message": text.get(self._lang), "line": line}


def data_folders() -> dict[str, str]:
    """What a lab may read besides Python, by the variable that names it: the course, and fetched assets."""
    return {"TEACHLLM_COURSE": str(course_folder()), "TEACHLLM_ASSETS": str(asset_folder().absolute())}

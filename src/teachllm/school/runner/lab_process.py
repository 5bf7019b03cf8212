"""A lab in a process of its own: the events of its generator go out as lines of JSON.

A plain lab is the course's own code. With ``replace`` the learner's function stands in the real system, so
the lab runs locked in like a solution, and this process stays outside and tells how it ended: ``{"event":
"ended", "code", "timed_out", "line", "printed"}``.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from teachllm.school.runner import sandbox
from teachllm.school.runner.implementation import Output, Process
from teachllm.school.runner.learner import FILE, describe, load, write_no_numba_caches

Send: TypeAlias = Callable[[dict[str, Any]], None]

_MERGED = {"progress", "metric", "show"}  # a later one of the same name replaces the earlier one
_INTERVAL = 0.05
_MAX_SAMPLES = 20_000
_LINE = re.compile(rf'File "{re.escape(FILE)}", line (\d+)')


@dataclass(frozen=True)
class LockedLab:
    """A lab that runs locked in: its process, what it prints, the file in which it writes where it was."""

    process: Process
    output: int
    trace: IO[bytes]


StartLab: TypeAlias = Callable[[dict[str, Any], Any, Path], LockedLab]


def run_lab_job(request: dict[str, Any], lines: Any, run_folder: Path, start: StartLab) -> None:
    """Serves one request: ``lesson``, ``name``, ``args``, ``lang``, ``threads``.

    For a sandboxed run also ``replace``, ``seconds``, ``memory_mb``, ``readable``, ``hidden``,
    ``environment``, ``without``; ``start`` makes its process.
    """
    if not request["replace"]:
        with contextlib.suppress(OSError, AttributeError):  # Windows has no nice
            os.nice(5)
        _run(request, Merged(lines.send))
        return
    began = time.monotonic()
    locked = start(request, lines, run_folder)
    printed = Output()
    reader = threading.Thread(target=printed.read_all, args=(locked.output,), daemon=True)
    reader.start()
    code = locked.process.finish(request["seconds"] + 1.0)
    reader.join(timeout=1.0)
    locked.trace.seek(0)
    found = _LINE.search(locked.trace.read(1 << 16).decode("utf-8", "replace"))
    lines.send(
        {
            "event": "ended",
            "code": code,
            "timed_out": time.monotonic() - began >= request["seconds"],
            "line": int(found[1]) if found else None,
            "printed": printed.text(),
        }
    )


def confinement_of(request: dict[str, Any], run_folder: Path) -> sandbox.Confinement:
    return sandbox.Confinement(
        run_folder,
        request["seconds"],
        request["memory_mb"],
        threads=request["threads"],
        readable=tuple(map(Path, request["readable"])),
        hidden=tuple(map(Path, request["hidden"])),
        environment=request["environment"],
        without=frozenset(request["without"]),
    )


def serve_locked_in(request: dict[str, Any], send: Send, trace: IO[Any], layers: dict[str, Any]) -> None:
    """The lab with the learner's function, in a process that is locked in by now."""
    faulthandler.enable(file=trace, all_threads=False)
    faulthandler.dump_traceback_later(request["seconds"], exit=True, file=trace)
    send({"event": "locked in", "layers": layers})
    _run_replaced(request, Merged(send))


def _run_replaced(request: dict[str, Any], merged: Merged) -> None:
    write_no_numba_caches()
    for symbol, source in request["replace"].items():
        module, _, name = symbol.partition(":")
        original = getattr(importlib.import_module(module), name)
        try:
            mine = load(source, name)
        except BaseException as error:
            described = describe(error)
            merged.send(
                {
                    "event": "error",
                    "message": f"{described['kind']}: {described['text']}",
                    "traceback": described["trace"],
                    "line": described["line"],
                }
            )
            return
        install(original, mine)
    _run(request, merged)


def install(original: Any, replacement: Any) -> list[str]:
    """Puts ``replacement`` wherever a loaded module has ``original`` under some name; returns those places.

    That is the module that defines it and every module that imported it by name. A reference that was taken
    otherwise (a default argument, ``functools.partial``, an attribute of an object) keeps the original.
    """
    places = []
    for module_name, module in list(sys.modules.items()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is original:
                setattr(module, name, replacement)
                places.append(f"{module_name}:{name}")
    return places


def _run(request: dict[str, Any], merged: Merged) -> None:
    import torch

    from teachllm.school.lesson import load_lesson

    torch.set_num_threads(request["threads"])
    try:
        lab = load_lesson(request["lesson"]).labs[request["name"]]
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        merged.send({"event": "error", "message": text, "traceback": traceback.format_exc(), "line": None})
        return
    with merged:
        for event in lab.run(request["args"], request["lang"]):
            if event["event"] == "error":
                lines = _LINE.findall(event.get("traceback") or "")
                event = {**event, "line": int(lines[-1]) if lines else None}
            merged.send(event)


class Merged:
    """Sends events on, at most one of a kind and name in 50 ms where a later one replaces the earlier one.

    Samples are points of a line and are all kept, up to a limit; text and endings are never held back. So a
    lab may yield as often as it likes, and the last state always arrives.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: dict[tuple[str, Any], dict[str, Any]] = {}
        self._flushed = 0.0
        self._samples = 0
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Merged:
        self._open.set()
        self._thread = threading.Thread(target=self._flush_regularly, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.clear()
        with self._lock:
            self._flush()

    def send(self, event: dict[str, Any]) -> None:
        with self._lock:
            kind = event["event"]
            if kind in _MERGED:
                self._waiting[kind, event.get("name")] = event
                if time.monotonic() - self._flushed >= _INTERVAL:
                    self._flush()
                return
            if kind == "sample":
                self._samples += 1
                if self._samples <= _MAX_SAMPLES:
                    self._send(event)
                return
            self._flush()
            self._send(event)

    def _flush(self) -> None:
        for event in self._waiting.values():
            self._send(event)
        self._waiting.clear()
        self._flushed = time.monotonic()

    def _flush_regularly(self) -> None:
        while self._open.is_set():
            time.sleep(_INTERVAL)
            with self._lock:
                self._flush()

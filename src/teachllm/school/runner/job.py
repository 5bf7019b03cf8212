"""What a forked (or spare) process does with one request: grade a submission, or run a lab.

The request is one line of JSON; what happens is told by lines of JSON. See
:mod:`teachllm.school.runner.checker` and :mod:`teachllm.school.runner.lab_process` for the events.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teachllm.school.runner import lab_process, sandbox
from teachllm.school.runner.checker import GradeRequest, grade
from teachllm.school.runner.implementation import Learner
from teachllm.school.runner.lab_process import LockedLab, StartLab, run_lab_job, serve_locked_in
from teachllm.school.runner.learner import answer_calls


class Lines:
    """JSON objects over a pair of file descriptors, one a line. Writing is safe from several threads."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.write_fd = write_fd
        self._read_fd = read_fd
        self._lock = threading.Lock()

    def receive(self) -> dict[str, Any] | None:
        """The request, which is one object and all that comes; ``None`` at the end of the stream."""
        line = bytearray()
        while not line.endswith(b"\n"):
            chunk = os.read(self._read_fd, 1 << 16)
            if not chunk:
                return None
            line += chunk
        return json.loads(line)

    def send(self, message: dict[str, Any]) -> None:
        data = memoryview(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        with self._lock:
            while data:
                data = data[os.write(self.write_fd, data) :]


@dataclass(frozen=True)
class Start:
    """How untrusted processes are made here: one that answers a checker's calls, and one that runs a lab."""

    learner: Callable[[GradeRequest], Learner]
    lab: StartLab


def run_job(request: dict[str, Any], lines: Lines, run_folder: Path, start: Start) -> None:
    """Serves a request."""
    if request["role"] == "lab":
        run_lab_job(request, lines, run_folder, start.lab)
        return
    grade_request = GradeRequest(
        checks=Path(request["checks"]),
        function=request["function"],
        parameters=tuple(request["parameters"]),
        source=request["source"],
        seconds=request["seconds"],
        memory_mb=request["memory_mb"],
        run_folder=run_folder,
        hidden=tuple(map(Path, request["hidden"])),
        without=frozenset(request["without"]),
    )
    grade(grade_request, start.learner, lines.send)


def confinement_of(request: GradeRequest) -> sandbox.Confinement:
    return sandbox.Confinement(
        request.run_folder,
        request.seconds,
        request.memory_mb,
        hidden=request.hidden,
        without=request.without,
    )


def fork_learner(request: GradeRequest) -> Learner:
    """The learner's process as a sandboxed fork of this one, which has imported all that it needs."""
    began = time.monotonic()
    calls_read, calls_write = os.pipe()
    replies_read, replies_write = os.pipe()
    output_read, output_write = os.pipe()
    trace = tempfile.TemporaryFile(prefix="teachllm-trace-")  # noqa: SIM115

    def main(obtained: sandbox.Obtained) -> None:
        answer_calls(
            request.source,
            request.function,
            calls_read,
            replies_write,
            trace,
            request.seconds,
            obtained.layers,
        )

    keep = [calls_read, replies_write, trace.fileno()]
    gate = sandbox.fork_sandboxed(confinement_of(request), keep, output_write, main)
    for fd in (calls_read, replies_write, output_write):
        os.close(fd)
    return Learner(gate, calls_write, replies_read, output_read, trace, request.seconds, began)


def fork_lab(request: dict[str, Any], lines: Lines, run_folder: Path) -> LockedLab:
    output_read, output_write = os.pipe()
    trace = tempfile.TemporaryFile(prefix="teachllm-trace-")  # noqa: SIM115
    gate = sandbox.fork_sandboxed(
        lab_process.confinement_of(request, run_folder),
        [lines.write_fd, trace.fileno()],
        output_write,
        lambda obtained: serve_locked_in(request, lines.send, trace, obtained.layers),
    )
    os.close(output_write)
    return LockedLab(gate, output_read, trace)


FORKED = Start(fork_learner, fork_lab)

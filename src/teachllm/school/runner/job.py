"""What a forked (or spare) process does with one request: grade a submission, or run a lab.

The request is one line of JSON; what happens is told by lines of JSON. See :mod:`teachllm.school.runner.checker`
and :mod:`teachllm.school.runner.lab_process` for the events.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from teachllm.school.runner import sandbox
from teachllm.school.runner.checker import GradeRequest, grade
from teachllm.school.runner.implementation import Learner
from teachllm.school.runner.learner import answer_calls


class Lines:
    """JSON objects over a pair of file descriptors, one a line. Writing is safe from several threads."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.write_fd = write_fd
        self._read_fd = read_fd
        self._lock = threading.Lock()

    def receive(self) -> dict[str, Any] | None:
        """One object; ``None`` at the end of the stream. Reads byte by byte: nothing beyond the line is taken."""
        line = bytearray()
        while not line.endswith(b"\n"):
            chunk = os.read(self._read_fd, 1)
            if not chunk:
                return None
            line += chunk
        return json.loads(line)

    def send(self, message: dict[str, Any]) -> None:
        data = memoryview(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        with self._lock:
            while data:
                data = data[os.write(self.write_fd, data) :]


def run_job(lines: Lines, run_folder: Path, start: Callable[[GradeRequest], Learner] | None = None) -> None:
    """Receives a request and serves it. ``start`` makes the learner's process (default: a sandboxed fork)."""
    request = lines.receive()
    if request is None:
        return
    if request["role"] == "lab":
        from teachllm.school.runner.lab_process import run_lab_job

        run_lab_job(request, lines, run_folder)
        return
    import torch

    torch_threads = torch.set_num_threads
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

    def started(request: GradeRequest) -> Learner:
        learner = (start or fork_learner)(request)
        torch_threads(1)  # only now: a process that has used torch's threads cannot fork one that does
        return learner

    grade(grade_request, started, lines.send)


def fork_learner(request: GradeRequest) -> Learner:
    """The learner's process as a sandboxed fork of this one, which has imported all that it needs."""
    calls_read, calls_write = os.pipe()
    replies_read, replies_write = os.pipe()
    output_read, output_write = os.pipe()
    trace = tempfile.TemporaryFile(prefix="teachllm-trace-")
    confinement = sandbox.Confinement(
        request.run_folder,
        request.seconds,
        request.memory_mb,
        hidden=request.hidden,
        without=request.without,
    )

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

    gate = sandbox.fork_sandboxed(
        confinement, [calls_read, replies_write, trace.fileno()], output_write, main
    )
    for fd in (calls_read, replies_write, output_write):
        os.close(fd)
    return Learner(gate, calls_write, replies_read, output_read, trace, request.seconds)

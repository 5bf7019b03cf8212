"""The processes of a spare: ``outer FOLDER``, its child ``inner``, and ``probe`` (see ``spare``).

The inner process reads one frame, the request, then locks itself in and serves it: it answers a checker's
calls, or runs a lab with the learner's function, whose events the outer process passes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from teachllm.school.runner import sandbox, syscalls
from teachllm.school.runner.checker import GradeRequest
from teachllm.school.runner.encoding import decode, encode, read_frame, write_frame
from teachllm.school.runner.implementation import Learner
from teachllm.school.runner.job import Lines, Start, run_job
from teachllm.school.runner.lab_process import LockedLab, serve_locked_in
from teachllm.school.runner.lab_process import confinement_of as lab_confinement
from teachllm.school.runner.launcher import passed_environment
from teachllm.school.runner.learner import answer_calls
from teachllm.school.runner.preload import preload


def start_module(*arguments: str, stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """``outer`` gets a process group of its own, which its child shares."""
    return subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", "-m", "teachllm.school.runner.spare_process", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=passed_environment(),
        start_new_session=arguments[0] == "outer",
    )


class Inner:
    """The outer process's handle on its child. It serves one request."""

    def __init__(self) -> None:
        self._process = start_module("inner", str(os.getpid()), stderr=subprocess.PIPE)
        self.calls, self.replies, self.output = (
            _own_copy(stream) for stream in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        self._relay: threading.Thread | None = None

    def imported(self) -> bool:
        """Waits until it has imported everything; False if it ended instead."""
        return read_frame(self.replies) is not None

    def ask(self, request: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # who reads its answers will find that it has ended
            write_frame(self.calls, encode(request))

    def relay(self, write_fd: int) -> None:
        """From now on, all that it sends goes on to ``write_fd``."""

        def copy() -> None:
            with contextlib.suppress(OSError):
                while chunk := os.read(self.replies, 1 << 16):
                    while chunk:
                        chunk = chunk[os.write(write_fd, chunk) :]

        self._relay = threading.Thread(target=copy, daemon=True)
        self._relay.start()

    def kill(self) -> None:
        self._process.kill()

    def finish(self, grace: float) -> int | None:
        try:
            code = self._process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = None
        if self._relay is not None:
            self._relay.join(timeout=1.0)
        return code


class Serving:
    """How the outer process has untrusted work done: by its child, which has imported everything."""

    def __init__(self, inner: Inner, folder: Path) -> None:
        self._inner = inner
        self._run_folder = folder / "run"
        self._run_folder.mkdir(mode=0o700)
        self._trace_path = folder / "trace"
        self._trace = self._trace_path.open("w+b")

    def start_learner(self, request: GradeRequest) -> Learner:
        began = time.monotonic()
        self._ask(
            {
                "role": "grade",
                "source": request.source,
                "function": request.function,
                "seconds": request.seconds,
                "memory_mb": request.memory_mb,
                "without": sorted(request.without),
            }
        )
        inner = self._inner
        return Learner(inner, inner.calls, inner.replies, inner.output, self._trace, request.seconds, began)

    def start_lab(self, request: dict[str, Any], lines: Lines, _: Path) -> LockedLab:
        self._ask(request)
        self._inner.relay(lines.write_fd)
        return LockedLab(self._inner, self._inner.output, self._trace)

    def _ask(self, request: dict[str, Any]) -> None:
        self._inner.ask({**request, "run_folder": str(self._run_folder), "trace": str(self._trace_path)})


def outer(folder: Path) -> None:
    input_fd, output_fd = os.dup(0), os.dup(1)
    _point(0, os.devnull)
    os.dup2(2, 1)
    lines = Lines(input_fd, output_fd)
    if syscalls.ON_LINUX:
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    inner = Inner()
    loaded = preload()
    if not inner.imported():
        sys.stderr.write(os.read(inner.output, 1 << 16).decode("utf-8", "replace"))
        return
    lines.send(loaded)
    request = lines.receive()
    if request is None:
        return

    def end_with_the_studio() -> None:
        while os.read(input_fd, 1):
            pass
        _point(output_fd, os.devnull)  # nobody is to be told that the learner's process was killed
        inner.kill()
        sandbox.kill_children()
        os._exit(1)

    threading.Thread(target=end_with_the_studio, daemon=True).start()
    serving = Serving(inner, folder)
    run_job(request, lines, folder, Start(serving.start_learner, serving.start_lab))
    inner.kill()
    sandbox.kill_children()


def inner(parent: int) -> None:
    """``parent`` is the outer process."""
    if syscalls.ON_LINUX:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
    calls, replies = os.dup(0), os.dup(1)
    _point(0, os.devnull)
    os.dup2(2, 1)
    preload()
    write_frame(replies, encode("imported"))
    frame = read_frame(calls)
    if frame is None:
        return
    request = decode(frame)
    folder = Path(request["run_folder"])
    with open(request["trace"], "r+b") as trace:
        if request["role"] == "lab":
            confinement = lab_confinement(request, folder)
        else:
            confinement = sandbox.Confinement(
                folder, request["seconds"], request["memory_mb"], without=frozenset(request["without"])
            )
        layers = _lock_in(confinement)
        if request["role"] == "lab":
            serve_locked_in(request, Lines(calls, replies).send, trace, layers)
            return
        source, function, seconds = request["source"], request["function"], request["seconds"]
        answer_calls(source, function, calls, replies, trace, seconds, layers)


def probe(folder: Path, without: list[str]) -> None:
    """Writes which layers a process gets that locks itself in here."""
    output = os.dup(1)
    os.dup2(2, 1)
    confinement = sandbox.Confinement(folder, 5, 256, without=frozenset(without))
    os.write(output, json.dumps(_lock_in(confinement)).encode())


def _lock_in(confinement: sandbox.Confinement) -> dict[str, str | None]:
    obtained = sandbox.Obtained({"namespaces": "needs a process that is forked"})
    sandbox.lock_in_here(confinement, obtained)
    return obtained.layers


def _own_copy(stream: IO[bytes] | None) -> int:
    """The stream's file descriptor, owned by the caller."""
    if stream is None:
        raise OSError("a process without a stream that was asked for")
    copy = os.dup(stream.fileno())
    stream.close()
    return copy


def _point(fd: int, path: str) -> None:
    opened = os.open(path, os.O_RDWR)
    os.dup2(opened, fd)
    os.close(opened)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["outer", folder]:
            outer(Path(folder))
        case ["inner", parent]:
            inner(int(parent))
        case ["probe", folder, without]:
            probe(Path(folder), json.loads(without))

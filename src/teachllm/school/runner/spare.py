"""Jobs without fork (macOS, Windows): processes that have been started, and have imported all, ahead of time.

A spare is two processes: an outer one, which is trusted and serves the job, and its child, in which the
learner's code is locked in. The studio talks to the outer process over its standard input and output, and
that one to its child in the same way, so that this works on every system. They end when the stream that they
read from ends, so nothing outlives the studio.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from teachllm.school.runner import sandbox
from teachllm.school.runner.launcher import MAX_LINE, Job, RunnerError, parse_event
from teachllm.school.runner.run_folder import remove_tree
from teachllm.school.runner.spare_process import start_module

_KILL_AFTER = 2.0


class SpareLauncher:
    """Keeps one spare, and starts the next one when it is taken."""

    def __init__(self, without: frozenset[str] = frozenset()) -> None:
        self._without = without
        self._lock = threading.Lock()
        self._spare: _Spare | None = None
        self._layers: dict[str, str | None] | None = None
        self._running: weakref.WeakSet[_Spare] = weakref.WeakSet()
        self._closed = False

    def start(self) -> None:
        threading.Thread(target=self._start, name="teachllm-spare-start", daemon=True).start()

    def _start(self) -> None:
        with contextlib.suppress(RunnerError):  # who asks for a job is told
            self.ready()

    def is_ready(self) -> bool:
        spare = self._spare
        return spare is not None and spare.told.is_set() and self._layers is not None

    def ready(self, timeout: float | None = None) -> dict[str, Any]:
        answer = self._current().wait_ready(timeout)
        if self._layers is None:
            self._layers = _probe(self._without)
        return {**answer, "layers": self._layers}

    def start_job(self, request: dict[str, Any]) -> Job:
        self._current().wait_ready(None)
        with self._lock:
            spare, self._spare = self._spare, None
            if spare is not None:
                self._running.add(spare)
        if spare is None:  # somebody else was quicker
            return self.start_job(request)
        self._current()
        return spare.serve(request)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            spares = [*self._running, *([self._spare] if self._spare else [])]
            self._spare = None
        for spare in spares:
            spare.close()

    def _current(self) -> _Spare:
        with self._lock:
            if self._closed:
                raise RunnerError("the runner is closed")
            if self._spare is None or not self._spare.alive():
                if self._spare is not None:
                    self._spare.close()
                self._spare = _Spare()
            return self._spare


class _Spare:
    """One outer process: first waiting for its request, then the job that serves it."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile(prefix="teachllm-runner-log-")  # noqa: SIM115
        self._folder = Path(tempfile.mkdtemp(prefix="teachllm-run-"))
        self._process = start_module("outer", str(self._folder), stderr=self._log)
        self.told = threading.Event()
        self._answer: dict[str, Any] | None = None
        self._closing = threading.Lock()
        self._closed = False
        threading.Thread(target=self._listen, name="teachllm-spare", daemon=True).start()

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, timeout: float | None) -> dict[str, Any]:
        if not self.told.wait(timeout):
            raise TimeoutError("the process for learner code is still starting")
        if self._answer is None:
            self._log.seek(0)
            end = self._log.read()[-2000:].decode("utf-8", "replace").strip()
            raise RunnerError(f"the process for learner code could not start: {end or 'no reason given'}")
        return self._answer

    def serve(self, request: dict[str, Any]) -> Job:
        with contextlib.suppress(OSError):
            stream = _stdin(self._process)
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()
        return self

    def events(self) -> Iterator[dict[str, Any]]:
        stream = _stdout(self._process)
        while line := stream.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise ValueError(f"an event of more than {MAX_LINE:,} bytes")
            if line.endswith(b"\n"):
                yield parse_event(line)

    def kill(self) -> None:
        """The end of its input tells the process to kill what it started and to end; soon it is made to."""
        with contextlib.suppress(OSError):
            _stdin(self._process).close()
        timer = threading.Timer(_KILL_AFTER, self._force)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
            if not self.told.is_set():  # it is importing and does not listen; nothing untrusted runs in it
                self._force()
            else:
                self.kill()
            try:
                self._process.wait(timeout=_KILL_AFTER + 1.0)
            except subprocess.TimeoutExpired:
                self._force()
                self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._log):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            remove_tree(self._folder)

    def _force(self) -> None:
        if self._process.poll() is None:
            kill_tree(self._process)

    def _listen(self) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):
                self._answer = json.loads(_stdout(self._process).readline(MAX_LINE))
        finally:
            self.told.set()


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _probe(without: frozenset[str]) -> dict[str, str | None]:
    """Which layers a locked-in process gets here."""
    with tempfile.TemporaryDirectory(prefix="teachllm-probe-") as folder:
        process = start_module("probe", folder, json.dumps(sorted(without)), stderr=subprocess.DEVNULL)
        output, _ = process.communicate(timeout=60)
    if not output:
        return dict.fromkeys(sandbox.LAYERS, f"the probe ended with {process.returncode}")
    return json.loads(output)


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdin is None:
        raise OSError("the process has no input")
    return process.stdin


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise OSError("the process has no output")
    return process.stdout

"""The studio's handle on processes: starts a job, talks to it, kills it.

On Linux jobs are forked by the zygote; elsewhere (:mod:`teachllm.school.runner.spare`) each job is a process
that was started and has imported everything ahead of time. Both give the same :class:`Job`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, Protocol

MAX_LINE = 32 * 2**20
# All that a runner's process gets to know of the studio's environment: no keys, no database password.
_PASSED = (
    *("PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP"),
    *("SYSTEMROOT", "USERPROFILE", "LOCALAPPDATA", "APPDATA"),
    *("TEACHLLM_COURSE", "TEACHLLM_HOME", "TEACHLLM_ASSETS", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"),
    *(
        "OMP_NUM_THREADS",
        "OMP_WAIT_POLICY",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMBA_CACHE_DIR",
    ),
    *("TOKENIZERS_PARALLELISM", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
)


class RunnerError(RuntimeError):
    """The runner's own processes could not be started or have died; not the learner's doing."""


class Job(Protocol):
    """One running process. ``events`` yields what it tells until it ends; :meth:`kill` may come any time."""

    def events(self) -> Iterator[dict[str, Any]]: ...

    def kill(self) -> None: ...

    def close(self) -> None:
        """Kills it if it runs, and frees what it held. Call it when done with the events."""
        ...


class Launcher(Protocol):
    def start(self) -> None:
        """Begins to start up, in the background."""
        ...

    def ready(self, timeout: float | None = None) -> dict[str, Any]:
        """Waits until jobs start at once: ``seconds``, ``failed``, ``layers``; or :class:`RunnerError`."""
        ...

    def is_ready(self) -> bool: ...

    def start_job(self, request: dict[str, Any]) -> Job: ...

    def close(self) -> None: ...


def passed_environment() -> dict[str, str]:
    chosen = {name: os.environ[name] for name in _PASSED if name in os.environ}
    chosen |= {name: value for name, value in os.environ.items() if name.startswith(("LC_", "XDG_"))}
    return chosen


def parse_event(line: bytes) -> dict[str, Any]:
    """One line as an event. Raises ``ValueError`` if it is not a JSON object."""
    event = json.loads(line)
    if not isinstance(event, dict):
        raise ValueError(f"not an event: {line[:60]!r}")
    return event


class ZygoteLauncher:
    """Keeps a zygote; starts a new one when it is gone."""

    def __init__(self, without: frozenset[str] = frozenset()) -> None:
        self._without = without
        self._lock = threading.RLock()
        self._zygote: _ZygoteHandle | None = None
        self._closed = False

    def start(self) -> None:
        self._current()

    def is_ready(self) -> bool:
        zygote = self._zygote
        return zygote is not None and zygote.alive() and zygote.is_ready.is_set()

    def ready(self, timeout: float | None = None) -> dict[str, Any]:
        return self._current().wait_ready(timeout)

    def start_job(self, request: dict[str, Any]) -> Job:
        for attempt in (1, 2):
            zygote = self._current()
            zygote.wait_ready(None)
            try:
                return zygote.start_job(request)
            except OSError:  # it died just now
                zygote.close()
                if attempt == 2:
                    raise RunnerError("the fork server of learner code keeps dying") from None
        raise AssertionError

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._zygote is not None:
                self._zygote.close()

    def _current(self) -> _ZygoteHandle:
        with self._lock:
            if self._closed:
                raise RunnerError("the runner is closed")
            if self._zygote is None or not self._zygote.alive():
                if self._zygote is not None:
                    self._zygote.close()
                self._zygote = _ZygoteHandle(self._without)
            return self._zygote


class _ZygoteHandle:
    def __init__(self, without: frozenset[str]) -> None:
        self._log = tempfile.TemporaryFile(prefix="teachllm-runner-log-")  # noqa: SIM115
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        options = json.dumps({"without": sorted(without)})
        module = "teachllm.school.runner.zygote"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-m", module, str(theirs.fileno()), options],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                env=passed_environment(),
                start_new_session=True,  # Ctrl-C in the terminal is the studio's to handle
            )
        self.is_ready = threading.Event()
        self._answer: dict[str, Any] | None = None
        self._numbers = itertools.count(1)
        self._send_lock = threading.Lock()
        self._reader = threading.Thread(target=self._listen, name="teachllm-zygote", daemon=True)
        self._reader.start()

    def alive(self) -> bool:
        return self._process.poll() is None and not (self.is_ready.is_set() and self._answer is None)

    def wait_ready(self, timeout: float | None) -> dict[str, Any]:
        if not self.is_ready.wait(timeout):
            raise TimeoutError("the fork server of learner code is still starting")
        if self._answer is None:
            self._log.seek(0)
            end = self._log.read()[-2000:].decode("utf-8", "replace").strip()
            raise RunnerError(f"the fork server of learner code could not start: {end or 'no reason given'}")
        return self._answer

    def start_job(self, request: dict[str, Any]) -> Job:
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._send_lock:
                socket.send_fds(self._control, [json.dumps({"start": number}).encode()], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        job = _ForkedJob(self, number, ours)
        with contextlib.suppress(OSError):
            ours.sendall(json.dumps(request).encode() + b"\n")
        return job

    def kill_job(self, number: int) -> None:
        with contextlib.suppress(OSError), self._send_lock:
            self._control.send(json.dumps({"kill": number}).encode())

    def close(self) -> None:
        if not self.is_ready.is_set():
            self._process.kill()  # it is still importing, so it would not notice, and has no jobs
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=5)
        self._control.close()
        self._log.close()

    def _listen(self) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := self._control.recv(1 << 20):
                    message = json.loads(data)
                    if "ready" in message:
                        self._answer = message["ready"]
                        self.is_ready.set()
        finally:
            self.is_ready.set()


class _ForkedJob:
    def __init__(self, zygote: _ZygoteHandle, number: int, channel: socket.socket) -> None:
        self._zygote = zygote
        self._number = number
        self._channel = channel

    def events(self) -> Iterator[dict[str, Any]]:
        buffer = bytearray()
        while True:
            try:
                chunk = self._channel.recv(1 << 16)
            except OSError:
                return
            if not chunk:
                return
            buffer += chunk
            *lines, rest = buffer.split(b"\n") if b"\n" in chunk else [buffer]
            buffer = bytearray(rest)
            if len(buffer) > MAX_LINE:
                raise ValueError(f"an event of more than {MAX_LINE:,} bytes")
            for line in lines:
                if line.strip():
                    yield parse_event(bytes(line))

    def kill(self) -> None:
        self._zygote.kill_job(self._number)

    def close(self) -> None:
        self.kill()
        self._channel.close()

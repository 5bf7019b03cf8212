"""The fork server: a process that has imported everything and forks a child for every request (Linux).

It is started by :class:`teachllm.school.runner.launcher.ZygoteLauncher` as ``python -m …zygote FD OPTIONS``,
has one thread, runs no torch operation, and ends when the studio's end of the control socket closes.

Control messages (JSON, one a packet): from the studio ``{"start": id}`` with one descriptor, the job's
channel, and ``{"kill": id}``; to the studio ``{"ready": …}`` once and ``{"ended": id, "code": …}`` for each
job.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn

from teachllm.school.runner import sandbox, syscalls
from teachllm.school.runner.job import FORKED, Lines, run_job
from teachllm.school.runner.preload import preload
from teachllm.school.runner.run_folder import remove_tree

_MESSAGE = 1 << 16


class Zygote:
    def __init__(self, control: socket.socket, folder: Path) -> None:
        self._control = control
        self._folder = folder
        self._jobs: dict[int, int] = {}  # process → job
        self._sweep_until = 0.0
        self._wakeup, wakeup_write = socket.socketpair()
        for end in (self._wakeup, wakeup_write):
            end.setblocking(False)
        self._wakeup_write = wakeup_write
        signal.set_wakeup_fd(wakeup_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Until the studio is gone."""
        try:
            while self._step():
                pass
        finally:
            for pid in self._jobs:
                _kill_group(pid)
            sandbox.kill_children()

    def _step(self) -> bool:
        sweeping = time.monotonic() < self._sweep_until
        ready, _, _ = select.select([self._control, self._wakeup], [], [], 0.1 if sweeping else None)
        if self._wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                self._wakeup.recv(4096)
        self._reap()
        if sweeping:
            sandbox.kill_children(known=self._jobs)
        return self._control not in ready or self._obey()

    def _obey(self) -> bool:
        """One message; False when the studio has closed its end."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE, 1)
        except ConnectionError:
            return False
        if not data:
            return False
        message = json.loads(data)
        if "start" in message:
            self._start(message["start"], fds[0])
        else:
            for pid, job in self._jobs.items():
                if job == message["kill"]:
                    _kill_group(pid)
        return True

    def _start(self, job: int, channel: int) -> None:
        folder = self._folder / str(job)
        folder.mkdir(mode=0o700)
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_job(channel, folder, zygote)
        os.close(channel)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self._jobs[pid] = job

    def _be_job(self, channel: int, folder: Path, zygote: int) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._control, self._wakeup, self._wakeup_write):
                end.close()
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != zygote:
                os._exit(125)
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
            lines = Lines(channel, channel)
            request = lines.receive()
            if request is not None:
                run_job(request, lines, folder, FORKED)
            sandbox.kill_children()
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            job = self._jobs.pop(pid, None)
            if job is None:
                continue
            # What it leaves behind is handed to this process, some of it only in a moment.
            self._sweep_until = time.monotonic() + 1.0
            sandbox.kill_children(known=self._jobs)
            remove_tree(self._folder / str(job))
            ended = {"ended": job, "code": os.waitstatus_to_exitcode(status)}
            with contextlib.suppress(OSError):
                self._control.send(json.dumps(ended).encode())


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loaded = preload()
    layers = sandbox.probe(frozenset(options["without"]))
    folder = Path(tempfile.mkdtemp(prefix="teachllm-runs-"))
    try:
        with contextlib.suppress(OSError):
            control.send(json.dumps({"ready": {**loaded, "layers": layers}}).encode())
            Zygote(control, folder).serve()
    finally:
        remove_tree(folder)


if __name__ == "__main__":
    main()

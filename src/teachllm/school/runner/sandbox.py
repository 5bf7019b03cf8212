"""Locking a process in before it runs learner code.

``fork_sandboxed`` makes the process; it stands behind a *gate*, a small trusted process that creates the
namespaces, waits for it and tells how it ended. Every layer is applied if the system gives it; what was
obtained is reported (:class:`Obtained`) and shown by ``teachllm doctor``. The limits need nothing and are
always there.

==============  =====================================================================================
layer           what it holds back
==============  =====================================================================================
namespaces      sees no other process, no network, no other IPC; private folders are hidden
capabilities    root is not root; nothing can be gained by exec
landlock        opens no file outside Python, the course and its run folder; writes only in the run folder
seccomp         no sockets, no processes, no signals to others (threads stay possible)
limits          memory, CPU seconds, file size, open files
==============  =====================================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from teachllm.school.runner import landlock, seccomp, syscalls

LAYERS = ("namespaces", "capabilities", "landlock", "seccomp", "limits")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class Confinement:
    """What a sandboxed process may have. Paths need not exist; ``memory_mb`` is on top of what is loaded."""

    run_folder: Path
    seconds: float
    memory_mb: int
    file_mb: int = 32
    folder_mb: int = 64
    threads: int = 2
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()


@dataclass
class Obtained:
    """Each layer with ``None`` if it is in place, else the reason why not."""

    layers: dict[str, str | None] = field(default_factory=dict)

    def attempt(self, layer: str, without: frozenset[str], action: Callable[[], None]) -> None:
        if layer in without:
            self.layers[layer] = "switched off"
            return
        if not syscalls.ON_LINUX and layer != "limits":
            self.layers[layer] = "needs Linux"
            return
        try:
            action()
            self.layers[layer] = None
        except OSError as error:
            self.layers[layer] = error.strerror or str(error)

    def has(self, layer: str) -> bool:
        return self.layers.get(layer, "not tried") is None


@dataclass(frozen=True)
class Gate:
    """The trusted end of :func:`fork_sandboxed`."""

    pid: int
    status_fd: int

    def kill(self) -> None:
        """Kills the sandboxed process and all that it started. Harmless if it is dead."""
        for inner in children_of(self.pid):
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(inner)
                # The number still means that child: it was not reaped and given to another process meanwhile.
                if inner in children_of(self.pid):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                os.close(handle)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def finish(self, grace: float) -> int | None:
        """Gives the process so long to end by itself, then kills it. Call it once, last.

        Returns how it ended, as ``subprocess`` counts (−9 for SIGKILL); ``None`` if it had to be killed.
        """
        ended, _, _ = select.select([self.status_fd], [], [], grace)
        if not ended:
            self.kill()
        os.waitpid(self.pid, 0)
        text = os.read(self.status_fd, 32)
        os.close(self.status_fd)
        return int(text) if text else None


def fork_sandboxed(
    confinement: Confinement, keep: Iterable[int], output: int, main: Callable[[Obtained], None]
) -> Gate:
    """Forks a locked-in process that runs ``main`` and ends.

    ``keep`` are the file descriptors that it inherits besides stdin (empty) and stdout and stderr
    (``output``). The calling process must have one thread.
    """
    status_read, status_write = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(status_write)
        return Gate(pid, status_read)
    os.close(status_read)
    try:
        _gate(confinement, {*keep}, output, main, parent, status_write)
    finally:
        os._exit(125)


def _gate(
    confinement: Confinement,
    keep: set[int],
    output: int,
    main: Callable[[Obtained], None],
    parent: int,
    status_fd: int,
) -> NoReturn:
    _close_all_but({*keep, output, status_fd})
    obtained = Obtained()
    obtained.attempt("namespaces", confinement.without, _new_namespaces)
    # Only now: the kernel forgets the wish when a process changes its credentials.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(125)
    gate_pid = os.getpid()
    inner = os.fork()
    if inner == 0:
        os.close(status_fd)
        code = 1
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() not in (gate_pid, 0):  # 0: in a namespace of its own it sees no parent
                os._exit(125)
            _lock_in(confinement, keep, output, obtained)
            main(obtained)
            sys.stdout.flush()
            sys.stderr.flush()
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _close_all_but({status_fd})
    _, status = os.waitpid(inner, 0)
    os.write(status_fd, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _new_namespaces() -> None:
    uid, gid = os.getuid(), os.getgid()
    syscalls.unshare(
        syscalls.CLONE_NEWUSER
        | syscalls.CLONE_NEWPID
        | syscalls.CLONE_NEWNS
        | syscalls.CLONE_NEWNET
        | syscalls.CLONE_NEWIPC
    )
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _lock_in(confinement: Confinement, keep: set[int], output: int, obtained: Obtained) -> None:
    if obtained.has("namespaces"):
        _arrange_mounts(confinement)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    _close_all_but(keep)
    lock_in_here(confinement, obtained)


def lock_in_here(confinement: Confinement, obtained: Obtained) -> None:
    """Locks this process in for good: every layer but the namespaces, which come before a process is forked.

    Standard output and error must already go where learner code may write.
    """
    without = confinement.without
    os.chdir(confinement.run_folder)
    os.environ.clear()
    folder = str(confinement.run_folder)
    os.environ.update({**_ENVIRONMENT, **confinement.environment, "HOME": folder, "TMPDIR": folder})
    tempfile.tempdir = None
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = (
        open(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        for fd in (1, 2)
    )
    with contextlib.suppress(OSError, AttributeError):  # Windows has no nice
        os.nice(5)
    obtained.attempt("limits", frozenset(), lambda: _limit(confinement))
    obtained.attempt("capabilities", without, _give_up_privileges)
    readable = (*python_files(), *confinement.readable)
    writable = (confinement.run_folder, Path(os.devnull))
    obtained.attempt("landlock", without, lambda: landlock.confine(readable, writable))
    obtained.attempt("seccomp", without, seccomp.install)


def _arrange_mounts(confinement: Confinement) -> None:
    """Everything read-only; own /proc, small file system as run folder, nothing where private data lie.

    Some of it is refused inside containers; Landlock covers the same ground, so that is no failure.
    """
    quiet = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    try:
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    except OSError:
        return
    with contextlib.suppress(OSError):
        syscalls.mount_read_only("/")
    mounts = [("proc", "/proc", "proc", quiet, "")]
    mounts += [
        ("tmpfs", str(folder), "tmpfs", quiet | syscalls.MS_RDONLY, "size=4k,mode=700")
        for folder in confinement.hidden
        if folder.is_dir()
    ]
    mounts.append(
        ("tmpfs", str(confinement.run_folder), "tmpfs", quiet, f"size={confinement.folder_mb}m,mode=700")
    )
    for arguments in mounts:
        with contextlib.suppress(OSError):
            syscalls.mount(*arguments)


def _give_up_privileges() -> None:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.drop_capabilities()


def _limit(confinement: Confinement) -> None:
    try:
        import resource
    except ImportError:
        raise OSError(f"{sys.platform} has no resource limits") from None
    # The hard limit counts: the first process of a namespace is spared the signal of the soft one.
    limits = {
        resource.RLIMIT_CPU: int(confinement.seconds * confinement.threads) + 5,
        resource.RLIMIT_FSIZE: confinement.file_mb * 2**20,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
    }
    if syscalls.ON_LINUX:
        with open("/proc/self/statm") as file:
            loaded = int(file.read().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = loaded + confinement.memory_mb * 2**20
    for kind, value in limits.items():
        _, ceiling = resource.getrlimit(kind)
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(kind, (value, value))
    if not syscalls.ON_LINUX:
        raise OSError(f"{sys.platform} does not limit the memory of a process")


def python_files() -> tuple[Path, ...]:
    """What a Python program reads to import and to run: no home folder, no data."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    places |= {entry for entry in sys.path if entry and os.path.isabs(entry)}
    system = ("/usr", "/lib", "/lib64", "/nix/store")
    settings = ("/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf")
    devices = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
    hardware = ("/sys/devices/system", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat")
    return tuple(Path(place) for place in (*sorted(places), *system, *settings, *devices, *hardware))


def _close_all_but(keep: set[int]) -> None:
    """Closes every descriptor from 3 on, except these."""
    previous = 2
    for fd in sorted({fd for fd in keep if fd > 2}):
        os.closerange(previous + 1, fd)
        previous = fd
    os.closerange(previous + 1, 1 << 20)


def children_of(pid: int) -> list[int]:
    """The processes started (or inherited) by the main thread of a process; none if it is gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def kill_children(known: Iterable[int] = ()) -> None:
    """Kills every child of this process that is not in ``known``: strays left to it as subreaper."""
    for _ in range(100):
        strays = set(children_of(os.getpid())) - set(known)
        if not strays:
            return
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def probe(without: frozenset[str]) -> dict[str, str | None]:
    """Locks a process in that only tells which layers it got. Call it in a process with one thread."""
    read_fd, write_fd = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    with tempfile.TemporaryDirectory(prefix="teachllm-probe-") as folder:
        confinement = Confinement(Path(folder), seconds=5, memory_mb=256, without=without)

        def tell(obtained: Obtained) -> None:
            os.write(write_fd, json.dumps(obtained.layers).encode())

        gate = fork_sandboxed(confinement, [write_fd], null, tell)
        os.close(write_fd)
        os.close(null)
        text = b""
        while chunk := os.read(read_fd, 65536):
            text += chunk
        os.close(read_fd)
        ended = gate.finish(5)
    if not text:
        return dict.fromkeys(LAYERS, f"the probe ended with {ended}")
    layers: dict[str, Any] = json.loads(text)
    return {layer: layers.get(layer, "not tried") for layer in LAYERS}

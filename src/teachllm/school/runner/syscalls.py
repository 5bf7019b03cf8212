"""The Linux system calls that Python's standard library does not offer, by ctypes.

Every function raises ``OSError`` with the kernel's errno, as those of ``os`` do.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE, MS_RDONLY = 2, 4, 8, 16384, 1 << 18, 1

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

ON_LINUX = sys.platform == "linux"
MACHINE = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(
    platform.machine()
)
# Loaded here, in the fork server, once: a sandboxed child can load no library that it has not got.
_libc: Any = ctypes.CDLL(None, use_errno=True) if ON_LINUX else None
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}


def call(number: int, *args: Any) -> int:
    """``syscall(2)``."""
    return _checked(_libc.syscall(ctypes.c_long(number), *args))


def prctl(option: int, value: int = 0) -> None:
    _checked(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _checked(
        _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode())
    )


def mount_read_only(target: str) -> None:
    """Makes a mount and all mounts below it read-only (Linux ≥ 5.12)."""
    read_only = 1
    attributes = ctypes.create_string_buffer(struct.pack("<QQQQ", read_only, 0, 0, 0), 32)
    at_cwd, recursive, mount_setattr = -100, 0x8000, 442
    call(
        mount_setattr,
        ctypes.c_int(at_cwd),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(recursive),
        attributes,
        ctypes.c_size_t(32),
    )


def drop_capabilities() -> None:
    """Gives up every capability for good, also those that a later exec could get back."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last capability of this kernel, or already without CAP_SETPCAP
    if MACHINE is None:
        raise OSError(f"no system call numbers for {platform.machine()}")
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    call(_SYS_CAPSET[MACHINE], ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def _checked(result: int) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result

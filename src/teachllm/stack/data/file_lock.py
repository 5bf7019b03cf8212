"""A lock between processes: a file that the operating system unlocks when its holder dies."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

POLL = 0.1  # seconds between two attempts


@contextlib.contextmanager
def file_lock(path: Path, while_waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock `path`, which is created; `while_waiting` is called ten times a second until it is free,
    and what it raises ends the waiting. Threads of one process exclude each other, too.
    """
    with open(path, "a+b") as file:
        while not _try_to_lock(file):
            while_waiting()
            time.sleep(POLL)
        yield  # closing the file unlocks it


if os.name == "nt":
    import msvcrt

    def _try_to_lock(file: BinaryIO) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_to_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

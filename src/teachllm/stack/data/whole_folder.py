"""A folder that is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"  # ends the name of a folder that is being written


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to write into; it becomes `path` when the block ends well, else it is deleted.

    After a kill or a power cut `path` is what it was or the new folder, never a mixture: everything is on the
    disk before it gets the name. (One that is replaced is away for an instant; killed in it, the next attempt
    brings it back.) What such an end leaves behind ends in `.partial`, and the next attempt clears it away.
    One process at a time may write a `path`.
    """
    partial = path.with_name(path.name + PARTIAL)
    old = path.with_name(path.name + ".old" + PARTIAL)
    if old.exists() and not path.exists():
        old.rename(path)
    for left_behind in (partial, old):
        shutil.rmtree(left_behind, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.rglob("*"):
            _to_disk(file)
        _to_disk(partial)
        if path.exists():
            path.rename(old)  # a folder cannot be renamed onto one that holds something
        partial.rename(path)
        _to_disk(path.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Wait until the file, or the list of names in the folder, would survive a power cut."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders; it writes their names in order
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

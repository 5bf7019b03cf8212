"""The folder that one run may write into."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Removes a folder, also one whose permissions learner code has taken away."""
    _open_up(folder)
    for parent, folders, _ in os.walk(folder):  # links are not followed
        for name in folders:
            path = Path(parent, name)
            if not path.is_symlink():
                _open_up(path)
    shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.chmod(0o700)

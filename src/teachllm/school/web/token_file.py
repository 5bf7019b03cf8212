"""The secret of this learner's studio: made once, kept beside their data, readable by its owner only."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path

_TOKEN = re.compile(r"[0-9a-f]{64}")


class TokenError(RuntimeError):
    """The token file cannot be used; the message says what to do."""


def token_in(home: Path) -> str:
    """The token in ``home``, made there at the first call. It stays, so that an open page survives a restart.

    A token that other users could read may be known to them: it is replaced.
    Raises :class:`TokenError` if the file belongs to someone else or does not hold a token.
    """
    home.mkdir(parents=True, exist_ok=True)
    path = home / "token"
    with contextlib.suppress(FileExistsError):
        _make(path)
    try:
        if path.is_symlink():
            raise TokenError(f"{path} is a link; remove it and start again")
        status = path.stat()
        if hasattr(os, "getuid"):
            if status.st_uid != os.getuid():
                raise TokenError(f"{path} belongs to another user; remove it and start again")
            if stat.S_IMODE(status.st_mode) & 0o077:
                path.unlink()
                return token_in(home)
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"cannot read {path}: {error}") from error
    if not _TOKEN.fullmatch(text):
        raise TokenError(f"{path} does not hold a token (64 hexadecimal digits); remove it and start again")
    return text


def _make(path: Path) -> None:
    """Creates it at once as a whole: two studios that start together agree on one token.

    Raises ``FileExistsError`` if it is there.
    """
    if path.exists():
        raise FileExistsError(path)
    draft = path.with_name(f"token.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32) + "\n")
        _link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(draft, path)

"""One key at a time from a terminal; a line at a time where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection


def read_key(accepted: Collection[str]) -> str | None:
    """Waits for one of the accepted keys (Enter counts as a space); ``None`` at the end of the input.

    Raises ``KeyboardInterrupt`` on Ctrl-C.
    """
    while True:
        key = _key()
        if key is None:
            return None
        key = " " if key in ("\r", "\n", "") else key.lower()
        if key in accepted:
            return key


def _key() -> str | None:
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return (line.strip()[:1] or "\n") if line else None
    if sys.platform == "win32":
        import msvcrt

        key = msvcrt.getwch()
        if key == "\x03":
            raise KeyboardInterrupt
        return key
    return _unix_key(sys.stdin.fileno())


def _unix_key(terminal: int) -> str | None:
    import select
    import termios
    import tty

    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)  # Ctrl-C still interrupts; what was typed ahead stays
        pressed = os.read(terminal, 1)
        if pressed == b"\x1b" or pressed >= b"\x80":
            # An arrow key or a Chinese character comes as several bytes: all of it is one key, and no answer.
            while select.select([terminal], [], [], 0.01)[0]:
                os.read(terminal, 1)
            return "?"
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    return None if pressed in (b"", b"\x04") else pressed.decode("ascii")

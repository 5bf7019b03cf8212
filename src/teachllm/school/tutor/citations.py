"""Citations of an answer while it is being written: only numbers that were given are let through."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"[\[【]\s*(\d{1,3}(?:\s*[,，、]\s*\d{1,3})*)\s*[\]】]")
_MAY_BEGIN = re.compile(r"[\[【][\d\s,，、]{0,24}$")


class Cited:
    """Takes the answer piece by piece and gives back what may be shown; an open bracket waits for its end.

    ``[2]`` stays if there is a source 2; ``[1, 9]`` becomes ``[1]`` if there is no source 9. ``used`` has the
    numbers that the answer cites.
    """

    def __init__(self, numbers: set[int]) -> None:
        self._numbers = numbers
        self._waiting = ""
        self.used: set[int] = set()

    def add(self, piece: str) -> str:
        text = self._waiting + piece
        begun = _MAY_BEGIN.search(text)
        at = begun.start() if begun else len(text)
        self._waiting = text[at:]
        return self._checked(text[:at])

    def end(self) -> str:
        """What waited: a bracket that was never closed is a bracket."""
        text, self._waiting = self._waiting, ""
        return self._checked(text)

    def _checked(self, text: str) -> str:
        return _WHOLE.sub(self._kept, text)

    def _kept(self, match: re.Match[str]) -> str:
        good = [number for number in map(int, re.findall(r"\d+", match[1])) if number in self._numbers]
        self.used.update(good)
        return "".join(f"[{number}]" for number in good)

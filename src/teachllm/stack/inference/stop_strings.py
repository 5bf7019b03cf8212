"""Stop strings in a stream of text."""

from __future__ import annotations

from collections.abc import Collection


class StopStrings:
    """Passes text on until one of `stops` appears in it, which may begin in one piece and end in another.

    Text waits while it could be the beginning of a stop string.
    """

    def __init__(self, stops: Collection[str]) -> None:
        if isinstance(stops, str) or not all(stops):
            raise ValueError(f"stop strings are {stops!r}; give a collection of texts that are not empty")
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._waiting = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What may be shown now. Once `stopped`, nothing more."""
        if self.stopped or not self._stops:
            return "" if self.stopped else text
        waiting = self._waiting + text
        found = [start for stop in self._stops if (start := waiting.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._waiting = ""
            return waiting[: min(found)]
        shown = len(waiting) - self._beginning_of_a_stop(waiting)
        self._waiting = waiting[shown:]
        return waiting[:shown]

    def flush(self) -> str:
        """What was waiting: the text is over, so it was no stop string."""
        rest, self._waiting = self._waiting, ""
        return rest

    def _beginning_of_a_stop(self, text: str) -> int:
        """How many characters at the end of `text` could begin a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0

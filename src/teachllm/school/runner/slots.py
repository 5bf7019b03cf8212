"""A bounded number of places, given in the order of asking; who waits is told its place in the queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Slots:
    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def acquire(
        self, cancelled: Callable[[], bool], on_wait: Callable[[int], None] = lambda position: None
    ) -> bool:
        """Waits for a place; False if ``cancelled`` became true first (call :meth:`wake` to have it looked at).

        ``on_wait`` is called with 1, 2, … whenever the place in the queue changes.
        """
        ticket, told = object(), 0
        with self._changed:
            self._waiting.append(ticket)
            try:
                while not cancelled():
                    position = self._waiting.index(ticket) + 1
                    if position <= self._free:
                        self._free -= 1
                        return True
                    if position != told:
                        told = position
                        on_wait(position)
                    self._changed.wait()
                return False
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def release(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

"""A bounded number of places, given in the order of asking; who waits is told its place in the queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator


class Slots:
    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Place] = deque()
        self._changed = threading.Condition()

    def place(self, cancelled: threading.Event) -> Place:
        """A place to wait for; who sets ``cancelled`` calls :meth:`wake`."""
        return Place(self, cancelled)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Place:
    """Iterate over :meth:`wait` and then look at ``taken``; whatever happens, call :meth:`release` last."""

    def __init__(self, slots: Slots, cancelled: threading.Event) -> None:
        self._slots = slots
        self._cancelled = cancelled
        self.taken = False

    def wait(self) -> Iterator[int]:
        """Yields the place in the queue, 1, 2, …, whenever it changes; ends when taken or cancelled."""
        slots, told = self._slots, 0
        with slots._changed:
            slots._waiting.append(self)
        try:
            while (position := self._moved(told)) is not None:
                told = position
                yield position
        finally:
            with slots._changed:
                slots._waiting.remove(self)
                slots._changed.notify_all()

    def release(self) -> None:
        with self._slots._changed:
            if self.taken:
                self.taken = False
                self._slots._free += 1
                self._slots._changed.notify_all()

    def _moved(self, told: int) -> int | None:
        """Waits until the position is another than ``told``; ``None`` when the waiting is over."""
        slots = self._slots
        with slots._changed:
            while not self._cancelled.is_set():
                position = slots._waiting.index(self) + 1
                if position <= slots._free:
                    slots._free -= 1
                    self.taken = True
                    return None
                if position != told:
                    return position
                slots._changed.wait()
        return None

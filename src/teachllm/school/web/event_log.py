"""Events that a thread writes and any number of pages follow, each from the beginning."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, TypeAlias

Event: TypeAlias = dict[str, Any]

# Of the kinds that a run can repeat without end, as many as a chart can show.
MOST_SAMPLES = 20_000
MOST_LINES = 2_000


class EventLog:
    """``add`` and ``close`` may come from any thread; ``follow`` belongs to an event loop.

    ``on_alone`` is called each time the last follower has left.
    """

    def __init__(self, on_alone: Callable[[], None] | None = None) -> None:
        self._events: list[Event] = []
        self._closed = False
        self._lock = threading.Lock()
        self._followers: set[_Follower] = set()
        self._on_alone = on_alone

    def add(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            self._wake()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._wake()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def followers(self) -> int:
        return len(self._followers)

    def snapshot(self) -> list[Event]:
        with self._lock:
            return list(self._events)

    async def follow(self) -> AsyncGenerator[Event]:
        """Every event, those of the past first; ends when the log is closed."""
        follower = _Follower()
        with self._lock:
            self._followers.add(follower)
        seen = 0
        try:
            while True:
                with self._lock:
                    fresh = self._events[seen:]
                    closed = self._closed
                    follower.sleeps = not fresh
                if fresh:
                    seen += len(fresh)
                    for event in fresh:
                        yield event
                elif closed:
                    return
                else:
                    await follower.wait()
        finally:
            with self._lock:
                self._followers.discard(follower)
                alone = not self._followers
            if alone and self._on_alone is not None:
                self._on_alone()

    def _wake(self) -> None:
        for follower in self._followers:
            follower.wake()


class _Follower:
    """One waiting coroutine; woken once for however many events came meanwhile."""

    def __init__(self) -> None:
        self.sleeps = False
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Called under the log's lock."""
        if not self.sleeps:
            return
        self.sleeps = False
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()


def compacted(events: Iterable[Event]) -> list[Event]:
    """What a later visit needs: the last of each metric and chart, no progress, points up to a limit."""
    kept: list[Event] = []
    last: dict[tuple[str, str], int] = {}
    counts = {"sample": 0, "say": 0}
    for event in events:
        kind = str(event.get("event"))
        if kind in ("progress", "queued"):
            continue
        if kind in ("metric", "show"):
            key = (kind, str(event.get("name")))
            if key in last:
                kept[last[key]] = event  # it keeps its place on the page
                continue
            last[key] = len(kept)
        elif kind in counts:
            counts[kind] += 1
            if counts[kind] > (MOST_SAMPLES if kind == "sample" else MOST_LINES):
                continue
        kept.append(event)
    return kept

"""Who may come in: a limit on requests that are open at the same time, and none while the server ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from teachllm.stack.inference.server.errors import ApiError, unavailable

RETRY_SECONDS = 2  # what a client that came at a bad time is asked to wait


class Admission:
    """Counts the requests that are being answered. Used from the event loop only.

    most_open: running and waiting together; the engine decides which of them run.
    """

    def __init__(self, most_open: int) -> None:
        self.most_open = most_open
        self.open = 0
        self.refused = 0
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request. Raises `ApiError`: 503 while the server ends, 429 if it is full."""
        if self.draining:
            raise unavailable("the server is shutting down and takes no new requests", RETRY_SECONDS)
        if self.open >= self.most_open:
            self.refused += 1
            raise ApiError(
                429,
                f"{self.open} requests are open, which is as many as this server takes; try again later",
                "rate_limit_error",
                code="rate_limit_exceeded",
                headers={"retry-after": str(RETRY_SECONDS)},
            )
        self.open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.open -= 1
            if not self.open:
                self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Refuse what is new and wait for what is open; whether all of it ended within `seconds`."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

"""An answer as server-sent events, for a client that may leave at any moment, or read slowly."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
BEAT = b": still here\n\n"  # a comment, which every reader skips
DONE = b"data: [DONE]\n\n"


class EventStream(Response):
    """Sends each object as a ``data:`` line and ends with ``[DONE]``; `on_end` is called in any case.

    Closes `events` as soon as the client has left. heartbeat: seconds of silence after which a comment keeps
    the connection open. write_seconds: who reads nothing for so long has left.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[dict[str, Any]],
        *,
        heartbeat: float,
        write_seconds: float,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__()
        self._events = events
        self._heartbeat = heartbeat
        self._write_seconds = write_seconds
        self._on_end = on_end

    def init_headers(self, headers: object = None) -> None:
        # No length; no transformation or buffering on the way.
        self.raw_headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store, no-transform"),
            (b"x-accel-buffering", b"no"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            with contextlib.suppress(ClientGone):
                await until_gone(self._send_all(send), receive)
        finally:
            await self._events.aclose()
            self._on_end()

    async def _send_all(self, send: Send) -> None:
        while (event := await self._next(send)) is not None:
            await self._send(send, encoded(event))
        await self._send(send, DONE, more_body=False)

    async def _next(self, send: Send) -> dict[str, Any] | None:
        """The next event, with signs of life while it takes its time; None at the end."""

        async def wait() -> dict[str, Any] | None:
            return await anext(self._events, None)

        coming = asyncio.ensure_future(wait())
        try:
            while not (await asyncio.wait({coming}, timeout=self._heartbeat))[0]:
                await self._send(send, BEAT)
            return coming.result()
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _send(self, send: Send, body: bytes, more_body: bool = True) -> None:
        message = {"type": "http.response.body", "body": body, "more_body": more_body}
        try:
            async with asyncio.timeout(self._write_seconds):
                await send(message)
        except (TimeoutError, OSError):
            raise ClientGone from None


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def until_gone(work: Awaitable[T], receive: Receive) -> T:
    """The result of `work`, which is cancelled when the client leaves. Raises `ClientGone` then."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def encoded(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n\n"

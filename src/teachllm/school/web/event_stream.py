"""Server-sent events that leave at once, say that they live, and notice when the reader has left."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from teachllm.school.web.event_log import Event

HEARTBEAT_SECONDS = 10.0
_BEAT = b": still here\n\n"


class EventStream(Response):
    """Sends each event as a ``data:`` line, and closes the iterator when the reader leaves.

    ``on_end`` is called in any case, also when the reader left before the first event.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[Event],
        heartbeat: float = HEARTBEAT_SECONDS,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._events = events
        self._heartbeat = heartbeat
        self._on_end = on_end

    def init_headers(self, headers: object = None) -> None:
        # No length; no transformation or buffering on the way.
        self.raw_headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store, no-transform"),
            (b"x-accel-buffering", b"no"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        leaving = asyncio.ensure_future(_disconnected(receive))
        sending = asyncio.ensure_future(self._send_all(send))
        try:
            await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (leaving, sending):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task
            if isinstance(self._events, AsyncGenerator):
                await self._events.aclose()
            self._on_end()

    async def _send_all(self, send: Send) -> None:
        iterator = aiter(self._events)
        coming: asyncio.Future[Event] | None = None
        # The first bytes leave now, so that the page knows that it is connected.
        await send({"type": "http.response.body", "body": _BEAT, "more_body": True})
        try:
            while True:
                if coming is None:
                    coming = asyncio.ensure_future(_next(iterator))
                done, _ = await asyncio.wait({coming}, timeout=self._heartbeat)
                if not done:
                    await send({"type": "http.response.body", "body": _BEAT, "more_body": True})
                    continue
                try:
                    event = coming.result()
                except StopAsyncIteration:
                    return
                coming = None
                await send({"type": "http.response.body", "body": encoded(event), "more_body": True})
        finally:
            if coming is not None:
                coming.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                    await coming


async def _next(iterator: AsyncIterator[Event]) -> Event:
    return await anext(iterator)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def encoded(event: Event) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n\n"

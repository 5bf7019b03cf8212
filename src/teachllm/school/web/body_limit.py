"""No request may send more than a learner could have written."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1_000_000
LONGER = {"/api/transfer/import": 64_000_000, "/api/card-files/import": 128_000_000}
"""Requests that carry a file."""


class BodyLimit:
    """Refuses a longer body with 413: at once when it announces its length, else as soon as it is passed."""

    def __init__(self, app: ASGIApp, most: int = MOST_BYTES) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        received, most = 0, LONGER.get(scope["path"], self.most)

        async def counted() -> Message:
            nonlocal received
            # Raised where the application reads, so that its error handler answers.
            if not announced.isdecimal() or int(announced) > most:
                raise HTTPException(413)
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > most:
                    raise HTTPException(413)
            return message

        await self.app(scope, counted, send)

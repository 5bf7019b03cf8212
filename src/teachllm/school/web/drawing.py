"""Figures are drawn off the event loop, a few at a time; what nobody waits for any more is not drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

Result = TypeVar("Result")
AT_ONCE = 2


class Drawing:
    """A moved slider asks for many drawings and gives up all but the last: what still waits is skipped."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._turns = asyncio.Semaphore(at_once)

    async def run(self, request: Request, draw: Callable[[], Result]) -> Result | None:
        """What ``draw`` returns; ``None`` if the page had given up before its turn came."""
        async with self._turns:
            if await request.is_disconnected():
                return None
            return await run_in_threadpool(draw)

"""From a socket to answers, until a signal asks the server to end: then what runs is finished first."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from teachllm.stack.inference.server.serving import Serving

HANG_UP_SECONDS = 2


class PortTaken(OSError):
    """Another program listens there."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises ValueError for what is no port, `PortTaken`, and
    OSError for no address of ours.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is none; give one from 1 to 65535, or 0 for any free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches off Nagle's algorithm, which costs 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A port that was just closed may be taken at once; on Windows the option would share it with others.
    option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    try:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as problem:
        listener.close()
        if problem.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortTaken(problem.errno, f"port {port} is taken or reserved") from None
        raise OSError(
            f"{host} is no address of this computer that can be listened on ({problem.strerror})"
        ) from None
    return listener


class DrainingServer(uvicorn.Server):
    """The first signal refuses what is new and finishes what is open, within `limits.drain_seconds`; the
    second ends at once. Without signals, `should_exit` ends it as it does any server of uvicorn.
    """

    def __init__(self, app: FastAPI, on_ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="off",
                timeout_graceful_shutdown=2,
                timeout_keep_alive=30,
            )
        )
        self._serving: Serving = app.state.serving
        self._on_ready = on_ready
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            await self._hang_up()

    async def _hang_up(self) -> None:
        """Ends open answers as if their clients had left; cancelled instead, each would print a traceback."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=HANG_UP_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._asked or self._loop is None:
            self.should_exit = self.force_exit = True
            return
        self._asked = True
        self._loop.call_soon_threadsafe(self._begin_to_drain)

    def _begin_to_drain(self) -> None:
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        await self._serving.admission.drain(self._serving.limits.drain_seconds)
        # Answers that are still open end with an error that says why.
        await asyncio.to_thread(self._serving.service.close)
        self.should_exit = True

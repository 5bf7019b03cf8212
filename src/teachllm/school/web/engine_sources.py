"""Engines that the page can watch: the studio's own, and every ``teachllm serve`` of this user."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.concurrency import run_in_threadpool

from teachllm.school.language import Both, Lang
from teachllm.school.web.event_log import Event
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio_engine import StudioEngine
from teachllm.stack.chat.running_servers import RunningServer, running_servers

OWN = "studio"
LOOK_SECONDS = 0.4
LARGEST_VIEW = 4_000_000  # bytes
FIELDS = frozenset(
    (
        "texts", "blocks", "block_size", "steps", "latencies", "tokens_per_second", "requests_finished",
        "requests_failed", "requests_cancelled", "prompt_tokens", "cached_tokens", "preemptions",
    )
)  # fmt: skip
"""What the page shows of an engine."""


@dataclass(frozen=True)
class Source:
    """`id` is "studio", or the port of a server."""

    id: str
    title: Both
    server: RunningServer | None = None

    def to_json(self, lang: Lang) -> dict[str, str]:
        return {"id": self.id, "title": self.title.get(lang)}


def sources() -> list[Source]:
    """The studio's own first, then the servers, the latest first."""
    own = Source(OWN, Both("工作室自己的引擎", "the studio's own engine"))
    return [own, *(_of_server(server) for server in running_servers())]


def source(name: str) -> Source:
    """Refuses a name that none of them has."""
    for one in sources():
        if one.id == name:
            return one
    raise Refusal(404, _GONE)


async def follow(
    wanted: Source, own: StudioEngine, closing: threading.Event, lang: Lang
) -> AsyncGenerator[Event]:
    """How the engine stands, each time that this changes, looked at while it is followed and never otherwise.

    ``{"event": "view", "model", "device", "dtype", "engine"}``, where ``engine`` is that of ``engine_view``
    and ``null`` while the studio's own has not begun; ``{"event": "samples", "sending", "samples"}``, of the
    studio's own; ``{"event": "error", "message"}`` when there is no such server any more.
    """
    told: dict[str, Event] = {}
    while not closing.is_set():
        try:
            events = await (_own_events(own) if wanted.server is None else _server_events(wanted.server))
        except (httpx.HTTPError, ValueError, RuntimeError):
            alive = wanted.server is not None and wanted.server in await run_in_threadpool(running_servers)
            if not alive:
                yield {"event": "error", "message": _GONE.get(lang)}
                return
            events = []  # it is busy, or just beginning: look again
        for event in events:
            if told.get(event["event"]) != event:
                told[event["event"]] = event
                yield event
        await asyncio.sleep(LOOK_SECONDS)


async def _own_events(own: StudioEngine) -> list[Event]:
    return [
        {"event": "view", **own.about(), "engine": await run_in_threadpool(own.view)},
        {"event": "samples", "sending": own.is_sending, "samples": own.samples()},
    ]


async def _server_events(server: RunningServer) -> list[Event]:
    headers = {"authorization": f"Bearer {server.view_key}"}
    async with httpx.AsyncClient(trust_env=False, timeout=5.0, headers=headers) as client:
        answer = await client.get(f"{server.address}/v1/engine/snapshot")
    answer.raise_for_status()
    if len(answer.content) > LARGEST_VIEW:
        raise ValueError("the server's snapshot is too long")
    view: dict[str, Any] = answer.json()
    _check(view)
    about = {name: str(view[name]) for name in ("model", "device", "dtype")}
    return [{"event": "view", **about, "engine": view["engine"]}]


def _check(view: Any) -> None:
    """ValueError if it was made by another version of the server."""
    known = isinstance(view, dict) and {"model", "device", "dtype", "engine"} <= set(view)
    if not known or not isinstance(view["engine"], dict) or not set(view["engine"]) >= FIELDS:
        raise ValueError("the server's snapshot has other fields than this studio knows")


def _of_server(server: RunningServer) -> Source:
    port = server.address.rpartition(":")[2]
    zh, en = f"teachllm serve，端口 {port}（{server.model}）", f"teachllm serve, port {port} ({server.model})"
    return Source(port, Both(zh, en), server)


_GONE = Both("这个服务已经停了。", "This server has stopped.")

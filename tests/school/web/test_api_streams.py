"""Event streams over real sockets: nothing is held back, a leaving reader is noticed, the log replays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from teachllm.school.web.drawing import Drawing
from teachllm.school.web.event_log import EventLog, compacted
from teachllm.school.web.event_stream import EventStream


def streaming(log: EventLog, heartbeat: float = 10.0) -> Starlette:
    async def stream(request: Request) -> Response:
        return EventStream(log.follow(), heartbeat)

    return Starlette(routes=[Route("/events", stream)])


def test_each_event_arrives_before_the_next_is_made(serving: Any, events_of: Any) -> None:
    log = EventLog()
    with serving(streaming(log)) as address, httpx.stream("GET", f"{address}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "no-store" in response.headers["cache-control"]
        coming = events_of(response)
        for number in range(20):
            log.add({"event": "say", "text": f"第 {number} 条\n🙂"})
            assert next(coming) == {"event": "say", "text": f"第 {number} 条\n🙂"}
        log.close()
        assert list(coming) == []


def test_late_reader_gets_the_past_first_and_all_get_everything(
    serving: Any, events_of: Any, wait_until: Any
) -> None:
    log = EventLog()
    for number in range(3):
        log.add({"n": number})
    got: list[list[int]] = [[], []]

    def read(address: str, into: list[int]) -> None:
        with httpx.stream("GET", f"{address}/events") as response:
            into.extend(event["n"] for event in events_of(response))

    with serving(streaming(log)) as address:
        threads = [threading.Thread(target=read, args=(address, into)) for into in got]
        for thread in threads:
            thread.start()
        wait_until(lambda: log.followers == 2)
        for number in range(3, 2000):
            log.add({"n": number})
        log.close()
        for thread in threads:
            thread.join(timeout=10)
    assert got == [list(range(2000))] * 2


def test_leaving_reader_is_noticed_although_nothing_happens(serving: Any, events_of: Any) -> None:
    left = threading.Event()
    log = EventLog(on_alone=left.set)
    with serving(streaming(log)) as address:
        with httpx.stream("GET", f"{address}/events") as response:
            log.add({"n": 1})
            coming = events_of(response)  # held: a forgotten iterator closes the connection
            next(coming)
            assert not left.is_set()
        assert left.wait(timeout=3)
        assert log.followers == 0
        log.close()


def test_heartbeats_while_nothing_happens(serving: Any) -> None:
    log = EventLog()
    with (
        serving(streaming(log, heartbeat=0.05)) as address,
        httpx.stream("GET", f"{address}/events") as response,
    ):
        lines = response.iter_lines()
        beats = [next(lines) for _ in range(8)]
        assert [line for line in beats if line] == [": still here"] * 4
        log.close()
        assert not [line for line in lines if line.startswith("data")]


def test_iterator_is_closed_when_the_reader_leaves(serving: Any, events_of: Any) -> None:
    closed = threading.Event()

    async def endless() -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"event": "say"}
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async def stream(request: Request) -> Response:
        return EventStream(endless())

    with serving(Starlette(routes=[Route("/", stream)])) as address:
        with httpx.stream("GET", address) as response:
            next(events_of(response))
        assert closed.wait(timeout=3)


def test_many_writers_lose_nothing() -> None:
    log = EventLog()

    async def follow() -> int:
        return len([event async for event in log.follow()])

    def write() -> None:
        for number in range(500):
            log.add({"n": number})

    async def everything() -> int:
        reading = asyncio.ensure_future(follow())
        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        log.close()
        return await asyncio.wait_for(reading, 5)

    assert asyncio.run(everything()) == 2000


def test_compacted_keeps_what_a_later_visit_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teachllm.school.web.event_log.MOST_SAMPLES", 2)
    metric = {"event": "metric", "name": "loss", "value": 1}
    chart = {"event": "show", "name": "curve", "chart": 1}
    samples = [{"event": "sample", "name": "a", "x": n} for n in range(5)]
    events = [
        {"event": "queued"},
        metric,
        chart,
        {"event": "progress", "done": 1},
        *samples,
        metric | {"value": 2},
        chart | {"chart": 2},
        {"event": "done", "seconds": 1},
    ]
    assert compacted(events) == [
        metric | {"value": 2},
        chart | {"chart": 2},
        *samples[:2],
        {"event": "done", "seconds": 1},
    ]


def test_drawings_that_nobody_waits_for_are_skipped() -> None:
    drawn: list[int] = []
    may_end = threading.Event()

    class Page:
        def __init__(self, number: int, gone: bool) -> None:
            self.number, self.gone = number, gone

        async def is_disconnected(self) -> bool:
            return self.gone

    def draw(number: int) -> int:
        drawn.append(number)
        assert may_end.wait(5)
        return number

    async def move() -> list[int | None]:
        drawing = Drawing(at_once=1)
        pages: list[Any] = [Page(0, False), Page(1, True), Page(2, True), Page(3, False)]
        asked = [drawing.run(page, lambda number=page.number: draw(number)) for page in pages]
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        return await asyncio.gather(*asked)

    assert asyncio.run(move()) == [0, None, None, 3]
    assert drawn == [0, 3]

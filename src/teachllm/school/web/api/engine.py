"""Engines at work: how one stands as it goes on, and sample requests for the studio's own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from teachllm.school.web import engine_sources
from teachllm.school.web.event_stream import EventStream
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import TheLang, TheStudio
from teachllm.school.web.studio_engine import NoSamples

router = APIRouter(prefix="/engine")


@router.get("")
def engines(lang: TheLang) -> dict[str, Any]:
    """``{"sources": [{"id", "title"}]}``: the studio's own first."""
    return {"sources": [one.to_json(lang) for one in engine_sources.sources()]}


@router.get("/{name}/events")
async def events(studio: TheStudio, lang: TheLang, name: str) -> EventStream:
    """What ``engine_sources.follow`` tells of the engine with that id."""
    wanted = await run_in_threadpool(engine_sources.source, name)
    return EventStream(engine_sources.follow(wanted, studio.engine, studio.runs.closing, lang))


@router.post("/samples")
def send_samples(studio: TheStudio) -> dict[str, Any]:
    """Sends a few requests to the studio's own engine: ``{"sending": true}``."""
    try:
        studio.engine.send_samples()
    except NoSamples as refused:
        raise Refusal(409, refused.why) from None
    return {"sending": True}


@router.post("/samples/stop")
def stop_samples(studio: TheStudio) -> dict[str, Any]:
    """``{"stopped": whether there were any}``."""
    return {"stopped": studio.engine.stop_samples()}

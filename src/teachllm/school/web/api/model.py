"""The chat model's file: whether it is here, and fetching it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from teachllm.school.web.event_stream import EventStream
from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter(prefix="/model")


@router.get("")
def status(studio: TheStudio, lang: TheLang) -> dict[str, Any]:
    """``{"ready", "title", "bytes", "message"}``."""
    return studio.model.status(lang)


@router.post("/fetch")
def fetch(studio: TheStudio) -> EventStream:
    """Events: ``progress`` with ``done`` and ``total`` in bytes; then ``done`` or ``error``."""
    return EventStream(studio.model.fetch().follow())

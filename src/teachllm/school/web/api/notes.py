"""Notes beside passages, and bookmarks on sections."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StringConstraints

from teachllm.school.language import Both
from teachllm.school.web.api.lessons import available
from teachllm.school.web.api.progress import Anchor
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import TheStudio

router = APIRouter()
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
_GONE = Both("这条笔记已经删了。", "This note has been deleted.")


class NewNote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lesson: str
    anchor: Anchor
    quote: Annotated[str, StringConstraints(max_length=2000)] = ""
    text: Text


class Changed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: Text


class Bookmark(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lesson: str
    anchor: Anchor
    on: bool


@router.post("/notes")
def add(studio: TheStudio, note: NewNote) -> dict[str, Any]:
    """``{"id"}``."""
    available(studio, note.lesson)
    return {"id": studio.store.add_note(note.lesson, note.anchor, note.quote, note.text)}


@router.put("/notes/{note_id}")
def change(studio: TheStudio, note_id: int, note: Changed) -> dict[str, Any]:
    if not studio.store.change_note(note_id, note.text):
        raise Refusal(404, _GONE)
    return {"saved": True}


@router.delete("/notes/{note_id}")
def remove(studio: TheStudio, note_id: int) -> dict[str, Any]:
    if not studio.store.remove_note(note_id):
        raise Refusal(404, _GONE)
    return {"deleted": True}


@router.post("/bookmarks")
def bookmark(studio: TheStudio, wanted: Bookmark) -> dict[str, Any]:
    available(studio, wanted.lesson)
    studio.store.set_bookmark(wanted.lesson, wanted.anchor, wanted.on)
    return {"on": wanted.on}

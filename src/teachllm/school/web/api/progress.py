"""What has been read, the place to come back to, and how far the six things of a lesson are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from teachllm.school.web.api.lessons import available
from teachllm.school.web.studio import TheStudio

router = APIRouter(prefix="/progress")
Anchor = Annotated[str, Field(min_length=1, max_length=200)]


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lesson: str
    anchor: Anchor


@router.post("/position")
def position(studio: TheStudio, place: Place) -> dict[str, Any]:
    available(studio, place.lesson)
    studio.store.save_position(place.lesson, place.anchor)
    return {"saved": True}


@router.post("/read")
def read(studio: TheStudio, place: Place) -> dict[str, Any]:
    available(studio, place.lesson)
    studio.store.mark_read(place.lesson, place.anchor)
    return {"saved": True}


@router.get("/{lesson_id}")
def six(studio: TheStudio, lesson_id: str) -> dict[str, float]:
    """``{"read", "moved", "ran", "wrote", "recalled", "asked"}``, each from 0 to 1."""
    available(studio, lesson_id)
    return studio.store.six(lesson_id)

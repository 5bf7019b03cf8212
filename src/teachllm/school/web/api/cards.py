"""Interview cards: those of a lesson, and reviewing what is due."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from teachllm.school.cards import CardState
from teachllm.school.language import Lang
from teachllm.school.web.api.lessons import available
from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter()


class Rated(BaseModel):
    """``rating``: 1 again, 2 hard, 3 good, 4 easy. ``reviews``: those of the card that was shown."""

    model_config = ConfigDict(extra="forbid")

    rating: int
    reviews: int


@router.get("/cards/{lesson_id}")
def of_lesson(studio: TheStudio, lang: TheLang, lesson_id: str) -> dict[str, Any]:
    """``{"cards": […], "learning"}``; learning: all of them are in the reviews."""
    available(studio, lesson_id)
    states = studio.store.cards.cards(lesson_id)
    return {
        "cards": [_state(state, lang) for state in states],
        "learning": all(state.due is not None for state in states),
    }


@router.post("/cards/{lesson_id}/learn")
def learn(studio: TheStudio, lesson_id: str) -> dict[str, Any]:
    """Takes the cards of the lesson into the reviews."""
    available(studio, lesson_id)
    return {"added": studio.store.cards.learn(lesson_id)}


@router.get("/review/next")
def next_card(studio: TheStudio, lang: TheLang, lesson: str | None = None) -> dict[str, Any]:
    """``{"card", "left", "intervals", "next_due"}``; ``card`` is ``null`` when there is nothing to answer."""
    if lesson is not None:
        available(studio, lesson)
    reviews = studio.store.cards
    coming = reviews.next_card(lesson)
    due = reviews.next_due(lesson) if coming is None else None
    card = None
    if coming is not None:
        title = studio.course.lesson(coming.card.lesson).title.get(lang)
        card = {**coming.card.to_json(lang), "lesson_title": title, "reviews": coming.reviews}
    return {
        "card": card,
        "left": reviews.counts(lesson).left,
        "intervals": coming.intervals if coming else [],
        "next_due": due.isoformat() if due else None,
    }


@router.post("/review/undo")
def undo(studio: TheStudio) -> dict[str, Any]:
    """``{"card"}``: the id of the card whose answer was taken back, ``null`` if there was none."""
    return {"card": studio.store.cards.undo()}


@router.post("/review/{card_id}")
def answer(studio: TheStudio, card_id: str, rated: Rated) -> dict[str, Any]:
    """``{"due"}``: when the card comes back. Refused if another window has answered it meanwhile."""
    memory = studio.store.cards.answer(card_id, rated.rating, reviews=rated.reviews)
    return {"due": memory.due.isoformat()}


def _state(state: CardState, lang: Lang) -> dict[str, Any]:
    due = state.due.isoformat() if state.due else None
    return {**state.card.to_json(lang), "due": due, "is_due": state.is_due}

"""Interview cards: those of a lesson, and reviewing what is due."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from teachllm.school.cards import CardState, OwnCard
from teachllm.school.cards.own import MOST_CHARACTERS
from teachllm.school.cards.own_text import own_html
from teachllm.school.cards.reviews import becomes_leech
from teachllm.school.language import Both, Lang
from teachllm.school.web.api.lessons import available
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter()


class Rated(BaseModel):
    """``rating``: 1 again, 2 hard, 3 good, 4 easy. ``reviews``: those of the card that was shown."""

    model_config = ConfigDict(extra="forbid")

    rating: int
    reviews: int


class Aside(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: Literal["suspended", "buried", "active"]


class ChangedCard(BaseModel):
    """Both are Markdown."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, StringConstraints(max_length=MOST_CHARACTERS)]
    answer: Annotated[str, StringConstraints(max_length=MOST_CHARACTERS)]


class NewCard(ChangedCard):
    lesson: str | None = None
    anchor: Annotated[str, StringConstraints(max_length=200)] = ""
    topic: Annotated[str, StringConstraints(max_length=100)] = ""
    level: Annotated[int, Field(ge=1, le=3)] = 2


_NO_OWN = Both("没有这张自己的卡片。", "There is no such card of yours.")


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
        about = studio.course.lessons.get(coming.card.lesson)
        title = about.title.get(lang) if about else ""
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
    """``{"due", "leech"}``: when the card comes back; how often it was forgotten, if that makes it a leech.

    Refused if another window has answered it meanwhile.
    """
    memory = studio.store.cards.answer(card_id, rated.rating, reviews=rated.reviews)
    leech = rated.rating == 1 and becomes_leech(memory.lapses, studio.store.setting("leech_lapses"))
    return {"due": memory.due.isoformat(), "leech": memory.lapses if leech else None}


@router.post("/cards/{card_id}/aside")
def aside(studio: TheStudio, card_id: str, wanted: Aside) -> dict[str, Any]:
    """Suspends a card, takes it up again, or buries it until tomorrow."""
    reviews = studio.store.cards
    if wanted.state == "buried":
        reviews.bury(card_id)
    else:
        reviews.suspend(card_id, wanted.state == "suspended")
    return {"state": wanted.state}


@router.post("/own-cards")
def add_own(studio: TheStudio, card: NewCard) -> dict[str, Any]:
    """``{"id"}``: a card of the learner's own, which is in the reviews at once."""
    if card.lesson is not None:
        available(studio, card.lesson)
    own = OwnCard(card.question, card.answer, card.lesson, card.anchor, card.topic, card.level)
    return {"id": studio.store.own_cards.add(own)}


@router.put("/own-cards/{card_id}")
def change_own(studio: TheStudio, card_id: str, card: ChangedCard) -> dict[str, Any]:
    if not studio.store.own_cards.change(card_id, card.question, card.answer):
        raise Refusal(404, _NO_OWN)
    return {"saved": True, "question_html": own_html(card.question), "answer_html": own_html(card.answer)}


@router.delete("/own-cards/{card_id}")
def delete_own(studio: TheStudio, card_id: str) -> dict[str, Any]:
    if not studio.store.own_cards.delete(card_id):
        raise Refusal(404, _NO_OWN)
    return {"deleted": True}


@router.post("/own-cards/{card_id}/restore")
def restore_own(studio: TheStudio, card_id: str) -> dict[str, Any]:
    """Brings a deleted card back as it was."""
    if not studio.store.own_cards.restore(card_id):
        raise Refusal(404, _NO_OWN)
    return {"restored": True}


def _state(state: CardState, lang: Lang) -> dict[str, Any]:
    due = state.due.isoformat() if state.due else None
    return {**state.card.to_json(lang), "due": due, "is_due": state.is_due}

"""The cards of a lesson, from its ``cards.yaml``."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from teachllm.school.course import Lesson
from teachllm.school.language import Both, Lang
from teachllm.school.problem import CourseFileError
from teachllm.school.yaml_file import BothText, read_yaml, validate

log = logging.getLogger("teachllm.cards")

OWN = "own:"
"""What the ids of a learner's own cards begin with."""


class Followup(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: BothText
    answer: BothText


class CardEntry(BaseModel):
    """One entry of ``cards.yaml``."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    topic: str
    difficulty: Annotated[int, Field(ge=1, le=3)]
    role: Annotated[list[str], Field(min_length=1)]
    question: BothText
    answer: BothText
    followup: Followup
    proof: Annotated[str, Field(pattern=r"^(#[a-z]|code:teachllm\.)")]


@dataclass(frozen=True)
class Card:
    """``id`` is unique: ``1.2:why-scale`` of the course, ``own:7`` of the learner.

    ``proof``: ``#anchor`` or ``code:module:symbol``. A learner's card may have no lesson, follow-up or proof:
    these are empty then, and its texts are the same in both languages.
    """

    id: str
    lesson: str
    topic: str
    difficulty: int
    roles: tuple[str, ...]
    question: Both
    answer: Both
    followup_question: Both
    followup_answer: Both
    proof: str

    @property
    def is_own(self) -> bool:
        return self.id.startswith(OWN)

    def to_json(self, lang: Lang) -> dict[str, Any]:
        """With its texts as HTML. Raises :class:`LessonError` for a reference that does not exist."""
        from teachllm.school.cards.own_text import own_html
        from teachllm.school.lesson import render_snippet

        def html(text: Both) -> str:
            return own_html(text.get(lang)) if self.is_own else render_snippet(text.get(lang), lang)

        return {
            "id": self.id,
            "lesson": self.lesson,
            "topic": self.topic,
            "difficulty": self.difficulty,
            "question_html": html(self.question),
            "answer_html": html(self.answer),
            "followup": {
                "question_html": html(self.followup_question),
                "answer_html": html(self.followup_answer),
            }
            if self.followup_question.en
            else None,
            "proof": self.proof,
            "own": self.is_own,
        }


_lock = threading.Lock()
_read: dict[Path, tuple[int, tuple[Card, ...] | CourseFileError]] = {}


def cards_of(lesson: Lesson) -> tuple[Card, ...]:
    """Empty for a lesson that is planned or has no cards yet. Read again when the file changes.

    Raises :class:`CourseFileError` with everything that is wrong in the file.
    """
    path = lesson.file("cards.yaml")
    if not lesson.available or not path.exists():
        return ()
    stamp = path.stat().st_mtime_ns
    with _lock:
        known = _read.get(path)
        if known is None or known[0] != stamp:
            known = _read[path] = (stamp, _cards(lesson, path))
    if isinstance(known[1], CourseFileError):
        raise known[1]
    return known[1]


def cards_known(lesson: Lesson) -> tuple[Card, ...]:
    """The same for a look over many lessons: one broken file must not keep the others from being reviewed."""
    try:
        return cards_of(lesson)
    except CourseFileError as error:
        log.warning("the cards of lesson %s are left out: %s", lesson.id, error)
        return ()


def _cards(lesson: Lesson, path: Path) -> tuple[Card, ...] | CourseFileError:
    try:
        entries: list[CardEntry] = validate(read_yaml(path), list[CardEntry])
    except CourseFileError as error:
        return error
    return tuple(
        Card(
            id=f"{lesson.id}:{entry.id}",
            lesson=lesson.id,
            topic=entry.topic,
            difficulty=entry.difficulty,
            roles=tuple(entry.role),
            question=entry.question,
            answer=entry.answer,
            followup_question=entry.followup.question,
            followup_answer=entry.followup.answer,
            proof=entry.proof,
        )
        for entry in entries
    )

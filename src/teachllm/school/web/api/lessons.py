"""The lesson that a request is about, and what its ``figures.py`` declares."""

from __future__ import annotations

from typing import TypeVar

from teachllm.school.course import Lesson
from teachllm.school.language import Both
from teachllm.school.lesson.loaded import unknown_name
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import Studio

Declared = TypeVar("Declared")


def available(studio: Studio, lesson_id: str) -> Lesson:
    """Raises :class:`teachllm.school.course.UnknownLesson`; refuses one that is only planned."""
    lesson = studio.course.lesson(lesson_id)
    if not lesson.available:
        why = Both(f"{lesson_id} 这一课还没有写。", f"Lesson {lesson_id} is not written yet.")
        raise Refusal(404, why)
    return lesson


def declared(kind: Both, name: str, known: dict[str, Declared]) -> Declared:
    """The figure or lab of that name; refuses one that is not ``known``."""
    if name not in known:
        raise Refusal(404, unknown_name(kind, name, known))
    return known[name]

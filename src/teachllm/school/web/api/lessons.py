"""The lesson that a request is about."""

from __future__ import annotations

from teachllm.school.course import Lesson
from teachllm.school.language import Both
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import Studio


def available(studio: Studio, lesson_id: str) -> Lesson:
    """Raises :class:`teachllm.school.course.UnknownLesson`; refuses one that is only planned."""
    lesson = studio.course.lesson(lesson_id)
    if not lesson.available:
        why = Both(f"{lesson_id} 这一课还没有写。", f"Lesson {lesson_id} is not written yet.")
        raise Refusal(404, why)
    return lesson

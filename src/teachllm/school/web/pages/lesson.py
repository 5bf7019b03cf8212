"""A lesson's page; of a planned lesson, what it will be about; of one that cannot be shown, why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.cards.deck import cards_known
from teachllm.school.course import Course, Lesson
from teachllm.school.lesson import LessonError, render
from teachllm.school.mastery import mastery_of
from teachllm.school.web.pages import learner
from teachllm.school.web.pages.frame import page, script_json, without_choices
from teachllm.school.web.pages.things import things_of
from teachllm.school.web.studio import studio_of

router = APIRouter()


@router.get("/lesson/{lesson_id}")
def lesson_page(request: Request, lesson_id: str) -> Response:
    """Raises :class:`teachllm.school.course.UnknownLesson`, which the application answers with 404."""
    studio = studio_of(request)
    course = studio.course
    lesson = course.lesson(lesson_id)
    if (redirect := without_choices(request)) is not None:
        return redirect
    lang = studio.language(request)
    around = _around(course, lesson)
    if not lesson.available:
        needs = [course.lesson(one) for one in lesson.prerequisites]
        return page(
            request,
            "planned",
            title=lesson.title.get(lang),
            needs=needs,
            unlocks=course.unlocks(lesson_id),
            **around,
        )
    try:
        rendered = render(lesson_id, lang, course)
    except LessonError as error:
        title = lesson.title.get(lang)
        return page(request, "broken", title=title, status=500, problems=error.problems, **around)
    left = learner.lesson_state(studio.store, rendered)
    return page(
        request,
        "lesson",
        title=rendered.title,
        toc=rendered.toc,
        things=things_of(rendered, len(cards_known(lesson))),
        six=left.six,
        mastery=mastery_of(studio.store, lesson, datetime.now(UTC)),
        failures=rendered.failures,
        body=rendered.html_with(left.islands),
        state=script_json(left.state),
        **around,
    )


def _around(course: Course, lesson: Lesson) -> dict[str, Any]:
    before, after = course.neighbours(lesson.id)
    return {
        "course": course,
        "lesson": lesson,
        "chapter": course.chapter_of(lesson.id),
        "before": before,
        "after": after,
    }

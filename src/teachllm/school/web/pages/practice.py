"""Reviews, notes and the chat."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.course import UnknownLesson
from teachllm.school.language import Both
from teachllm.school.web.pages import learner
from teachllm.school.web.pages.frame import page, script_json, without_choices
from teachllm.school.web.studio import studio_of

router = APIRouter()


@router.get("/review")
def review_page(request: Request, lesson: str | None = None) -> Response:
    """``?lesson=1.2`` reviews only the cards of that lesson."""
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    about = studio.course.lesson(lesson) if lesson else None
    title = Both("复习", "Review").get(lang)
    return page(
        request,
        "review",
        title=f"{title} · {about.id} {about.title.get(lang)}" if about else title,
        about=about,
        next_due=learner.next_due(studio.store).get(lang),
    )


@router.get("/notes")
def notes_page(request: Request) -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    course = studio.course
    return page(
        request,
        "notes",
        title=Both("笔记与收藏", "Notes and bookmarks").get(studio.language(request)),
        course=course,
        notes=learner.notes(studio.store, course),
        bookmarks=learner.bookmarks(studio.store, course),
    )


@router.get("/chat")
def chat_page(request: Request, context: str | None = None) -> Response:
    """``?context=1.2`` asks about a lesson."""
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    start: dict[str, str] = {}
    if context:
        try:
            about = studio.course.lesson(context.partition("#")[0])
        except UnknownLesson:
            about = None  # a link from elsewhere: the chat opens without a subject
        if about is not None:
            start = {"context": context, "context_title": f"{about.id} {about.title.get(lang)}"}
    title = Both("问一问", "Ask").get(lang)
    return page(request, "chat", title=title, start=script_json(start))

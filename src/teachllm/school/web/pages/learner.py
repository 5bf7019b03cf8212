"""What one learner left in the course, as the pages show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from teachllm.school.course import Course
from teachllm.school.figures import FigureSpec
from teachllm.school.language import Both, Lang
from teachllm.school.lesson import LessonError, RenderedLesson, load_lesson, read_document
from teachllm.school.progress import Note, Store
from teachllm.school.web.pages.things import Six


@dataclass(frozen=True)
class LessonState:
    """What the page of a lesson starts with; ``islands`` goes into the JSON of its figures."""

    state: Mapping[str, Any]
    islands: Mapping[tuple[str, str], Mapping[str, Any]]

    @property
    def six(self) -> Six:
        return Six(self.state["six"])


def lesson_state(store: Store, page: RenderedLesson) -> LessonState:
    lesson = page.lesson.id
    return LessonState(store.lesson_state(lesson), _predicted(store, lesson, page.lang))


def _predicted(store: Store, lesson: str, lang: Lang) -> dict[tuple[str, str], dict[str, Any]]:
    """What was predicted, judged again in today's language and by today's code."""
    islands = {}
    figures = load_lesson(lesson).figures
    for name, kept in store.predictions(lesson).items():
        spec = figures.get(name)
        if spec is None or spec.predict is None:
            continue
        try:
            judgement = _judge(spec, kept["given"], lang)
        except Exception:  # the question has changed since, or its model is gone: it is asked anew
            continue
        islands["figure", name] = {"predicted": {**judgement, "given": kept["given"]}}
    return islands


_judgements: WeakKeyDictionary[Callable[..., Any], dict[tuple[str, Lang], dict[str, Any]]] = (
    WeakKeyDictionary()
)


def _judge(spec: FigureSpec, given: Any, lang: Lang) -> dict[str, Any]:
    """``spec.judge``, which may run a model, once while the figure is unchanged."""
    known = _judgements.setdefault(spec.function, {})
    key = (repr(given), lang)
    if key not in known:
        known[key] = spec.judge(given, lang)
    return known[key]


def six_of_all(store: Store, course: Course) -> dict[str, Six]:
    return {lesson: Six(shares) for lesson, shares in store.overview(course).items()}


@dataclass(frozen=True)
class Place:
    """A section of a lesson."""

    lesson: str
    anchor: str
    section: Both | None

    @property
    def address(self) -> str:
        return f"/lesson/{self.lesson}#{quote(self.anchor)}"

    def in_course(self, course: Course) -> Both:
        """``1.2 Self-attention › What dividing does``."""
        title = course.lesson(self.lesson).title
        zh, en = f"{self.lesson} {title.zh}", f"{self.lesson} {title.en}"
        return (
            Both(f"{zh} › {self.section.zh}", f"{en} › {self.section.en}") if self.section else Both(zh, en)
        )


def place(course: Course, lesson: str, anchor: str) -> Place:
    """A section by its anchor; without a title if the lesson cannot be read or has it no longer."""
    titles = {lang: _titles(course, lesson, lang).get(anchor, "") for lang in ("zh", "en")}
    section = Both(titles["zh"], titles["en"]) if titles["zh"] and titles["en"] else None
    return Place(lesson, anchor, section)


def _titles(course: Course, lesson: str, lang: Lang) -> dict[str, str]:
    try:
        document = read_document(course.lesson(lesson).file(f"lesson.{lang}.md"), lang)
    except LessonError:
        return {}
    return {section.anchor: section.title for section in document.sections}


def last_place(store: Store, course: Course) -> Place | None:
    """Where one stopped reading."""
    last = store.continue_at(course)
    return place(course, last.lesson, last.anchor) if last else None


@dataclass(frozen=True)
class PlacedNote:
    note: Note
    place: Place


def notes(store: Store, course: Course) -> list[PlacedNote]:
    """The newest first; those of a lesson that the course has no longer are left out."""
    kept = [note for note in store.notes() if note.lesson in course.lessons]
    return [PlacedNote(note, place(course, note.lesson, note.anchor)) for note in kept]


def bookmarks(store: Store, course: Course) -> list[Place]:
    """The newest first."""
    kept = [mark for mark in store.bookmarks() if mark.lesson in course.lessons]
    return [place(course, mark.lesson, mark.anchor) for mark in kept]


def next_due(store: Store) -> Both:
    """When the next card comes back."""
    due = store.next_due()
    if due is None:
        return Both("还没有要复习的卡片", "no cards to review yet")
    days = (due.astimezone().date() - datetime.now(UTC).astimezone().date()) // timedelta(days=1)
    if days <= 0:
        return Both("今天晚些时候还有卡片", "more cards later today")
    if days == 1:
        return Both("下一批卡片明天到期", "the next cards are due tomorrow")
    return Both(f"下一批卡片 {days} 天后到期", f"the next cards are due in {days} days")

"""The finished page of a lesson, kept until one of the files that it was made from changes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from teachllm.school.course import Course, Lesson, load_course
from teachllm.school.language import Lang
from teachllm.school.lesson.document import Document, read_document
from teachllm.school.lesson.html import PageRenderer
from teachllm.school.lesson.islands import Island
from teachllm.school.lesson.loaded import LoadedLesson, load_lesson, require_available
from teachllm.school.lesson.source_code import module_file
from teachllm.school.problem import LessonError, Problem

_ISLAND = re.compile("\ue001(\\d+)\ue001")


@dataclass(frozen=True)
class TocEntry:
    anchor: str
    title: str
    level: int


@dataclass(frozen=True)
class RenderedLesson:
    """A lesson in one language. ``symbols`` are the pieces of the stack that it shows.

    ``failures`` are figures and values that could not be computed just now; the page says so in their place
    and is rendered again a little later.
    """

    lesson: Lesson
    lang: Lang
    title: str
    toc: tuple[TocEntry, ...]
    islands: tuple[Island, ...]
    symbols: tuple[str, ...]
    template: str
    failures: tuple[Problem, ...] = ()

    @cached_property
    def html(self) -> str:
        """The page's body: ``<section id data-section>`` elements, without the title."""
        return self.html_with({})

    def html_with(self, state: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
        """The same with what one learner left there.

        ``{("figure", "scale"): {"predicted": {…}}}`` is added to the JSON of that island.
        """

        def place(found: re.Match[str]) -> str:
            island = self.islands[int(found[1])]
            return island.html(self.lang, state.get((island.kind, island.name)))

        return _ISLAND.sub(place, self.template)

    @property
    def figures(self) -> tuple[str, ...]:
        return tuple(island.name for island in self.islands if island.kind == "figure")

    @property
    def labs(self) -> tuple[str, ...]:
        return tuple(island.name for island in self.islands if island.kind == "lab")


_RETRY_SECONDS = 3.0


@dataclass(frozen=True)
class _Kept:
    """A page with what it was made from and when."""

    page: RenderedLesson
    course: Course
    files: tuple[Path, ...]
    stamps: tuple[int, ...]
    rendered: float

    def is_current(self, course: Course) -> bool:
        if self.page.failures and time.monotonic() - self.rendered > _RETRY_SECONDS:
            return False
        return self.course is course and self.stamps == _stamps(self.files)


_lock = threading.Lock()
_kept: dict[tuple[Path, Lang], _Kept] = {}
_rendering: dict[Path, threading.Lock] = {}


def render(lesson_id: str, lang: Lang, course: Course | None = None) -> RenderedLesson:
    """The page of an available lesson.

    Raises :class:`teachllm.school.course.UnknownLesson`, or :class:`LessonError` with everything that keeps
    the lesson from being shown.
    """
    course = course or load_course()
    lesson = course.lesson(lesson_id)
    require_available(lesson)
    with _lock:
        lock = _rendering.setdefault(lesson.folder, threading.Lock())
    with lock:
        kept = _kept.get((lesson.folder, lang))
        if kept is not None and kept.is_current(course):
            return kept.page
        files = _own_files(lesson)
        before = _stamps(files)
        page, shown = _render(course, lesson, lang)
        _kept[lesson.folder, lang] = _Kept(
            page, course, files + shown, before + _stamps(shown), time.monotonic()
        )
        return page


def _own_files(lesson: Lesson) -> tuple[Path, ...]:
    names = ("lesson.zh.md", "lesson.en.md", "figures.py", "exercise.yaml")
    return tuple(lesson.file(name) for name in names)


def _stamps(files: Iterable[Path]) -> tuple[int, ...]:
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _render(course: Course, lesson: Lesson, lang: Lang) -> tuple[RenderedLesson, tuple[Path, ...]]:
    problems: list[Problem] = []
    document: Document | None = None
    loaded: LoadedLesson | None = None
    try:
        document = read_document(lesson.file(f"lesson.{lang}.md"), lang)
    except LessonError as error:
        problems += error.problems
    try:
        loaded = load_lesson(lesson.id, course)
    except LessonError as error:
        problems += error.problems
    if document is None or loaded is None:
        raise LessonError(problems + (document.problems if document else []))
    renderer = PageRenderer(document, course, loaded)
    template = renderer.page()
    if document.problems:
        raise LessonError(document.problems)
    page = RenderedLesson(
        lesson=lesson,
        lang=lang,
        title=document.title,
        toc=tuple(TocEntry(s.anchor, s.title, s.level) for s in document.sections if s.level > 1),
        islands=tuple(renderer.islands),
        symbols=tuple(source.symbol for source in renderer.sources),
        template=template,
        failures=tuple(renderer.failures),
    )
    shown = {source.path for source in renderer.sources}
    if any(island.kind == "exercise" for island in renderer.islands):
        shown.add(module_file(loaded.exercise.symbol.partition(":")[0]))
    return page, tuple(sorted(shown))

"""The finished page of a lesson, kept until one of the files that it was made from changes."""

from __future__ import annotations

import re
import threading
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
    """A lesson in one language. ``symbols`` are the pieces of the stack that it shows."""

    lesson: Lesson
    lang: Lang
    title: str
    toc: tuple[TocEntry, ...]
    islands: tuple[Island, ...]
    symbols: tuple[str, ...]
    template: str

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


_lock = threading.Lock()
_kept: dict[tuple[Path, Lang], tuple[Course, tuple[Path, ...], tuple[int, ...], RenderedLesson]] = {}
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
        if kept is not None and kept[0] is course and kept[2] == _stamps(kept[1]):
            return kept[3]
        files = _own_files(lesson)
        before = _stamps(files)
        page, shown = _render(course, lesson, lang)
        files += shown
        _kept[lesson.folder, lang] = (course, files, before + _stamps(shown), page)
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
    )
    shown = {source.path for source in renderer.sources}
    for island in renderer.islands:
        if island.kind == "exercise":
            shown.add(module_file(str(island.data["symbol"]).partition(":")[0]))
    return page, tuple(sorted(shown))

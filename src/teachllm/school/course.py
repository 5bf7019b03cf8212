"""The course: 13 chapters, 99 lessons, read from ``course/course.yaml``.

``load_course()`` is cheap to call for every request: the files are read again only when they change.
"""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from teachllm.school.glossary import Glossary, load_glossary
from teachllm.school.language import Both
from teachllm.school.problem import CourseError, CourseFileError, Problem
from teachllm.school.yaml_file import BothText, YamlFile, read_yaml, validate

Status: TypeAlias = Literal["available", "planned"]
Difficulty: TypeAlias = Annotated[int, Field(ge=1, le=4)]
Slug: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class UnknownLesson(LookupError):
    """There is no lesson of that number; the message names near ones."""


@dataclass(frozen=True)
class Lesson:
    """One lesson of the table. ``difficulty`` and ``priority`` are the chapter's unless it has its own."""

    id: str
    slug: str
    title: Both
    summary: Both
    source: str
    hours: float
    difficulty: int
    priority: Both
    group: Both | None
    prerequisites: tuple[str, ...]
    status: Status
    chapter: int
    folder: Path

    @property
    def available(self) -> bool:
        return self.status == "available"

    def file(self, name: str) -> Path:
        """The path of one of its files, such as ``lesson.zh.md``."""
        return self.folder / name


@dataclass(frozen=True)
class Chapter:
    number: int
    slug: str
    title: Both
    difficulty: int
    priority: Both
    lessons: tuple[Lesson, ...]

    @property
    def hours(self) -> float:
        return sum(lesson.hours for lesson in self.lessons)


@dataclass(frozen=True)
class Course:
    folder: Path
    chapters: tuple[Chapter, ...]
    glossary: Glossary

    @cached_property
    def lessons(self) -> dict[str, Lesson]:
        """All lessons by id, in the order of the course."""
        return {lesson.id: lesson for chapter in self.chapters for lesson in chapter.lessons}

    def lesson(self, lesson_id: str) -> Lesson:
        """Raises :class:`UnknownLesson` with near ids."""
        try:
            return self.lessons[lesson_id]
        except KeyError:
            near = difflib.get_close_matches(lesson_id, self.lessons, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise UnknownLesson(f"there is no lesson {lesson_id!r}{hint}") from None

    def chapter_of(self, lesson_id: str) -> Chapter:
        return self.chapters[self.lesson(lesson_id).chapter - 1]

    def neighbours(self, lesson_id: str) -> tuple[Lesson | None, Lesson | None]:
        """The lessons before and after it in the course's order."""
        order = list(self.lessons.values())
        index = order.index(self.lesson(lesson_id))
        before = order[index - 1] if index > 0 else None
        after = order[index + 1] if index + 1 < len(order) else None
        return before, after

    def available(self) -> Iterator[Lesson]:
        return (lesson for lesson in self.lessons.values() if lesson.available)

    def unlocks(self, lesson_id: str) -> list[Lesson]:
        """The lessons that name this one as a prerequisite."""
        return [lesson for lesson in self.lessons.values() if lesson_id in lesson.prerequisites]


def course_folder() -> Path:
    """``TEACHLLM_COURSE``, else the ``course`` folder beside (a checkout) or inside (a wheel) the package.

    Raises :class:`CourseError` if there is none.
    """
    given = os.environ.get("TEACHLLM_COURSE")
    package = Path(__file__).resolve().parents[1]
    candidates = [Path(given)] if given else [package.parents[1] / "course", package / "course"]
    for candidate in candidates:
        if (candidate / "course.yaml").is_file():
            return candidate.resolve()
    message = Both(
        "这里没有 course.yaml；请把环境变量 TEACHLLM_COURSE 设为课程文件夹",
        "there is no course.yaml here; set the environment variable TEACHLLM_COURSE to the course folder",
    )
    raise CourseError([Problem(candidate, None, message) for candidate in candidates])


_lock = threading.Lock()
_loaded: dict[Path, tuple[tuple[int, ...], Course]] = {}


def load_course(folder: Path | None = None) -> Course:
    """The course in ``folder`` (default :func:`course_folder`), read again only when its files have changed.

    Raises :class:`CourseError` with every problem in ``course.yaml`` and ``glossary.yaml``.
    """
    folder = course_folder() if folder is None else folder.resolve()
    files = (folder / "course.yaml", folder / "glossary.yaml")
    stamp = tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
    with _lock:
        known = _loaded.get(folder)
        if known is None or known[0] != stamp:
            known = _loaded[folder] = (stamp, _read_course(folder))
        return known[1]


class _LessonEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(pattern=r"^[1-9]\d?\.[1-9]\d?$")]
    slug: Slug
    title: BothText
    summary: BothText
    source: Annotated[str, Field(min_length=1)]
    hours: Annotated[float, Field(gt=0, le=20)]
    difficulty: Difficulty | None = None
    priority: BothText | None = None
    group: BothText | None = None
    prerequisites: list[str] = []
    status: Status = "planned"


class _ChapterEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    number: Annotated[int, Field(ge=1, le=99)]
    slug: Slug
    title: BothText
    difficulty: Difficulty
    priority: BothText
    lessons: Annotated[list[_LessonEntry], Field(min_length=1)]


class _CourseEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    chapters: Annotated[list[_ChapterEntry], Field(min_length=1)]


def _read_course(folder: Path) -> Course:
    problems: list[Problem] = []
    chapters: tuple[Chapter, ...] = ()
    glossary = Glossary({})
    try:
        file = read_yaml(folder / "course.yaml")
        entries = validate(file, _CourseEntry).chapters
        problems += _numbering_problems(file, entries) + _prerequisite_problems(file, entries)
        chapters = tuple(_chapter(folder, entry) for entry in entries)
    except CourseFileError as error:
        problems += error.problems
    try:
        known = {lesson.id for chapter in chapters for lesson in chapter.lessons}
        glossary = load_glossary(folder / "glossary.yaml", known)
    except CourseFileError as error:
        problems += error.problems
    if problems:
        raise CourseError(problems)
    return Course(folder, chapters, glossary)


def _chapter(folder: Path, entry: _ChapterEntry) -> Chapter:
    chapter_folder = folder / f"{entry.number:02d}-{entry.slug}"
    lessons = tuple(
        Lesson(
            id=lesson.id,
            slug=lesson.slug,
            title=lesson.title,
            summary=lesson.summary,
            source=lesson.source,
            hours=lesson.hours,
            difficulty=lesson.difficulty or entry.difficulty,
            priority=lesson.priority or entry.priority,
            group=lesson.group,
            prerequisites=tuple(lesson.prerequisites),
            status=lesson.status,
            chapter=entry.number,
            folder=chapter_folder / f"{index:02d}-{lesson.slug}",
        )
        for index, lesson in enumerate(entry.lessons, start=1)
    )
    return Chapter(entry.number, entry.slug, entry.title, entry.difficulty, entry.priority, lessons)


def _numbering_problems(file: YamlFile, chapters: list[_ChapterEntry]) -> list[Problem]:
    """Chapters count 1, 2, 3 …; lesson ids are ``chapter.position``, so they are unique and in order."""
    problems = []
    for c, chapter in enumerate(chapters):
        if chapter.number != c + 1:
            message = Both(
                f"章号是 {chapter.number}，这里应为 {c + 1}",
                f"chapter number is {chapter.number}, here it must be {c + 1}",
            )
            problems.append(file.problem(("chapters", c, "number"), message))
        for i, lesson in enumerate(chapter.lessons):
            expected = f"{c + 1}.{i + 1}"
            if lesson.id != expected:
                message = Both(
                    f"课号是 {lesson.id}，这里应为 {expected}",
                    f"lesson id is {lesson.id}, here it must be {expected}",
                )
                problems.append(file.problem(("chapters", c, "lessons", i, "id"), message))
    return problems


def _prerequisite_problems(file: YamlFile, chapters: list[_ChapterEntry]) -> list[Problem]:
    """Prerequisites exist, are not repeated, and lead to no cycle."""
    places = {
        lesson.id: ("chapters", c, "lessons", i, "prerequisites")
        for c, chapter in enumerate(chapters)
        for i, lesson in enumerate(chapter.lessons)
    }
    needs = {lesson.id: lesson.prerequisites for chapter in chapters for lesson in chapter.lessons}
    problems = []
    for lesson_id, prerequisites in needs.items():
        for needed in prerequisites:
            if needed not in needs:
                message = Both(
                    f"{lesson_id} 的先修课 {needed} 不存在",
                    f"{lesson_id} needs {needed}, which does not exist",
                )
                problems.append(file.problem(places[lesson_id], message))
        if len(set(prerequisites)) != len(prerequisites):
            message = Both(f"{lesson_id} 的先修课有重复", f"{lesson_id} names a prerequisite twice")
            problems.append(file.problem(places[lesson_id], message))
    cycle = _cycle(needs)
    if cycle:
        chain = " → ".join(cycle)
        message = Both(f"先修关系成环：{chain}", f"prerequisites form a cycle: {chain}")
        problems.append(file.problem(places[cycle[0]], message))
    return problems


def _cycle(needs: dict[str, list[str]]) -> list[str]:
    """Ids along a cycle, its first repeated at the end; empty if there is none."""
    finished: set[str] = set()

    def walk(lesson_id: str, path: list[str]) -> list[str]:
        if lesson_id in path:
            return [*path[path.index(lesson_id) :], lesson_id]
        if lesson_id in finished:
            return []
        for needed in needs.get(lesson_id, []):
            found = walk(needed, [*path, lesson_id])
            if found:
                return found
        finished.add(lesson_id)
        return []

    for lesson_id in needs:
        found = walk(lesson_id, [])
        if found:
            return found
    return []

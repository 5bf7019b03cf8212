"""All problems of a course, lesson by lesson."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from teachllm.school.course import Course, Lesson
from teachllm.school.language import LANGUAGES, Both, Lang
from teachllm.school.lesson.document import Document, read_document
from teachllm.school.lesson.page import render
from teachllm.school.lint.live import live_problems
from teachllm.school.lint.practice import practice_problems
from teachllm.school.lint.requirements import FILES, Requirements
from teachllm.school.lint.text import text_problems
from teachllm.school.problem import LessonError, Problem


def lint(
    course: Course, lessons: Iterable[str] = (), requirements: Requirements | None = None
) -> list[Problem]:
    """Problems of the named lessons, by default of every available one and of folders that no lesson owns.

    A lesson that is named is checked even while its status is planned.
    """
    named = list(lessons)
    wanted = named or [lesson.id for lesson in course.available()]
    problems: list[Problem] = [] if named else list(_stray_folders(course))
    for lesson_id in wanted:
        problems += lint_lesson(course, lesson_id, requirements or Requirements())
    return _unique(problems)


def lint_lesson(course: Course, lesson_id: str, requirements: Requirements) -> list[Problem]:
    """Everything that is wrong with one lesson. Raises :class:`UnknownLesson`."""
    course = with_available(course, lesson_id)
    lesson = course.lesson(lesson_id)
    missing = list(_missing_files(lesson))
    if len(missing) == len(FILES):
        message = Both(
            f"没有这一课的文件；先运行 teachllm new-lesson {lesson_id}",
            f"the lesson has no files; run teachllm new-lesson {lesson_id} first",
        )
        return [Problem(lesson.folder, None, message)]
    problems: list[Problem] = []
    documents: dict[Lang, Document] = {}
    for lang in LANGUAGES:
        if not lesson.file(f"lesson.{lang}.md").exists():
            continue
        try:
            documents[lang] = read_document(lesson.file(f"lesson.{lang}.md"), lang)
            problems += render(lesson_id, lang, course).failures
        except LessonError as error:
            problems += error.problems
    problems += text_problems(course, documents, requirements)
    problems += live_problems(course, lesson, documents, requirements)
    problems += practice_problems(course, lesson, documents, requirements)
    absent = {problem.file for problem in missing}
    return _unique([*missing, *(problem for problem in problems if problem.file not in absent)])


def with_available(course: Course, lesson_id: str) -> Course:
    """The course with that lesson counted as available, so that a draft can be rendered."""
    lesson = course.lesson(lesson_id)
    if lesson.available:
        return course
    draft = replace(lesson, status="available")
    chapters = tuple(
        replace(
            chapter, lessons=tuple(draft if known.id == lesson_id else known for known in chapter.lessons)
        )
        for chapter in course.chapters
    )
    return Course(course.folder, chapters, course.glossary)


def _missing_files(lesson: Lesson) -> Iterator[Problem]:
    for name in FILES:
        if not lesson.file(name).exists():
            yield Problem(lesson.file(name), None, Both("缺少这个文件", "this file is missing"))


def _stray_folders(course: Course) -> Iterator[Problem]:
    """Folders with lesson texts that ``course.yaml`` does not show to learners."""
    owners = {lesson.folder: lesson for lesson in course.lessons.values()}
    for text in sorted(course.folder.glob("*/*/lesson.*.md")):
        lesson = owners.get(text.parent)
        if lesson is None:
            message = Both("course.yaml 里没有一课用这个文件夹", "no lesson of course.yaml owns this folder")
            yield Problem(text.parent, None, message)
        elif not lesson.available:
            message = Both(
                f"{lesson.id} 的状态还是 planned，学习者看不到；写完后改成 available",
                f"lesson {lesson.id} is still planned, unseen by learners; make it available when it is done",
            )
            yield Problem(text.parent, None, message, "warning")


def _unique(problems: Iterable[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))

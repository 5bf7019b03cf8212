"""Lessons: Markdown with directives becomes a page that is bound to the stack's code.

``render(lesson_id, lang)`` gives the page, ``load_lesson(lesson_id)`` the figures and labs behind it.
Both read files again only when they change, and raise :class:`LessonError` for a lesson that cannot be shown.
"""

from teachllm.school.lesson.document import Document, Element, Section, read_document
from teachllm.school.lesson.loaded import LoadedLesson, load_lesson
from teachllm.school.lesson.page import RenderedLesson, TocEntry, render
from teachllm.school.lesson.snippets import render_snippet
from teachllm.school.problem import LessonError, Problem

__all__ = [
    "Document",
    "Element",
    "LessonError",
    "LoadedLesson",
    "Problem",
    "RenderedLesson",
    "Section",
    "TocEntry",
    "load_lesson",
    "read_document",
    "render",
    "render_snippet",
]

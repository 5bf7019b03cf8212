"""Short Markdown outside of a lesson's text: the task of an exercise, a hint, the answer on a card."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from teachllm.school.course import load_course
from teachllm.school.language import Lang
from teachllm.school.lesson.document import Document
from teachllm.school.lesson.html import PageRenderer
from teachllm.school.lesson.markdown import parser
from teachllm.school.lesson.references import protect_bars
from teachllm.school.problem import LessonError


@lru_cache(maxsize=2048)
def render_snippet(text: str, lang: Lang) -> str:
    """HTML of a short text; mathematics and ``{term}``, ``{lesson}``, ``{paper}`` work as in a lesson.

    Raises :class:`LessonError` for a reference that does not exist.
    """
    document = Document(Path("snippet"), lang, tokens=parser(lang).parse(protect_bars(text)))
    html = PageRenderer(document, load_course(), None).snippet()
    if document.problems:
        raise LessonError(document.problems)
    return html

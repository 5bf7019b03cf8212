"""A card's text for a terminal: what a reader of the page sees, without HTML."""

from __future__ import annotations

from markdown_it.token import Token

from teachllm.school.course import Course
from teachllm.school.language import Lang
from teachllm.school.lesson.formula import readable
from teachllm.school.lesson.markdown import parser
from teachllm.school.lesson.references import Reference, protect_bars, restore_bars


def plain(markdown: str, lang: Lang, course: Course) -> str:
    """Paragraphs with a blank line between them; formulas as :func:`readable` text."""
    tokens = parser(lang).parse(protect_bars(markdown))
    paragraphs = (block_text(token, lang, course) for token in tokens)
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def block_text(token: Token, lang: Lang, course: Course) -> str:
    """What a token of a document says: that of a paragraph, a heading's text, a formula on its own line."""
    if token.type.startswith("math"):
        return readable(token.content)
    return inline_text(token.children, lang, course) if token.type == "inline" else ""


def inline_text(children: list[Token] | None, lang: Lang, course: Course) -> str:
    parts = []
    for child in children or []:
        if child.type in ("text", "code_inline"):
            parts.append(restore_bars(child.content))
        elif child.type.startswith("math"):
            parts.append(readable(child.content))
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" " if lang == "en" else "")
        elif child.type == "reference":
            parts.append(_reference(child.meta["reference"], lang, course))
    return "".join(parts).strip()


def _reference(reference: Reference, lang: Lang, course: Course) -> str:
    if reference.text:
        return reference.text
    if reference.kind == "term" and reference.target in course.glossary:
        return course.glossary[reference.target].name.get(lang)
    if reference.kind == "lesson" and reference.target in course.lessons:
        return f"{reference.target} {course.lesson(reference.target).title.get(lang)}"
    return f"arXiv:{reference.target}" if reference.kind == "paper" else "…"

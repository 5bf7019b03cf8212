"""What the course says about a question: passages that an answer can be made of, and whether there are any.

``find_passages("为什么要除以根号 d", "zh")`` gives the best passage of each place, best first. The first call
after a start waits for the index; the course is not read again until its files change.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from teachllm.school.language import Lang
from teachllm.school.progress.reading import Note
from teachllm.school.search import engine
from teachllm.school.search.entries import Kind

_ENOUGH = 0.5


@dataclass(frozen=True)
class Passage:
    """A piece of the course, or a note. ``text`` is plain: what a reader sees, formulas as signs.

    anchor: where it stands on the lesson's page. section: the anchor of the section that it belongs to, of
    code and cards too; None for a lesson's opening, terms and notes. symbol: what code shows, as
    ``teachllm.stack.module:name``.
    """

    kind: Kind
    lang: Lang
    lesson_id: str | None
    anchor: str | None
    title: str
    section_title: str
    text: str
    section: str | None = None
    symbol: str | None = None

    @property
    def address(self) -> str:
        """Where it leads in the studio."""
        if self.lesson_id is None:
            return f"/search?q={quote(self.title)}"
        return f"/lesson/{self.lesson_id}" + (f"#{quote(self.anchor)}" if self.anchor else "")


@dataclass(frozen=True)
class Scored:
    """``score``: larger is better; comparable within one answer only."""

    passage: Passage
    score: float


@dataclass(frozen=True)
class Found:
    """``supported``: whether the course says something about it; if not, ``passages`` are only the nearest.

    ``confidence``: from 0 to 1, what ``supported`` is decided by.
    """

    passages: list[Scored]
    supported: bool
    confidence: float


def find_passages(
    question: str,
    lang: Lang,
    *,
    k: int = 6,
    near: str | None = None,
    notes: Sequence[Note] = (),
    hidden: Collection[str] = (),
) -> Found:
    """At most ``k`` passages for a question in either language, one a place, in ``lang`` where there is one.

    near: the lesson that the learner is in; its passages come a little earlier. notes: the learner's own,
    searched along. hidden: symbols (``module:name``) whose code must not be found, such as the solution of an
    exercise. Raises :class:`CourseError` if the course cannot be read.
    """
    hits = engine.search_whole(question, lang, limit=4 * k, notes=notes)
    found = [
        Scored(
            Passage(
                hit.kind,
                hit.lang,
                hit.lesson_id,
                hit.anchor,
                hit.title,
                hit.section_title,
                hit.text,
                hit.section,
                hit.symbol,
            ),
            hit.score * (1.1 if near is not None and hit.lesson_id == near else 1.0),
        )
        for hit in hits
        if hit.symbol not in hidden
    ]
    best = sorted(found, key=lambda one: -one.score)[:k]
    confidence = best[0].score / (best[0].score + 10) if best else 0.0
    return Found(best, confidence >= _ENOUGH, confidence)

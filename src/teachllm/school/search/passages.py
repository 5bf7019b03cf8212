"""What the course says about a question: passages that an answer can be made of, and whether there are any.

``find_passages("为什么要除以根号 d", "zh")`` gives the best passage of each place, best first. The first call
after a start waits for the index; the course is not read again until its files change.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from teachllm.school.language import Lang
from teachllm.school.progress.reading import Note
from teachllm.school.search import engine
from teachllm.school.search.entries import Entry, Kind
from teachllm.school.search.sections import ASIDE, Asked, Sections
from teachllm.school.search.support import ENOUGH, confidence_of
from teachllm.stack.retrieval.pieces import cut_between_sentences

PATIENCE = 60.0
"""Seconds to wait for the lessons' texts, the first time."""
WORDS: dict[Lang, int] = {"en": 180, "zh": 300}
"""Of a passage at most; a Chinese character counts as a word."""
FIRST = 3
NEAR = 0.05


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
    """At most ``k`` passages for a question in either language, in ``lang`` where there is one.

    A section gives one passage; a card or code that answers better than its section comes after the third.
    near: the lesson that the learner is in; its passages come a little earlier. notes: the learner's own,
    searched along. hidden: symbols (``module:name``) whose code must not be found, such as the solution of an
    exercise. Raises :class:`CourseError` if the course cannot be read.
    """
    library = engine.library(PATIENCE)
    sections = library.sections
    asked = sections.ask(question, lang, library.meaning)
    scores = asked.sections + NEAR * np.array([lesson == near for lesson, _ in sections.places], dtype=float)
    order = [number for number in np.argsort(-scores, kind="stable")[:k].tolist() if scores[number] > 0]
    found = [
        Scored(_of_section(sections, number, asked, question, lang), float(scores[number]))
        for number in order
    ]
    asides = _of_notes(notes, question, lang, sections)
    confidence = max([confidence_of(question, asked, sections), *(note.score for note in asides)])
    for kind in ("card", "code"):
        if (number := sections.best_aside(order[:FIRST], kind, asked, lang, hidden)) is not None:
            entry = sections.index.entries[number]
            asides.append(Scored(_passage(entry, entry.text), float(scores[sections.homes[number]])))
    return Found([*found[:FIRST], *asides, *found[FIRST:]][:k], confidence >= ENOUGH, confidence)


def _of_section(sections: Sections, number: int, asked: Asked, question: str, lang: Lang) -> Passage:
    entry_number = sections.best_entry(number, asked, lang)
    if entry_number is None:  # only cards or code are there: a lesson whose text cannot be read
        entry_number = int(np.flatnonzero(sections.homes == number)[0])
    entry = sections.index.entries[entry_number]
    return _passage(entry, _best_part(entry, sections, question, asked.nearest.get(entry_number, "")))


def _best_part(entry: Entry, sections: Sections, question: str, nearest: str) -> str:
    """All of a short text; of a longer one the part that has most of the question's words."""
    parts = cut_between_sentences(entry.text, WORDS[entry.lang])
    if len(parts) < 2:
        return entry.text
    wanted = sections.terms_of(question)
    sentence = nearest.split(". ")[0]

    def told(part: str) -> float:
        have = sections.terms_of(part)
        shared = sum(worth for term, worth in wanted.items() if term in have)
        return shared + (max(wanted.values(), default=0.0) if sentence and sentence in part else 0.0)

    return max(parts, key=told)


def _of_notes(notes: Sequence[Note], question: str, lang: Lang, sections: Sections) -> list[Scored]:
    """The learner's notes that have much of what the question asks for."""
    wanted = sections.terms_of(question)
    total = sum(wanted.values())
    found = []
    for note in notes:
        text = f"{note.text}\n{note.quote}".strip()
        have = sections.terms_of(text)
        share = sum(worth for term, worth in wanted.items() if term in have) / max(total, 1e-9)
        if share >= ASIDE:
            title = " ".join(note.text.split())[:80]
            found.append(Scored(Passage("note", lang, note.lesson, note.anchor, title, "", text), share))
    return sorted(found, key=lambda one: -one.score)[:2]


def _passage(entry: Entry, text: str) -> Passage:
    return Passage(
        entry.kind, entry.lang, entry.lesson_id, entry.anchor, entry.title, entry.section_title, text,
        entry.section, entry.symbol,
    )  # fmt: skip

"""What a question is answered from: passages of the course, the section that one is in, the words selected.

A question that only points ("why this?") has too few words to be looked up. It is looked up together with the
question before it, with what is selected, or with the section that one reads.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from teachllm.school.course import Course
from teachllm.school.language import Lang
from teachllm.school.lesson import LessonError, read_document
from teachllm.school.progress import Note
from teachllm.school.search import engine
from teachllm.school.search.passages import PATIENCE, WORDS, Found, Passage, find_passages
from teachllm.school.tutor.reply import Parts, Place
from teachllm.stack.retrieval.pieces import cut_between_sentences

SHORT = 24
"""Letters of a question that may be a follow-up; a Chinese character counts for three."""
MOST_PLACES = 5
_POINTS = re.compile(
    r"这|那|它|上面|刚才|此处|为什么[？?]?$|呢[？?]?$|\b(this|that|these|those|it|here|above|section|why)\b",
    re.I,
)
_POINTS_HERE = re.compile(
    r"这里|这儿|这一节|这一段|这段|上面|此处|\b(here|this section|this passage|above)\b", re.I
)
_SENTENCES = re.compile(r"(?<=[。！？；])|(?<=[.!?])\s+|\n+")


@dataclass(frozen=True)
class Asked:
    """A question and where it was asked. before: the learner's question before it in the conversation.

    hidden: symbols whose code must not be found.
    """

    text: str
    lang: Lang
    lesson: str | None = None
    anchor: str | None = None
    selection: str = ""
    before: str | None = None
    notes: Sequence[Note] = ()
    hidden: Collection[str] = ()


@dataclass(frozen=True)
class Evidence:
    """``supported``: whether an answer can be made from the passages; if not, they are only the nearest."""

    passages: list[Passage]
    supported: bool


def evidence_for(asked: Asked, course: Course) -> Evidence:
    """Raises :class:`teachllm.school.problem.CourseFileError` if the course cannot be read."""
    found = _found(asked.text, asked)
    points = _length(asked.text) <= SHORT or _POINTS.search(asked.text) is not None
    here: list[Passage] = []
    if not found.supported and points and asked.before:
        found = _found(f"{asked.before} {asked.text}", asked)
    is_here = _POINTS_HERE.search(asked.text) or (not found.supported and _POINTS.search(asked.text))
    if asked.lesson and (asked.selection or is_here):
        here = section_passage(course, asked.lesson, asked.anchor, asked.selection, asked.lang)
        if asked.selection and not found.supported:
            found = _found(f"{asked.text} {asked.selection}", asked)
    places = {(one.lesson_id, one.section or one.anchor) for one in here}
    others = [
        one.passage
        for one in found.passages
        if one.passage.kind != "lesson" or (one.passage.lesson_id, one.passage.section) not in places
    ]
    if here and not found.supported:
        others = []
    return Evidence([*here, *others][:MOST_PLACES], found.supported or bool(here))


def section_passage(
    course: Course, lesson_id: str, anchor: str | None, selection: str, lang: Lang
) -> list[Passage]:
    """The section that one reads, the part of it around the selection; none if it cannot be read."""
    lesson = course.lesson(lesson_id)
    try:
        document = read_document(lesson.file(f"lesson.{lang}.md"), lang)
    except LessonError:
        return []
    section = next((one for one in document.sections if one.anchor == anchor), document.sections[0])
    parts = cut_between_sentences(section.text, WORDS[lang])
    words = set(re.findall(r"\w", selection)) if not selection.isascii() else set(selection.split())
    best = max(parts, key=lambda part: (selection in part, sum(word in part for word in words)), default="")
    if not best.strip():
        return []
    title = lesson.title.get(lang)
    return [Passage("lesson", lang, lesson_id, section.anchor, title, section.title, best, section.anchor)]


def places_of(evidence: Evidence, asked: Asked, *, with_words: bool) -> list[Place]:
    """The passages with the numbers that they are cited by, from 1; with their words where those are the
    answer.
    """
    question = f"{asked.before or ''} {asked.text} {asked.selection}"
    return [
        Place(
            number,
            one.lesson_id,
            one.anchor,
            one.title,
            one.section_title if one.section_title != one.title else "",
            one.kind,
            answering_sentences(one.text, question) if with_words else [],
        )
        for number, one in enumerate(evidence.passages, 1)
    ]


def answering_sentences(text: str, question: str, most: int = 2) -> Parts:
    """The passage, with the sentences marked that have most of what the question's words tell: those that
    have at least two thirds of what the best has. A question of the text answers nothing. None is marked
    where no sentence shares a word.
    """
    terms_of = engine.library(PATIENCE).sections.terms_of
    wanted = terms_of(question)
    cuts = [0, *(match.end() for match in _SENTENCES.finditer(text)), len(text)]
    sentences = [text[a:b] for a, b in pairwise(cuts) if a < b]
    told = [
        0.0
        if one.rstrip().endswith(("？", "?"))
        else sum(worth for term, worth in wanted.items() if term in terms_of(one))
        for one in sentences
    ]
    best = sorted(range(len(sentences)), key=lambda n: -told[n])[:most]
    marked = {n for n in best if told[n] > 0 and told[n] >= 2 / 3 * max(told)}
    parts: Parts = []
    for n, sentence in enumerate(sentences):
        if parts and parts[-1][1] == (n in marked):
            parts[-1] = (parts[-1][0] + sentence, parts[-1][1])
        else:
            parts.append((sentence, n in marked))
    return parts


def _found(text: str, asked: Asked) -> Found:
    return find_passages(
        text, asked.lang, k=MOST_PLACES, near=asked.lesson, notes=asked.notes, hidden=asked.hidden
    )


def _length(text: str) -> int:
    return sum(1 if letter.isascii() else 3 for letter in text)

"""What the course says twice, once in each language, and which of its questions which text answers.

Both languages of a lesson have the same blocks in the same order, so that block stands beside block. Where
also the sentences are as many, sentence stands beside sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from teachllm.school.cards.deck import cards_known
from teachllm.school.cards.plain import plain
from teachllm.school.course import Course
from teachllm.school.language import LANGUAGES, Lang
from teachllm.school.search.entries import Entry, texts

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])\s*")


@dataclass(frozen=True)
class CoursePassage:
    """A section of a lesson, as plain text. id: lesson, anchor and language."""

    id: str
    lang: Lang
    lesson: str
    anchor: str
    title: str
    text: str


@dataclass(frozen=True)
class CoursePair:
    """Two texts that belong together. lang: of the query. source: translation, card, heading or term. group:
    where they are from; what is held out of training is held out by whole groups.
    """

    query: str
    positive: str
    lang: Lang
    source: str
    group: str


def passages(entries: Sequence[Entry]) -> Iterator[CoursePassage]:
    """The sections that have a text."""
    for entry in entries:
        if entry.kind == "lesson" and entry.lesson_id and entry.anchor and entry.text.strip():
            yield CoursePassage(
                f"{entry.lesson_id}#{entry.anchor}@{entry.lang}",
                entry.lang,
                entry.lesson_id,
                entry.anchor,
                entry.section_title,
                entry.text,
            )


def translations(course: Course, entries: Sequence[Entry]) -> Iterator[CoursePair]:
    """Chinese texts and the English ones that say the same: blocks, sentences, headings, cards, terms."""
    for group, zh, en in _said_twice(course, entries):
        if zh.strip() and en.strip() and zh != en:
            yield CoursePair(zh.strip(), en.strip(), "zh", "translation", group)


def _said_twice(course: Course, entries: Sequence[Entry]) -> Iterator[tuple[str, str, str]]:
    """(group, Chinese, English)."""
    sections: dict[str, dict[Lang, Entry]] = {}
    for entry in entries:
        if entry.kind == "lesson":
            sections.setdefault(f"{entry.lesson_id}#{entry.anchor}", {})[entry.lang] = entry
    for group, both in sections.items():
        if len(both) == len(LANGUAGES):
            yield group, both["zh"].section_title, both["en"].section_title
            yield from _blocks(group, both["zh"].text, both["en"].text)
    for lesson in course.lessons.values():
        yield lesson.id, lesson.title.zh, lesson.title.en
        yield from _blocks(lesson.id, lesson.summary.zh, lesson.summary.en)
    for lesson in course.available():
        for card in cards_known(lesson):
            for text in (card.question, card.answer):
                yield from _blocks(card.id, plain(text.zh, "zh", course), plain(text.en, "en", course))
    for term in course.glossary:
        yield term.id, term.name.zh, term.name.en
        yield from _blocks(term.id, term.definition.zh, term.definition.en)


def _blocks(group: str, zh: str, en: str) -> Iterator[tuple[str, str, str]]:
    """Block by block if they are as many, else nothing; a block's sentences likewise."""
    blocks = zh.split("\n"), en.split("\n")
    if len(blocks[0]) != len(blocks[1]):
        return
    for pair in zip(*blocks, strict=True):
        yield group, *pair
        sentences = [[one for one in _SENTENCE_END.split(text) if one.strip()] for text in pair]
        if len(sentences[0]) == len(sentences[1]) > 1:
            yield from ((group, *two) for two in zip(*sentences, strict=True))


def questions(course: Course, entries: Sequence[Entry]) -> Iterator[CoursePair]:
    """What each text answers: the heading of its section, the cards that are proved by the section, terms.
    Question and text in every combination of the two languages.
    """
    sections: dict[str, dict[Lang, str]] = {}
    for entry in entries:
        if entry.kind == "lesson" and entry.anchor and entry.text.strip():
            group = f"{entry.lesson_id}#{entry.anchor}"
            sections.setdefault(group, {})[entry.lang] = entry.text
            if entry.section_title:
                yield CoursePair(entry.section_title, entry.text, entry.lang, "heading", group)
    for lesson in course.available():
        for card in cards_known(lesson):
            section = sections.get(f"{lesson.id}{card.proof}", {})
            for asked in LANGUAGES:
                question = plain(card.question.get(asked), asked, course)
                for said in LANGUAGES:
                    answer = plain(card.answer.get(said), said, course)
                    yield CoursePair(question, answer, asked, "card", card.id)
                    if said in section:
                        yield CoursePair(question, section[said], asked, "card", card.id)
    for term in course.glossary:
        for asked in LANGUAGES:
            for said in LANGUAGES:
                yield CoursePair(term.name.get(asked), term.definition.get(said), asked, "term", term.id)


def course_entries(course: Course) -> list[Entry]:
    return list(texts(course))

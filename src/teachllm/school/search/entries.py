"""What can be found: sections, code, cards, terms, and the titles of lessons that are only planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from markdown_it.token import Token

from teachllm.school.cards.deck import cards_known
from teachllm.school.cards.plain import block_text, plain
from teachllm.school.course import Course, Lesson
from teachllm.school.language import LANGUAGES, Both, Lang
from teachllm.school.lesson.document import Document, box_parts, fence_parts, read_document
from teachllm.school.lesson.references import restore_bars
from teachllm.school.lesson.source_code import SymbolError, source_of
from teachllm.school.problem import LessonError

Kind: TypeAlias = Literal["lesson", "card", "code", "glossary", "note"]

KIND_NAMES: dict[Kind, Both] = {
    "lesson": Both("课文", "lesson"),
    "card": Both("卡片", "card"),
    "code": Both("代码", "code"),
    "glossary": Both("术语", "term"),
    "note": Both("笔记", "note"),
}

PLANNED = 0.8
"""What can only be announced comes after what can be read."""
OPENING = 0.9
"""The beginning of a lesson mentions what a section then explains."""
ASIDE = 0.6
"""What names a thing without explaining it: the sections of `ASIDES`, which every lesson has."""
ASIDES = ("sources", "differs", "recall")


@dataclass(frozen=True)
class Entry:
    """``names`` are other ways to ask for it; ``terms`` are ids of the glossary that it links to.

    section: the anchor of the section that it belongs to, which may have unnamed parts.
    symbol: of code, ``module:name``.
    """

    kind: Kind
    lang: Lang
    title: str
    text: str
    section_title: str = ""
    lesson_id: str | None = None
    anchor: str | None = None
    names: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    weight: float = 1.0
    section: str | None = None
    symbol: str | None = None

    @property
    def place(self) -> tuple[str, ...]:
        """What it is about, whatever the language."""
        own = self.names[0] if self.kind in ("glossary", "note") and self.names else ""
        return self.kind, self.lesson_id or "", self.anchor or "", own


def titles(course: Course) -> Iterator[Entry]:
    """Quick to read: every lesson's title and summary, and the glossary."""
    for lesson in course.lessons.values():
        for lang in LANGUAGES:
            yield Entry(
                "lesson",
                lang,
                lesson.title.get(lang),
                lesson.summary.get(lang),
                lesson_id=lesson.id,
                weight=OPENING if lesson.available else PLANNED,
            )
    for term in course.glossary:
        for lang in LANGUAGES:
            yield Entry(
                "glossary",
                lang,
                term.name.get(lang),
                term.definition.get(lang),
                lesson_id=term.lesson,
                names=(term.id, *term.names()),
                terms=(term.id,),
            )


def texts(course: Course) -> Iterator[Entry]:
    """Sections, code and cards of the lessons that are there.

    One that cannot be read is left out: its page says why.
    """
    for lesson in course.available():
        shown_in: dict[str, str | None] = {}
        for lang in LANGUAGES:
            try:
                document = read_document(lesson.file(f"lesson.{lang}.md"), lang)
            except LessonError:
                continue
            entries = _Reader(course, lesson, document).entries()
            shown_in.update({entry.symbol: entry.section for entry in entries if entry.symbol})
            yield from entries
        for card in cards_known(lesson):
            for lang in LANGUAGES:
                answer = "\n".join(
                    plain(text.get(lang), lang, course) for text in (card.answer, card.followup_question)
                )
                title = plain(card.question.get(lang), lang, course)
                kind, _, target = card.proof.partition(":")
                yield Entry(
                    "card",
                    lang,
                    title,
                    answer,
                    lesson_id=lesson.id,
                    anchor=f"card-{card.id}",
                    names=(card.id.partition(":")[2],),
                    section=shown_in.get(target) if kind == "code" else kind.removeprefix("#"),
                )


class _Reader:
    """Walks a lesson's tokens once; references are read as the page shows them."""

    def __init__(self, course: Course, lesson: Lesson, document: Document) -> None:
        self.course = course
        self.lesson = lesson
        self.document = document
        self.lang: Lang = document.lang
        self.anchor: str | None = None
        self.section: str | None = None
        self.heading = ""
        self.words: list[str] = []
        self.terms: list[str] = []
        self.done: list[Entry] = []

    def entries(self) -> list[Entry]:
        tokens = self.document.tokens
        for index, token in enumerate(tokens):
            if token.type == "heading_open" and token.tag != "h1":
                self._close()
                self.anchor = str(token.attrGet("id") or "") or None
                # cache--2 is an unnamed part of cache; a part with an anchor of its own is a section.
                self.section = self.anchor and (self.anchor.rpartition("--")[0] or self.anchor)
                self.heading = self._text(tokens[index + 1])
            elif tokens[index - 1].type != "heading_open" and (text := self._text(token)):
                self.words.append(text)
            elif token.type == "container_box_open":
                kind, title = box_parts(token)
                if kind in ("pitfall", "details"):
                    self.words.append(restore_bars(title))
            elif token.type == "fence":
                self._code(token)
        self._close()
        return self.done

    def _close(self) -> None:
        text = "\n".join(word for word in self.words if word.strip())
        if text or self.anchor:
            title = self.document.title or self.lesson.title.get(self.lang)
            self.done.append(
                Entry(
                    "lesson",
                    self.lang,
                    title,
                    text,
                    section_title=self.heading,
                    lesson_id=self.lesson.id,
                    anchor=self.anchor,
                    terms=tuple(dict.fromkeys(self.terms)),
                    weight=ASIDE if self.anchor in ASIDES else 1.0 if self.anchor else OPENING,
                    section=self.section,
                )
            )
        self.words, self.terms = [], []

    def _code(self, token: Token) -> None:
        kind, symbol, _ = fence_parts(token)
        if kind != "code":
            return
        try:
            source = source_of(symbol, docstring="full")
        except (SymbolError, OSError, SyntaxError):
            return  # lint says so
        remarks = [line.partition("=>")[2].strip() for line in token.content.splitlines()]
        self.done.append(
            Entry(
                "code",
                self.lang,
                source.name,
                "\n".join([*filter(None, remarks), source.text]),
                section_title=self.heading,
                lesson_id=self.lesson.id,
                anchor=source.anchor,
                names=(symbol,),
                section=self.section,
                symbol=symbol,
            )
        )

    def _text(self, token: Token) -> str:
        for child in token.children or []:
            if child.type == "reference" and child.meta["reference"].kind == "term":
                self.terms.append(child.meta["reference"].target)
        return block_text(token, self.lang, self.course)

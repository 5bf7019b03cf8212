"""Which sections of the course speak about a question. Every section is judged by all that speaks for it.

Evidence for a section is what it shares with the question: the words of its text in either language, of its
cards and of its code; the lesson that it stands in; the nearest piece of its text and its cards by meaning. A
question has many words that matter little: a section need not have most of them, as for a typed query.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from teachllm.school.language import LANGUAGES, Lang
from teachllm.school.search.entries import PLANNED, Entry, Kind
from teachllm.school.search.index import Index
from teachllm.school.search.meaning import Meaning, Near
from teachllm.school.search.terms import Term, is_concept
from teachllm.school.search.words import Atom, atoms, stem

CONCEPT = 1.5
INSIDE = 0.35
"""What a word counts that is part of a concept which counts already."""
UNKNOWN = 3.0
"""What a word of the question tells that the course does not have."""
ASIDE = 0.3
"""What a card, code or note must have of what the question's words tell."""
BEST_SECTIONS = 3
"""A lesson is as near as the mean of so many of its sections."""


@dataclass(frozen=True)
class Weights:
    """What each kind of evidence is worth, of which all lie between 0 and 1.

    Tuned on `tests/school/questions/dev.jsonl` and on the cards' questions, whose sections are known. Meaning
    counts by how much of the question is in a language that the model reads.
    """

    own: float = 0.5
    other: float = 0.55
    cards: float = 0.05
    code: float = 0.15
    lesson: float = 0.35
    meaning: float = 0.3
    meaning_of_lesson: float = 0.35
    by_token: float = 0.6


WEIGHTS = Weights()
NAMED = 1.0
"""What it is worth to a section that the question names a function or class that it shows."""
_CODE_NAME = re.compile(r"[A-Za-z]\w*(?:_\w|[a-z][A-Z][a-z]|\.[a-z_]\w)[\w.]*")

_ENGLISH = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they
this to was will with what why how does do when which who where can i you we my your one has have had did its
than from so just am were been would should could
"""
_CHINESE = """
的 了 和 是 在 也 都 与 及 着 就 而 或 之 其 这 那 吗 呢 吧 啊 呀 哦 什么 怎么 为什么 为啥 怎样 如何
可以 是不是 一个 这个 那个
"""
STOP_WORDS = frozenset({*map(stem, _ENGLISH.split()), *_CHINESE.split()})


@dataclass(frozen=True)
class Asked:
    """What speaks for which section."""

    question: str
    by_words: Float64[np.ndarray, " entries"]
    """The share of what the question's words tell that each entry has, from 0 to 1."""
    by_meaning: Float64[np.ndarray, " entries"]
    """Cosines with the nearest piece of each entry; 0 without a model."""
    sections: Float64[np.ndarray, " sections"]
    nearest: dict[int, str]
    """The piece that is nearest in meaning, by the entry."""


@dataclass(frozen=True)
class Sections:
    """The sections that an index has entries of."""

    index: Index

    @cached_property
    def places(self) -> list[tuple[str, str]]:
        """(lesson, anchor) of each section."""
        return sorted({place for entry in self.index.entries if (place := _place(entry))})

    @cached_property
    def homes(self) -> Int64[np.ndarray, " entries"]:
        """The section of each entry, −1 for one without."""
        numbers = {place: number for number, place in enumerate(self.places)}
        return np.array([numbers.get(_place(entry) or ("", ""), -1) for entry in self.index.entries])

    @property
    def texts(self) -> NDArray[np.bool_]:
        """Which entries are texts of sections."""
        return self._masks["lesson"]

    @cached_property
    def planned(self) -> NDArray[np.bool_]:
        """Which entries only announce a lesson."""
        return np.array(
            [entry.kind == "lesson" and entry.weight == PLANNED for entry in self.index.entries], bool
        )

    @cached_property
    def _lessons(self) -> Int64[np.ndarray, " sections"]:
        return np.unique([lesson for lesson, _ in self.places], return_inverse=True)[1]

    @cached_property
    def _masks(self) -> dict[str, NDArray[np.bool_]]:
        entries, there = self.index.entries, self.homes >= 0
        of_kind = {
            kind: there & np.array([entry.kind == kind for entry in entries], dtype=bool)
            for kind in ("lesson", "card", "code")
        }
        in_lang = {
            lang: np.array([entry.lang == lang for entry in entries], dtype=bool) for lang in LANGUAGES
        }
        return {**of_kind, **{lang: of_kind["lesson"] & in_lang[lang] for lang in LANGUAGES}}

    def ask(
        self,
        question: str,
        lang: Lang,
        meaning: Meaning | None,
        weights: Weights = WEIGHTS,
        *,
        by_token: bool = True,
    ) -> Asked:
        """by_token: compare tokens too, which finds a little more and takes three times as long."""
        found = atoms(question)
        by_words = self._by_words(found)
        none = np.zeros(len(self.index.entries))
        near, share = Near(none, none, {}), 0.0
        if meaning is not None:
            share = 1.0 if len(meaning.languages) > 1 else min(1.0, 1.5 * _english_share(found))
        if meaning is not None and share > 0:
            near = meaning.near(question, len(none), by_token=by_token)
        masks = self._masks
        own, other = (self._best(by_words, masks[one]) for one in (lang, "en" if lang == "zh" else "zh"))
        cosines = share * self._best(near.cosines, masks["lesson"])
        scores = (
            weights.own * own
            + weights.other * other
            + weights.cards * self._best(by_words, masks["card"])
            + weights.code * self._best(by_words, masks["code"])
            + weights.lesson * self._of_lessons(np.maximum(own, other))
            + weights.meaning * cosines
            + weights.meaning_of_lesson * self._of_lessons(cosines)
            + weights.by_token * share * self._best(near.by_token, masks["lesson"])
            + NAMED * self._show(_CODE_NAME.findall(question))
        )
        return Asked(question, by_words, share * near.cosines, scores, near.pieces)

    def best_aside(
        self, sections: Sequence[int], kind: Kind, asked: Asked, lang: Lang, hidden: Collection[str] = ()
    ) -> int | None:
        """The card or code of some sections that has most of the question, if that is at least `ASIDE`; code
        that the question names before other code.
        """
        numbers = [
            number
            for number in np.flatnonzero(np.isin(self.homes, sections) & (asked.by_words >= ASIDE)).tolist()
            if (entry := self.index.entries[number]).kind == kind
            and entry.lang == lang
            and entry.symbol not in hidden
        ]
        names = _CODE_NAME.findall(asked.question)
        entries = self.index.entries
        return max(numbers, key=lambda n: (entries[n].title in names, asked.by_words[n]), default=None)

    def best_entry(self, section: int, asked: Asked, lang: Lang) -> int | None:
        """The part of a section's text that says most, in ``lang`` if there is one: the number of its entry.

        What one language says speaks for the same part in the other.
        """
        parts: dict[str | None, float] = {}
        numbers: dict[str | None, int] = {}
        for number in np.flatnonzero(self._masks["lesson"] & (self.homes == section)).tolist():
            entry = self.index.entries[number]
            score = float(asked.by_words[number] + asked.by_meaning[number])
            parts[entry.anchor] = max(parts.get(entry.anchor, 0.0), score)
            if entry.lang == lang or entry.anchor not in numbers:
                numbers[entry.anchor] = number
        return numbers[max(parts, key=lambda anchor: parts[anchor])] if parts else None

    def terms_of(self, text: str) -> dict[str, float]:
        """The terms of a text that matter, each with what it tells: weight · idf."""
        return {term: worth for term, worth, _ in self._told(atoms(text))}

    def rarity(self, word: str) -> float | None:
        """idf of a word; None for one that the course does not have. Of a long Chinese word the dictionary
        may know more than the course: that has it if it has all its pairs.
        """
        holders = [len(self.index.fielded.weights_of(word)[0])]
        if not word.isascii() and not holders[0] and len(word) > 2:
            holders = [len(self.index.fielded.weights_of(a + b)[0]) for a, b in pairwise(word)]
        n, df = len(self.index.entries), min(holders)
        return math.log(1 + (n - df + 0.5) / (df + 0.5)) if df else None

    def _told(self, found: list[Atom]) -> Iterator[tuple[str, float, float]]:
        """(term, what it tells, its weight) for all that matter."""
        terms = [term for term in self.index.asked_terms(found) if term.text not in STOP_WORDS]
        concepts = [term for term in terms if is_concept(term) and term.last > term.first]
        for term in terms:
            inside = any(one is not term and _is_inside(term, one) for one in concepts)
            weight = CONCEPT if is_concept(term) else INSIDE if inside else 1.0
            rarity = self.rarity(term.text)
            yield term.text, weight * (UNKNOWN if rarity is None else rarity), weight

    def _by_words(self, found: list[Atom]) -> Float64[np.ndarray, " entries"]:
        """For each entry Σ weight · BM25F over the terms that it has, divided by all that they tell."""
        scores, total = np.zeros(len(self.index.entries)), 0.0
        for term, worth, weight in self._told(found):
            documents, weights = self.index.fielded.weights_of(term)
            scores[documents] += weight * weights
            total += worth
        return scores / max(total, 1e-9)

    def _show(self, names: Sequence[str]) -> Float64[np.ndarray, " sections"]:
        """1 for the sections that show code with one of these names."""
        shown = np.zeros(len(self.places))
        if names:
            numbers = np.flatnonzero(self._masks["code"]).tolist()
            shown[[self.homes[number] for number in numbers if self.index.entries[number].title in names]] = (
                1.0
            )
        return shown

    def _best(self, values: np.ndarray, mask: np.ndarray) -> Float64[np.ndarray, " sections"]:
        best = np.zeros(len(self.places))
        np.maximum.at(best, self.homes[mask], values[mask])
        return best

    def _of_lessons(self, values: np.ndarray) -> Float64[np.ndarray, " sections"]:
        """The mean of the best sections of the lesson that each section is in."""
        means = [
            np.sort(values[self._lessons == lesson])[-BEST_SECTIONS:].mean()
            for lesson in range(self._lessons.max(initial=-1) + 1)
        ]
        return np.array(means)[self._lessons]


def _place(entry: Entry) -> tuple[str, str] | None:
    if entry.kind not in ("lesson", "card", "code") or entry.lesson_id is None or entry.section is None:
        return None
    return entry.lesson_id, entry.section


def _english_share(found: list[Atom]) -> float:
    """How much of a text is English: about 1.6 characters are a Chinese word."""
    han = sum(atom.is_han for atom in found)
    english = len(found) - han
    return english / max(1.0, english + han / 1.6)


def _is_inside(term: Term, whole: Term) -> bool:
    return whole.first <= term.first and term.last <= whole.last

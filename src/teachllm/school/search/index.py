"""What a typed query matches, and in which order: BM25F over the entries' terms, on the stack's index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from teachllm.school.search.entries import Entry
from teachllm.school.search.terms import Term, Vocabulary, concept, is_concept
from teachllm.school.search.words import Atom, atoms

if TYPE_CHECKING:
    from teachllm.stack.retrieval.lexical.fields import FieldedIndex

MOST_CHARACTERS = 200
MOST_ATOMS = 40
"""Of a query; what is beyond is not looked at."""

# Field: weight, and how much its length counts against it.
_FIELDS = {"title": (4.0, 0.3), "names": (2.5, 0.0), "text": (1.0, 0.6)}
_SATURATION = 1.2
# Of two things that match as well, the place that explains it comes first.
_KINDS = {"lesson": 1.0, "code": 0.75, "glossary": 0.7, "card": 0.65, "note": 0.9}
_CONCEPT = 1.5
_SAME_EVIDENCE = 0.35
"""Of the words that a concept is made of, in addition to the concept."""
_BEGINNING = 0.6
_MOST_BEGINNINGS = 40
_LEAST_COVERED = 0.5


@dataclass(frozen=True)
class Query:
    """``alternatives``: for each term of the query, what stands for it in the index, with a weight."""

    text: str
    atoms: list[Atom]
    terms: list[Term]
    alternatives: list[dict[str, float]]


@dataclass(frozen=True)
class Match:
    """``nearest``: the piece of its text for which it was found, if it was found by meaning."""

    entry: Entry
    score: float
    nearest: str = ""


@dataclass(frozen=True)
class Index:
    vocabulary: Vocabulary
    entries: list[Entry]
    fielded: FieldedIndex

    @classmethod
    def build(cls, entries: Iterable[Entry], vocabulary: Vocabulary) -> Index:
        from teachllm.stack.retrieval.lexical.fields import Field, FieldedIndex  # numba: 0.5 s to import

        listed = list(entries)
        fields = [_fields_of(entry, vocabulary) for entry in listed]
        described = {name: Field(weight, b) for name, (weight, b) in _FIELDS.items()}
        return cls(vocabulary, listed, FieldedIndex(fields, described, _SATURATION))

    def query(self, text: str) -> Query:
        """The last word may be unfinished: it stands for all words that begin so."""
        text = text[:MOST_CHARACTERS]
        found = atoms(text)[:MOST_ATOMS]
        terms = self.asked_terms(found)
        unfinished = bool(found) and found[-1].end == len(text.rstrip()) and text[-1:] == text.rstrip()[-1:]
        concepts = [term for term in terms if is_concept(term) and term.last > term.first]
        alternatives = []
        for term in terms:
            inside = any(one is not term and _is_inside(term, one) for one in concepts)
            ways = {term.text: _CONCEPT if is_concept(term) else _SAME_EVIDENCE if inside else 1.0}
            if unfinished and term.last == len(found) - 1 and not is_concept(term):
                typed = term.text
                if not found[term.last].is_han and term.first == term.last:
                    typed = text[found[term.last].start :].rstrip().casefold()
                ways = {**self._beginning_with(typed), **ways}
            alternatives.append(ways)
        if unfinished and len(found) > 1 and (names := self.vocabulary.beginning_with(found)):
            terms.append(Term("", 0, len(found) - 1))
            alternatives.append(dict.fromkeys(names, _CONCEPT * _BEGINNING))
        return Query(text, found, terms, alternatives)

    def asked_terms(self, found: Sequence[Atom]) -> list[Term]:
        """The terms that are looked for; of a run of Chinese characters no single ones."""
        return [term for term in self.vocabulary.terms(found) if not _is_lone_han(term, found)]

    def find(self, query: Query) -> list[Match]:
        """Best first."""
        scores = np.zeros(len(self.entries))
        covered = np.zeros((len(query.atoms), len(self.entries)), dtype=bool)
        for term, ways in zip(query.terms, query.alternatives, strict=True):
            found = self.fielded.best_of(ways)
            scores += found
            covered[term.first : term.last + 1] |= found > 0
        shares = covered.mean(axis=0) if len(covered) else scores
        matches = []
        for number in np.flatnonzero((scores > 0) & (shares >= _LEAST_COVERED)):
            entry, share = self.entries[number], float(shares[number])
            matches.append(Match(entry, float(scores[number]) * share**2 * _KINDS[entry.kind] * entry.weight))
        return sorted(matches, key=lambda match: -match.score)

    def _beginning_with(self, typed: str) -> dict[str, float]:
        if len(typed) < 2 and typed.isascii():
            return {}  # half of all words
        return dict.fromkeys(self.fielded.beginning_with(typed, _MOST_BEGINNINGS), _BEGINNING)


def _fields_of(entry: Entry, vocabulary: Vocabulary) -> dict[str, list[str]]:
    title = f"{entry.title}\n{entry.section_title}" if entry.kind != "code" else entry.title
    return {
        "title": _texts(vocabulary, entry.section_title or title),
        "names": [
            *(text for name in entry.names for text in _texts(vocabulary, name)),
            *map(concept, entry.terms),
            *(_texts(vocabulary, entry.title) if entry.section_title else ()),
        ],
        "text": _texts(vocabulary, entry.text),
    }


def _texts(vocabulary: Vocabulary, text: str) -> list[str]:
    return [term.text for term in vocabulary.terms(atoms(text))]


def _is_lone_han(term: Term, found: Sequence[Atom]) -> bool:
    """A character inside a run says little; its pairs are looked for."""
    if term.first != term.last or not found[term.first].is_han or is_concept(term):
        return False
    at = term.first
    before = at > 0 and found[at - 1].is_han and found[at - 1].end == found[at].start
    after = at + 1 < len(found) and found[at + 1].is_han and found[at + 1].start == found[at].end
    return before or after


def _is_inside(term: Term, whole: Term) -> bool:
    return whole.first <= term.first and term.last <= whole.last

"""From atoms to the terms that the index counts: words, pairs of characters, and concepts of the glossary.

A concept is one term whatever it is called: “KV 缓存”, “kv-cache”, “KVCache” and “键值缓存” all are
``§kv_cache``. That is what lets a question in one language find a text in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

from teachllm.school.glossary import Glossary
from teachllm.school.search.segment import words_at
from teachllm.school.search.words import Atom, atoms

_REMEMBERED = 300
"""Texts, of about 50 kB each."""


@dataclass(frozen=True, slots=True)
class Term:
    """``first`` and ``last`` are the atoms that it is made of, both included."""

    text: str
    first: int
    last: int


def concept(term_id: str) -> str:
    return f"§{term_id}"


def is_concept(term: Term) -> bool:
    return term.text.startswith("§")


@dataclass(frozen=True)
class Vocabulary:
    """What is needed to see terms in a text; ``words`` are Chinese words."""

    names: dict[tuple[str, ...], str] = field(default_factory=dict)
    words: frozenset[str] = frozenset()

    @classmethod
    def of(cls, glossary: Glossary, words: frozenset[str] = frozenset()) -> Vocabulary:
        names = {}
        for term in glossary:
            for name in term.names():
                for written in (name, name.casefold()):  # without humps RoPE is one word
                    names.setdefault(tuple(atom.text for atom in atoms(written)), concept(term.id))
        names.pop((), None)
        return cls(names, words)

    @cached_property
    def _longest(self) -> dict[str, int]:
        """How many atoms the longest name has that begins with this one."""
        longest: dict[str, int] = {}
        for name in self.names:
            longest[name[0]] = max(longest.get(name[0], 0), len(name))
        return longest

    def terms(self, found: Sequence[Atom]) -> list[Term]:
        return [*_words(found), *self._concepts(found), *self._chinese_words(found)]

    @cached_property
    def places(self) -> Callable[[str], list[tuple[int, int, str]]]:
        """(start, end, term) of all terms in a text, in order.

        Remembered for the last texts: while one types, the same places are shown again and again.
        """

        def places(text: str) -> list[tuple[int, int, str]]:
            found = atoms(text)
            return sorted(
                (found[one.first].start, found[one.last].end, one.text) for one in self.terms(found)
            )

        return lru_cache(maxsize=_REMEMBERED)(places)

    def beginning_with(self, found: Sequence[Atom]) -> set[str]:
        """The concepts that have a longer name which begins so; of the last atom too there may be more."""
        *before, last = (atom.text for atom in found)
        length = len(before)
        return {
            term
            for name, term in self.names.items()
            if len(name) > length and list(name[:length]) == before and name[length].startswith(last)
        }

    def _concepts(self, found: Sequence[Atom]) -> Iterable[Term]:
        """The longest name at each place."""
        at = 0
        texts = [atom.text for atom in found]
        while at < len(texts):
            for length in range(min(self._longest.get(texts[at], 0), len(texts) - at), 0, -1):
                name = self.names.get(tuple(texts[at : at + length]))
                if name is not None and _is_together(found[at : at + length]):
                    yield Term(name, at, at + length - 1)
                    at += length - 1
                    break
            at += 1

    def _chinese_words(self, found: Sequence[Atom]) -> Iterable[Term]:
        if not self.words:
            return
        for first, run in runs(found):
            for start, end in words_at(run, self.words):
                yield Term(run[start:end], first + start, first + end - 1)


def _words(found: Sequence[Atom]) -> Iterable[Term]:
    for index, atom in enumerate(found):
        yield Term(atom.text, index, index)
        if atom.whole is not None:
            yield Term(atom.whole, index, index + atom.parts - 1)
        if index and atom.is_han and found[index - 1].is_han and found[index - 1].end == atom.start:
            yield Term(found[index - 1].text + atom.text, index - 1, index)


def runs(found: Sequence[Atom]) -> Iterable[tuple[int, str]]:
    """Unbroken runs of Chinese characters, each with the index of its first atom."""
    start = 0
    while start < len(found):
        if not found[start].is_han:
            start += 1
            continue
        end = start + 1
        while end < len(found) and found[end].is_han and found[end].start == found[end - 1].end:
            end += 1
        yield start, "".join(atom.text for atom in found[start:end])
        start = end


def _is_together(part: Sequence[Atom]) -> bool:
    """At most a space, a hyphen or the like between its atoms; not a paragraph."""
    return all(after.start - before.end <= 1 for before, after in pairwise(part))

"""From a text to the terms that an index counts: English words by their stems, Chinese words and pairs.

A query and the documents must go through the same analyzer: what one makes of a word, the other looks up.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Literal, Protocol

import regex
import Stemmer

from teachllm.stack.retrieval.lexical.chinese import jieba_dictionary, segment_for_search
from teachllm.stack.retrieval.lexical.stop_words import CHINESE_STOP_WORDS, ENGLISH_STOP_WORDS

HanTerms = Literal["words", "pairs", "words and pairs"]

HAN = r"\p{Han}"
WORD = r"(?:(?!\p{Han})[\p{L}\p{N}])(?:(?!\p{Han})[\p{L}\p{M}\p{N}])*"
_TERM = regex.compile(rf"{HAN}+|{WORD}(?:['’]{WORD})*")
_ASCII_TERM = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")  # what `_TERM` finds in a text of ASCII, faster
_HAN = regex.compile(HAN)
_LATIN_MARKS = regex.compile(r"(?<=\p{Latin})\p{M}+")
MOST_REMEMBERED = 1 << 20
"""Words whose stems an analyzer keeps."""


class Analyzer(Protocol):
    """Makes terms of a text. Indexes ask for nothing else."""

    def __call__(self, text: str, /) -> list[str]:
        """The terms of a text in their order, each as often as it occurs."""
        ...

    @property
    def settings(self) -> Mapping[str, object]:
        """All that decides which terms a text gets, as JSON; kept with a saved index, and compared."""
        ...


class TextAnalyzer:
    """Terms of texts in English, Chinese, or both at once.

    Letters become small ones, full-width forms ordinary ones, and Latin letters lose their accents. Words of
    letters and digits lose their ending by Snowball's rules of `language` (None: they keep it); runs of
    Chinese characters become words, pairs of neighbouring characters, or both.

    With both, a word of two characters is the pair that it is and counts once. Pairs find what the dictionary
    does not know, words what two characters are too few for; together they take
    about twice the room of words alone.

    ValueError for a language that Snowball does not have.
    """

    def __init__(
        self,
        language: str | None = "english",
        stop_words: Collection[str] = ENGLISH_STOP_WORDS | CHINESE_STOP_WORDS,
        han: HanTerms = "words and pairs",
    ) -> None:
        if language is not None and language not in Stemmer.algorithms():
            raise ValueError(
                f"no stemmer for {language!r}; give one of {', '.join(Stemmer.algorithms())}, or None"
            )
        self.language, self.han = language, han
        self.stop_words = frozenset(stop_words)
        self._stems = _Stems(Stemmer.Stemmer(language).stemWord if language else str, self.stop_words)

    @property
    def settings(self) -> dict[str, object]:
        return {"language": self.language, "stop_words": sorted(self.stop_words), "han": self.han}

    def __call__(self, text: str) -> list[str]:
        stem = self._stems.__getitem__
        if text.isascii():
            return list(filter(None, map(stem, _ASCII_TERM.findall(text.lower()))))
        terms = []
        for found in _TERM.findall(folded(text)):
            if _HAN.match(found):
                terms += self._han_terms(found)
            elif term := stem(found.replace("’", "'")):
                terms.append(term)
        return terms

    def _han_terms(self, run: str) -> list[str]:
        terms = []
        if self.han != "words":
            terms += [run[i : i + 2] for i in range(len(run) - 1)]
        if self.han != "pairs":
            words = segment_for_search(run, jieba_dictionary())
            terms += words if self.han == "words" else [word for word in words if len(word) != 2]
        elif len(run) == 1:
            terms.append(run)
        return [term for term in terms if term not in self.stop_words]


def folded(text: str) -> str:
    """Small letters, ordinary widths, no accents on Latin letters: Ｎaïve is naive.

    Other scripts keep their marks, which make other letters there.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return unicodedata.normalize("NFC", _LATIN_MARKS.sub("", decomposed))


class _Stems(dict[str, str]):
    """The stem of each word that was met, "" of a stop word. A text has few words, many times each."""

    def __init__(self, stem: Callable[[str], str], stop_words: frozenset[str]) -> None:
        super().__init__()
        self._stem, self._stop_words = stem, stop_words

    def __missing__(self, word: str) -> str:
        stem = "" if word in self._stop_words else self._stem(word)
        if len(self) < MOST_REMEMBERED:
            self[word] = stem
        return stem

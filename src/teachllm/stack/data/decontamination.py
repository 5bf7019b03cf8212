"""Test questions out of the training text: a model that has read them is not tested by them.

Documents that share a long run of words with a test text are dropped (Brown et al. 2020, arXiv:2005.14165,
appendix C, with runs of 13 words).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from teachllm.stack.data.documents import Document
from teachllm.stack.data.pipeline import StepReport
from teachllm.stack.data.words import LETTERS, find_words, split_words
from teachllm.stack.tokenizer.fast.compiled import compiled


@dataclass(frozen=True)
class Decontaminate:
    """The step that drops the documents with `n` words in a row of one of `tests`.

    Words are compared in small letters and without punctuation; in Chinese each character is one. A test text
    of fewer than `n` words, but at least `shortest`, is looked for as a whole: one that is shorter stands in
    innocent text, too, and is not looked for.

    It holds eight bytes a word of the tests. n-grams are found by their hashes; what is found is compared.
    """

    tests: Iterable[str]
    n: int = 13
    shortest: int = 8
    name: str = "decontaminate"
    _grams: dict[int, np.ndarray] = field(init=False, repr=False)
    _texts: set[tuple[str, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.n:
            raise ValueError(f"shortest is {self.shortest}; it must be from 1 to n, which is {self.n}")
        by_length: dict[int, list[np.ndarray]] = {}
        texts: set[tuple[str, ...]] = set()
        for test in self.tests:
            hashes = find_words(test.lower(), LETTERS).hashes
            n = min(self.n, len(hashes))
            if n >= self.shortest:
                by_length.setdefault(n, []).append(ngram_hashes(hashes, n))
                texts.update(word_ngrams(test, n))
        grams = {n: np.unique(np.concatenate(parts)) for n, parts in by_length.items()}
        object.__setattr__(self, "_grams", grams)
        object.__setattr__(self, "_texts", texts)

    def __call__(self, documents: Iterable[Document], report: StepReport) -> Iterator[Document]:
        for document in documents:
            found = self.overlap(document.text)
            if found is None:
                yield report.keep(document)
            else:
                report.drop(document, "in the test set", found)

    def overlap(self, text: str) -> str | None:
        """The first words that the text shares with a test; None if it shares none."""
        words: list[str] = []
        hashes = find_words(text.lower(), LETTERS).hashes
        for n, known in self._grams.items():
            for place in positions_in(ngram_hashes(hashes, n), known):
                words = words or split_words(text.lower(), LETTERS)
                ngram = tuple(words[place : place + n])
                if ngram in self._texts:  # and not only of the same hash
                    return " ".join(ngram)
        return None


def word_ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    """Every n words in a row, in small letters and without punctuation."""
    words = split_words(text.lower(), LETTERS)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def ngram_hashes(hashes: np.ndarray, n: int) -> np.ndarray:
    """The hash of every `n` words in a row, from the hashes of the words: uint64[max(0, words − n + 1)]."""
    grams = np.empty(max(0, len(hashes) - n + 1), np.uint64)
    _hash_ngrams(hashes, n, grams)
    return grams


def positions_in(grams: np.ndarray, known: np.ndarray) -> Iterator[int]:
    """Where `grams` has an element of `known`, which is sorted."""
    places = np.searchsorted(known, grams)
    return iter(np.flatnonzero(known[np.minimum(places, len(known) - 1)] == grams).tolist())


@compiled
def _hash_ngrams(hashes, n, grams):
    """grams[i] = Σ hashes[i + j] · B^(n−1−j), each from the one before."""
    base, power, value = np.uint64(0xD6E8FEB86659FD93), np.uint64(1), np.uint64(0)
    for _ in range(n):
        power *= base
    for i in range(len(hashes)):
        value = value * base + hashes[i]
        if i >= n:
            value -= hashes[i - n] * power
        if i >= n - 1:
            grams[i - n + 1] = value

"""How much of a text repeats itself: lines, paragraphs and n-grams of words.

The rules and limits are those of Gopher's MassiveText (Rae et al. 2021, arXiv:2112.11446, table A1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from teachllm.stack.data.pipeline import Verdict
from teachllm.stack.data.words import HAN_PER_WORD, Words, find_words
from teachllm.stack.tokenizer.fast.compiled import compiled, inlined


@dataclass(frozen=True, slots=True)
class RepetitionLimits:
    """The largest share that may repeat; of lines and paragraphs by number and by characters, of n-grams by
    characters.
    """

    lines: float = 0.30
    paragraphs: float = 0.30
    line_characters: float = 0.20
    paragraph_characters: float = 0.20
    most_common: tuple[tuple[int, float], ...] = ((2, 0.20), (3, 0.18), (4, 0.16))
    """(n, share): characters in the most common n-gram of n words."""
    repeated: tuple[tuple[int, float], ...] = (
        (5, 0.15),
        (6, 0.14),
        (7, 0.13),
        (8, 0.12),
        (9, 0.11),
        (10, 0.10),
    )
    """(n, share): characters in n-grams that stood in the text before."""


GOPHER = RepetitionLimits()


def repetition_problem(text: str, limits: RepetitionLimits = GOPHER) -> Verdict | None:
    """The first limit that the text goes beyond.

    In Chinese text, where `words.find_words` gives characters, an n-gram has n · `HAN_PER_WORD` of them: five
    Chinese characters in a row are three words, and come back in any text that keeps to its subject.
    """
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    by_number, by_characters = repeated_shares(lines)
    if by_number > limits.lines:
        return Verdict("repeated lines", f"{by_number:.0%} of the lines")
    if by_characters > limits.line_characters:
        return Verdict("repeated lines", f"{by_characters:.0%} of the characters")
    by_number, by_characters = repeated_shares([part for part in text.split("\n\n") if part.strip()])
    if by_number > limits.paragraphs:
        return Verdict("repeated paragraphs", f"{by_number:.0%} of the paragraphs")
    if by_characters > limits.paragraph_characters:
        return Verdict("repeated paragraphs", f"{by_characters:.0%} of the characters")
    words = find_words(text)
    per_word = HAN_PER_WORD if words.is_chinese() else 1
    counter = NgramCounter(words)
    for n, limit in limits.most_common:
        if (share := counter.most_common_share(round(n * per_word))) > limit:
            return Verdict("one phrase too often", f"{share:.0%} of the characters are one {n}-gram")
    for n, limit in limits.repeated:
        if (share := counter.repeated_share(round(n * per_word))) > limit:
            return Verdict("repeated phrases", f"{share:.0%} of the characters are in repeated {n}-grams")
    return None


def repeated_shares(parts: Sequence[str]) -> tuple[float, float]:
    """The share of parts that stood before, by number and by characters."""
    if not parts:
        return 0.0, 0.0
    distinct = set(parts)
    if len(distinct) == len(parts):
        return 0.0, 0.0
    characters = sum(map(len, parts))
    return 1 - len(distinct) / len(parts), 1 - sum(map(len, distinct)) / characters


def most_common_share(words: Sequence[str], n: int) -> float:
    """Characters in all occurrences of the most common n-gram / characters in words; 0 if none comes twice.

    Of equally common ones, the one whose last occurrence comes first.
    """
    count: Counter[tuple[str, ...]] = Counter()
    top, characters = 1, 0
    for i in range(len(words) - n + 1):
        ngram = tuple(words[i : i + n])
        count[ngram] += 1
        if count[ngram] > top:
            top, characters = count[ngram], sum(map(len, ngram))
    return min(1.0, top * characters / max(1, sum(map(len, words))))


def repeated_ngram_share(words: Sequence[str], n: int) -> float:
    """Characters of words in n-grams that stood before / characters in words. A word counts once, however
    many such n-grams it is in.
    """
    seen: set[tuple[str, ...]] = set()
    is_repeated = [False] * len(words)
    for i in range(len(words) - n + 1):
        ngram = tuple(words[i : i + n])
        if ngram in seen:
            is_repeated[i : i + n] = [True] * n
        seen.add(ngram)
    repeated = sum(len(word) for word, yes in zip(words, is_repeated, strict=True) if yes)
    return repeated / max(1, sum(map(len, words)))


class NgramCounter:
    """`most_common_share` and `repeated_ngram_share` of one text, compiled; n-grams are compared by 64-bit
    hashes, in one hash table that is at most half full.
    """

    def __init__(self, words: Words) -> None:
        self._hashes, self._lengths = words.hashes, words.lengths
        self._characters = max(1, int(self._lengths.sum()))
        size = 1 << (2 * len(words)).bit_length()
        self._keys, self._counts = np.empty(size, np.uint64), np.empty(size, np.uint32)

    def most_common_share(self, n: int) -> float:
        top, characters = _most_common(self._hashes, self._lengths, n, self._keys, self._counts)
        return min(1.0, top * characters / self._characters)

    def repeated_share(self, n: int) -> float:
        return _repeated(self._hashes, self._lengths, n, self._keys, self._counts) / self._characters


@compiled
def _most_common(hashes, lengths, n, keys, counts):
    """(occurrences, characters) of the most common n-gram."""
    counts[:] = 0
    value, power = np.uint64(0), _power(n)
    top, characters = 1, 0
    for i in range(len(hashes)):
        value = _rolled(value, hashes, i, n, power)
        if i < n - 1:
            continue
        slot = _slot(value, keys, counts)
        keys[slot] = value
        counts[slot] += np.uint32(1)
        if counts[slot] > top:
            top, characters = counts[slot], 0
            for j in range(i - n + 1, i + 1):
                characters += lengths[j]
    return top, characters


@compiled
def _repeated(hashes, lengths, n, keys, counts):
    """Characters of the words that are in a repeated n-gram."""
    counts[:] = 0
    value, power = np.uint64(0), _power(n)
    characters, counted = 0, 0  # the words before `counted` are counted
    for i in range(len(hashes)):
        value = _rolled(value, hashes, i, n, power)
        if i < n - 1:
            continue
        slot = _slot(value, keys, counts)
        if counts[slot]:
            for j in range(max(counted, i - n + 1), i + 1):
                characters += lengths[j]
            counted = i + 1
        keys[slot] = value
        counts[slot] = 1
    return characters


@inlined
def _rolled(value, hashes, i, n, power):
    """Σ hashes[j] · B^(i−j) over the n words that end at i, from the same of the n words before."""
    value = value * np.uint64(0xD6E8FEB86659FD93) + hashes[i]
    if i >= n:
        value -= hashes[i - n] * power
    return value


@inlined
def _power(n):
    """B^n"""
    power = np.uint64(1)
    for _ in range(n):
        power *= np.uint64(0xD6E8FEB86659FD93)
    return power


@inlined
def _slot(value, keys, counts):
    """Where `value` stands in the table, or the free place where it belongs."""
    mask = np.uint64(len(keys) - 1)
    slot = (value ^ (value >> np.uint64(31))) & mask
    while counts[slot] and keys[slot] != value:
        slot = (slot + np.uint64(1)) & mask
    return slot

"""Gopher's rules for text that someone wrote to be read (Rae et al. 2021, arXiv:2112.11446, table A1), for
English and Chinese.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from teachllm.stack.data.pipeline import Verdict
from teachllm.stack.data.words import IDEOGRAPH, NO_LETTER, find_words, word_hash

ENGLISH = ("the", "be", "to", "of", "and", "that", "have", "with")
CHINESE = ("的", "是", "了", "在", "不", "和", "有", "这")
"""Our own list, in the place of the English one: the commonest characters that are words and name nothing."""

BULLETS = ("•", "‣", "◦", "●", "▪", "- ", "* ", "– ")


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """The paper's limits. Words are those of `words.find_words`."""

    fewest_words: int = 50
    most_words: int = 100_000
    shortest_mean: float = 3.0
    """Characters a word, on average."""
    longest_mean: float = 10.0
    most_symbols_per_word: float = 0.1
    """Number signs and ellipses, each for itself."""
    most_bullet_lines: float = 0.9
    most_ellipsis_lines: float = 0.3
    fewest_with_letter: float = 0.8
    """The share of words with a letter in it."""
    fewest_stop_words: int = 2
    """How many different ones of the list must be in the text."""


GOPHER = QualityLimits()


def quality_problem(text: str, limits: QualityLimits = GOPHER) -> Verdict | None:
    """The first rule that the text breaks.

    Where Chinese differs: `words.HAN_PER_WORD` characters count as one of the 50 to 100,000 words; the mean
    length of words is not looked at; each character is a word with a letter; the stop words are `CHINESE`. A
    text in another language than these two fails the stop words: choose the language first.
    """
    words = find_words(text)
    n_words = words.in_words()
    if n_words < max(1, limits.fewest_words):
        return Verdict("too few words", f"{n_words:,.0f} words")
    if n_words > limits.most_words:
        return Verdict("too many words", f"{n_words:,.0f} words")
    is_chinese = words.is_chinese()
    if not is_chinese:
        mean = float(words.lengths[words.kinds != IDEOGRAPH].mean())
        if not limits.shortest_mean <= mean <= limits.longest_mean:
            return Verdict("odd word lengths", f"{mean:.1f} characters a word")
    for symbol, count in (("#", text.count("#")), ("…", count_ellipses(text))):
        if count / n_words > limits.most_symbols_per_word:
            return Verdict("symbols instead of words", f"{count:,} {symbol} in {n_words:,.0f} words")
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    bullets = sum(line.startswith(BULLETS) for line in lines) / len(lines)
    if bullets > limits.most_bullet_lines:
        return Verdict("a list", f"{bullets:.0%} of the lines begin with a bullet")
    ellipses = sum(line.endswith(("...", "…")) for line in lines) / len(lines)
    if ellipses > limits.most_ellipsis_lines:
        return Verdict("teasers", f"{ellipses:.0%} of the lines end with an ellipsis")
    with_letter = 1 - np.count_nonzero(words.kinds == NO_LETTER) / len(words)
    if with_letter < limits.fewest_with_letter:
        return Verdict("too few letters", f"{with_letter:.0%} of the words have a letter")
    stop_words = len(_hashes(is_chinese).intersection(words.hashes.tolist()))
    if stop_words < limits.fewest_stop_words:
        return Verdict("no sentences", f"{stop_words} of the words that every text has")
    return None


def count_ellipses(text: str) -> int:
    """Ellipses of either make; the Chinese one has two characters."""
    return text.count("...") + text.count("…") - text.count("……")


@cache
def _hashes(is_chinese: bool) -> frozenset[int]:
    return frozenset(word_hash(word) for word in (CHINESE if is_chinese else ENGLISH))

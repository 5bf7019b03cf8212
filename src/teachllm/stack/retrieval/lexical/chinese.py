"""Chinese words: the most probable way to cut a run of characters, by the word counts of jieba's dictionary.

The same cuts as jieba's without its model for unknown words, from its dictionary; its code is not run.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Dictionary:
    """How probable words are."""

    logprobs: Mapping[str, float]
    """ln(count / all counts) of each word; −∞ of what only begins one, so that a search knows when to stop.
    """
    unknown: float
    """What a character counts that begins no word: as a word that was seen once."""

    def is_word(self, text: str) -> bool:
        return self.logprobs.get(text, -math.inf) > -math.inf


@cache
def jieba_dictionary() -> Dictionary:
    """The 349,046 words that the package `jieba` ships; read once, in about a second."""
    counts: dict[str, int] = {}
    total = 0
    with _dictionary_file().open(encoding="utf-8") as lines:
        for line in lines:
            word, count, _ = line.split(" ", 2)
            counts[word] = int(count)
            total += int(count)
    logprobs = {word: math.log(count / total) for word, count in counts.items()}
    for word in counts:
        for end in range(1, len(word)):
            logprobs.setdefault(word[:end], -math.inf)
    return Dictionary(logprobs, math.log(1 / total))


def segment(run: str, dictionary: Dictionary) -> list[str]:
    """The words of a run of Chinese characters: of all ways to cut it, the one with the largest sum of
    log-probabilities, words being taken as independent.

    From the end to the beginning: best(i) = max over words run[i:j] of logprob(run[i:j]) + best(j). Of
    equally good ones the longest next word.
    """
    logprobs, n = dictionary.logprobs, len(run)
    best = [-math.inf] * n + [0.0]
    next_cut = [0] * n
    for start in range(n - 1, -1, -1):
        for end in range(start + 1, n + 1):
            logprob = logprobs.get(run[start:end])
            if logprob is None:
                break
            if logprob > -math.inf and logprob + best[end] >= best[start]:
                best[start], next_cut[start] = logprob + best[end], end
        if next_cut[start] == 0:  # no word begins here
            best[start], next_cut[start] = dictionary.unknown + best[start + 1], start + 1
    words, start = [], 0
    while start < n:
        words.append(run[start : next_cut[start]])
        start = next_cut[start]
    return words


def segment_for_search(run: str, dictionary: Dictionary) -> list[str]:
    """`segment`, and before each longer word the words of two and of three characters inside it, so that one
    finds 自注意力 by 注意. What jieba calls its search mode.
    """
    found = []
    for word in segment(run, dictionary):
        for size in (2, 3):
            if len(word) > size:
                parts = (word[i : i + size] for i in range(len(word) - size + 1))
                found += [part for part in parts if dictionary.is_word(part)]
        found.append(word)
    return found


def _dictionary_file() -> Path:
    spec = importlib.util.find_spec("jieba")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("jieba is not installed; run: pip install jieba", name="jieba")
    return Path(spec.submodule_search_locations[0]) / "dict.txt"

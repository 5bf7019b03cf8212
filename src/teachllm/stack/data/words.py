"""Words in any language, as arrays that the filters count on.

Rules about web text are written in words. Chinese and Japanese put no spaces between them, so there each
character counts as a word of its own, and a rule about words has to say what it does with that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import regex

from teachllm.stack.tokenizer.fast.compiled import compiled, inlined
from teachllm.stack.tokenizer.fast.unicode_classes import LETTER, LOWER, NUMBER, SPACE, UPPER, unicode_classes

HAN_PER_WORD = 1.6
"""Characters of a Chinese word: jieba cuts the Chinese of the first three lessons into 8,442 words of 1.59
characters on average.
"""

IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # with kana
CJK_MARKS = "\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65“”‘…—"

Cut = Literal["spaces", "letters"]
"""At what a text is cut into words. ``spaces``: at white space and Chinese punctuation, so that ``"don't,"``
and ``"|"`` are words. ``letters``: at all but letters and digits: they are ``don``, ``t`` and nothing.
"""

SPACES: Cut = "spaces"
LETTERS: Cut = "letters"

NO_LETTER, WITH_LETTER, IDEOGRAPH = 0, 1, 2  # kinds of words
_SEPARATOR, _SYMBOL, _LETTER, _DIGIT, _IDEOGRAPH = range(5)  # classes of code points

_WORD = {
    SPACES: regex.compile(rf"[{IDEOGRAPHS}]|[^\s{CJK_MARKS}{IDEOGRAPHS}]+"),
    LETTERS: regex.compile(rf"[{IDEOGRAPHS}]|(?:(?![{IDEOGRAPHS}])[\p{{L}}\p{{M}}\p{{N}}])+"),
}


def split_words(text: str, cut: Cut = SPACES) -> list[str]:
    """The words of a text: runs of what separates nothing, and each ideograph and kana alone."""
    return _WORD[cut].findall(text)


@dataclass(frozen=True)
class Words:
    """`split_words` as arrays of one entry a word."""

    starts: np.ndarray
    """Where the word begins in the text, in characters; int64, as are the others but `kinds`."""
    ends: np.ndarray
    hashes: np.ndarray
    """64 bits, equal for equal words: uint64."""
    kinds: np.ndarray
    """`NO_LETTER`, `WITH_LETTER` or `IDEOGRAPH`: uint8."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        return self.ends - self.starts

    def is_chinese(self) -> bool:
        """Whether ideographs and kana outweigh the other words, at `HAN_PER_WORD` to the word."""
        ideographs = int(np.count_nonzero(self.kinds == IDEOGRAPH))
        return ideographs / HAN_PER_WORD > len(self) - ideographs

    def in_words(self) -> float:
        """How many words the text has when `HAN_PER_WORD` ideographs are one."""
        ideographs = int(np.count_nonzero(self.kinds == IDEOGRAPH))
        return len(self) - ideographs + ideographs / HAN_PER_WORD


def find_words(text: str, cut: Cut = SPACES) -> Words:
    """The words of a text, found by a compiled loop."""
    codes = code_points(text)
    starts, ends = np.empty((2, len(codes)), np.int64)
    hashes = np.empty(len(codes), np.uint64)
    kinds = np.empty(len(codes), np.uint8)
    n = _find_words(codes, _classes(cut), starts, ends, hashes, kinds)
    return Words(starts[:n], ends[:n], hashes[:n], kinds[:n])


def word_hash(word: str) -> int:
    """The entry of `Words.hashes` for this word."""
    return int(find_words(word).hashes[0])


def code_points(text: str) -> np.ndarray:
    """uint32[characters]"""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


@cache
def _classes(cut: Cut) -> np.ndarray:
    """uint8[0x110000]: what each code point is to the loop."""
    known = unicode_classes()
    classes = np.full(len(known), _SYMBOL if cut == SPACES else _SEPARATOR, np.uint8)
    classes[known & (LETTER | UPPER | LOWER) > 0] = _LETTER
    classes[known & NUMBER > 0] = _DIGIT
    classes[known & SPACE > 0] = _SEPARATOR
    every_code_point = "".join(map(chr, range(len(known))))
    if cut == SPACES:
        for match in regex.finditer(f"[{CJK_MARKS}]+", every_code_point):
            classes[match.start() : match.end()] = _SEPARATOR
    for match in regex.finditer(f"[{IDEOGRAPHS}]+", every_code_point):
        classes[match.start() : match.end()] = _IDEOGRAPH
    return classes


@compiled
def _find_words(codes, classes, starts, ends, hashes, kinds):
    """Fill the four arrays; returns the number of words."""
    n, count, i = len(codes), 0, 0
    while i < n:
        kind = classes[codes[i]]
        if kind == _SEPARATOR:
            i += 1
            continue
        starts[count] = i
        value = _mixed(np.uint64(0x243F6A8885A308D3), codes[i])
        i += 1
        if kind == _IDEOGRAPH:
            kinds[count] = IDEOGRAPH
        else:
            with_letter = kind == _LETTER
            while i < n:
                kind = classes[codes[i]]
                if kind == _SEPARATOR or kind == _IDEOGRAPH:  # noqa: SIM109  (a kernel)
                    break
                with_letter = with_letter or kind == _LETTER
                value = _mixed(value, codes[i])
                i += 1
            kinds[count] = WITH_LETTER if with_letter else NO_LETTER
        ends[count] = i
        hashes[count] = value ^ (value >> np.uint64(29))
        count += 1
    return count


@inlined
def _mixed(value, code):
    """One step of a multiplicative hash, as FNV-1a but for a shift that lets high bits reach low ones."""
    value = (value ^ np.uint64(code)) * np.uint64(0x9E3779B97F4A7C15)
    return value ^ (value >> np.uint64(32))

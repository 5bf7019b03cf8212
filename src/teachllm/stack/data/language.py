"""Which language a text is in: by its script where that is enough, and by small models of its letters.

A language identifier is a set of language models: the text belongs to the one that needs the fewest bits for
it. Two are shipped, English and code, of three letters each; what both find too strange is neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from teachllm.stack.data.pipeline import Verdict
from teachllm.stack.data.words import code_points
from teachllm.stack.tokenizer.fast.compiled import compiled

N_SYMBOLS = 64
RARE = 1  # trigrams that were seen no more often are not stored
SCALE = 16  # steps in a bit of the numbers that are added up
MOST_BITS = 4.2
"""Bits a letter above which a text is not in the language of the model. English of other kinds than it was
trained on takes 3.0 to 3.6; French, German, Spanish, Dutch, Indonesian, Latin take 4.7 and more.
"""

COUNTS = Path(__file__).with_name("language_models.npz")
MODELS = ("en", "code")

SCRIPTS = {  # by the ranges in which their letters are
    "han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
    "kana": ((0x3040, 0x30FF),),
    "hangul": ((0x1100, 0x11FF), (0xAC00, 0xD7AF)),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)),
    "greek": ((0x370, 0x3FF),),
    "cyrillic": ((0x400, 0x52F),),
    "hebrew": ((0x590, 0x5FF),),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F)),
    "indic": ((0x900, 0xDFF),),
    "thai": ((0xE00, 0xE7F),),
}
WEIGHTS = {"han": 3, "kana": 2, "hangul": 3}
"""Letters that one of theirs is worth: Chinese says in a character what English says in a short word."""


@dataclass(frozen=True, slots=True)
class Guess:
    """`language` is ``zh``, ``en``, ``code``, ``other`` (none of these) or ``none`` (hardly any letters)."""

    language: str
    detail: str
    """What was measured, for a report."""


def guess_language(text: str, most_bits: float = MOST_BITS) -> Guess:
    """The language that most of a text is in.

    What it can tell: Chinese (of either form; not from Japanese without kana), English and program code
    apart from each other and from the rest of the world. What it cannot: which other language, and what is in
    a text of a few words. A document of several languages counts as the one with the most letters.
    """
    codes = code_points(text)
    shares = script_shares(codes)
    if not shares:
        return Guess("none", "no letters")
    script = max(shares, key=lambda name: shares[name])
    japanese = shares.get("kana", 0) > 0.1 * shares.get("han", 0)
    if script == "han" and not japanese:
        return Guess("zh", f"{shares['han']:.0%} Chinese characters")
    if script != "latin":
        return Guess("other", f"{shares[script]:.0%} {'kana and ' * japanese}{script} letters")
    bits = bits_per_letter(codes)
    best = min(bits, key=lambda name: bits[name])
    detail = ", ".join(f"{name} {value:.1f}" for name, value in bits.items()) + " bits a letter"
    return Guess(best if bits[best] <= most_bits else "other", detail)


def language_problem(text: str, languages: tuple[str, ...] = ("zh", "en")) -> Verdict | None:
    """The text is in none of `languages`."""
    guess = guess_language(text)
    return None if guess.language in languages else Verdict(f"language: {guess.language}", guess.detail)


def script_shares(codes: np.ndarray) -> dict[str, float]:
    """The share of each script in the letters of a text, weighted by `WEIGHTS`; of none when it has none."""
    counts = np.bincount(_scripts()[codes], minlength=len(SCRIPTS) + 1)[1:]
    weighted = {name: WEIGHTS.get(name, 1) * int(n) for name, n in zip(SCRIPTS, counts, strict=True) if n}
    total = sum(weighted.values())
    return {name: value / total for name, value in weighted.items()}


def bits_per_letter(codes: np.ndarray) -> dict[str, float]:
    """What each shipped model needs for the text: the mean of −log₂ p(symbol | the two before)."""
    table = _models()
    sums = np.zeros(len(table), np.int64)
    n = _sum_bits(_symbols()[codes], table, sums)
    return {name: float(value) / SCALE / max(1, n) for name, value in zip(MODELS, sums, strict=True)}


def count_trigrams(texts: Iterable[str]) -> np.ndarray:
    """How often each three symbols follow each other: uint32[64, 64, 64]. What is rare is left out."""
    counts = np.zeros(N_SYMBOLS**3, np.uint32)
    for text in texts:
        symbols = squeezed(text).astype(np.int64)
        if len(symbols) > 2:
            places = (symbols[:-2] * N_SYMBOLS + symbols[1:-1]) * N_SYMBOLS + symbols[2:]
            counts += np.bincount(places, minlength=len(counts)).astype(np.uint32)
    counts[counts <= RARE] = 0
    return counts.reshape(N_SYMBOLS, N_SYMBOLS, N_SYMBOLS)


def trigram_bits(counts: np.ndarray) -> np.ndarray:
    """−log₂ p(c | a, b) at [a, b, c], from `count_trigrams`.

    Probabilities of three symbols lean on those of two, of one, and on a uniform one (Witten & Bell 1991):
    p(c | ab) = (n(abc) + d(ab) · p(c | b)) / (n(ab) + d(ab)), where d(ab) counts the different symbols that
    were seen after ab.
    """
    p: np.ndarray = np.full(N_SYMBOLS, 1 / N_SYMBOLS)
    for n in (counts.sum((0, 1)), counts.sum(0), counts):
        different = (n > 0).sum(-1, keepdims=True)
        total = n.sum(-1, keepdims=True)
        leaned = (n + different * p) / np.maximum(1, total + different)
        p = np.where(total > 0, leaned, np.broadcast_to(p, n.shape))
    return -np.log2(p)


def squeezed(text: str) -> np.ndarray:
    """The symbols of a text, with one for each run of white space: uint8."""
    symbols = _symbols()[code_points(text)]
    repeats = (symbols[1:] == 0) & (symbols[:-1] == 0)
    return symbols[np.r_[True, ~repeats]] if len(symbols) else symbols


@cache
def _symbols() -> np.ndarray:
    """uint8[0x110000]: code point → symbol. Letters without their case, all digits one, all white space one;
    each ASCII mark is its own, every other letter with an accent is one, and so is all else.
    """
    marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    symbols = np.full(0x110000, 62, np.uint8)
    symbols[0xC0:0x250] = symbols[0x1E00:0x1F00] = 61
    for i in range(26):
        symbols[[ord("a") + i, ord("A") + i]] = 1 + i
    for i, mark in enumerate(marks):
        symbols[ord(mark)] = 28 + i
    symbols[ord("0") : ord("9") + 1] = 27
    symbols[[ord(space) for space in " \n\t\r\xa0\u3000"]] = 0
    symbols[[ord("’"), ord("‘")]] = symbols[ord("'")]
    symbols[[ord("“"), ord("”")]] = symbols[ord('"')]
    symbols[[ord("–"), ord("—")]] = symbols[ord("-")]
    return symbols


@cache
def _scripts() -> np.ndarray:
    """uint8[0x110000]: code point → 1 + number of the script in `SCRIPTS`, 0 if it is no letter."""
    scripts = np.zeros(0x110000, np.uint8)
    for number, ranges in enumerate(SCRIPTS.values(), 1):
        for first, last in ranges:
            scripts[first : last + 1] = number
    return scripts


@cache
def _models() -> np.ndarray:
    """uint16[model, 64³]: bits of each trigram, times `SCALE`.

    The counts were made from the English of the course, the docstrings of Python's standard library, its
    sources, and its C headers three times over.
    """
    with np.load(COUNTS) as file:
        bits = np.stack([trigram_bits(file[name]) for name in MODELS])
    return np.rint(bits * SCALE).astype(np.uint16).reshape(len(MODELS), -1)


@compiled
def _sum_bits(symbols, table, sums):
    """Add up what each model needs; returns the number of symbols looked at. White space is squeezed."""
    a, b, n = 0, 0, 0
    for i in range(len(symbols)):
        c = int(symbols[i])
        if c == 0 and b == 0:
            continue
        place = (a * 64 + b) * 64 + c
        for model in range(len(table)):
            sums[model] += table[model, place]
        n += 1
        a, b = b, c
    return n

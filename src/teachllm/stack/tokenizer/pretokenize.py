"""Pre-tokenization: cut text into pieces that no merge may cross (words, digits, punctuation, white space).

Each model family publishes one regular expression. They differ in how many digits stay together, in whether
a word takes the space before it, and in what happens to newlines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import regex


@dataclass(frozen=True, slots=True)
class Pattern:
    """Named regular expressions that are applied in turn: each cuts the pieces that the one before left.

    A match becomes a piece, and so does what lies between two matches: no text is lost.
    """

    name: str
    regexes: tuple[str, ...]

    def __post_init__(self) -> None:
        for source in self.regexes:
            try:
                regex.compile(source)
            except regex.error as problem:
                raise ValueError(
                    f"pattern {self.name!r}: {source!r} is not a regular expression: {problem}"
                ) from None


GPT2 = Pattern(
    "gpt2",
    (
        r"'s|'t|'re|'ve|'m|'ll|'d"  # English contractions
        r"| ?\p{L}+"  # a word, with the space before it
        r"| ?\p{N}+"
        r"| ?[^\s\p{L}\p{N}]+"  # punctuation, emoji, control characters
        r"|\s+(?!\S)|\s+",  # white space, leaving the last space to the word that follows
    ),
)
LLAMA3 = Pattern(
    "llama3",
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
        r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # a word, with any one character before it: " the", "(the", ".the"
        r"|\p{N}{1,3}"  # digits by threes
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # punctuation keeps the newlines after it
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
)
QWEN2 = Pattern(
    "qwen2",
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
        r"|[^\r\n\p{L}\p{N}]?\p{L}+"
        r"|\p{N}"  # digits one by one
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
)
SMOLLM2 = Pattern("smollm2", (r"\p{N}", *GPT2.regexes))  # digits one by one, then GPT-2 on what lies between
O200K = Pattern(
    "o200k",
    (
        # Words with case: "HelloWorld" is "Hello", "World"; contractions stay with their word.
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
)

PATTERNS = {pattern.name: pattern for pattern in (GPT2, LLAMA3, QWEN2, SMOLLM2, O200K)}


def split_pieces(text: str, pattern: Pattern = GPT2) -> list[str]:
    """`text` cut into pieces; joined again they are `text`.

    >>> split_pieces("It's 2024,  ok")
    ['It', "'s", ' 2024', ',', ' ', ' ok']
    """
    pieces = [text] if text else []
    for source in pattern.regexes:
        pieces = [part for piece in pieces for part in _matches_and_gaps(source, piece)]
    return pieces


def _matches_and_gaps(source: str, text: str) -> Iterator[str]:
    end = 0
    for match in regex.finditer(source, text):
        if match.start() > end:
            yield text[end : match.start()]
        if match.end() > match.start():
            yield match.group()
        end = match.end()
    if end < len(text):
        yield text[end:]


def as_pattern(pattern: Pattern | str) -> Pattern:
    """A Pattern from itself, from a name in PATTERNS, or from a regular expression of your own."""
    if isinstance(pattern, Pattern):
        return pattern
    return PATTERNS.get(pattern) or named_pattern((pattern,))


def named_pattern(regexes: tuple[str, ...]) -> Pattern:
    """The known pattern with these regular expressions, or a new one named "custom"."""
    for pattern in PATTERNS.values():
        if pattern.regexes == regexes:
            return pattern
    return Pattern("custom", regexes)

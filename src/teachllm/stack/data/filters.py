"""The plain filters: how long a text is, and whether it is text at all. Limits are arguments of each."""

from __future__ import annotations

import re

from teachllm.stack.data.pipeline import Verdict

_NO_SYMBOLS = re.compile(r"[\w\s.,;:!?'\"()，。、；：！？（）《》「」“”‘’…—·-]+")


def length_problem(text: str, shortest: int = 100, longest: int = 1_000_000) -> Verdict | None:
    """Fewer than `shortest` or more than `longest` bytes of UTF-8.

    Bytes and not characters, because they say about the same of every language: a Chinese character says as
    much as an English syllable of three letters, and has three bytes.
    """
    size = len(text) if text.isascii() else len(text.encode())
    if size < shortest:
        return Verdict("too short", f"{size:,} bytes")
    if size > longest:
        return Verdict("too long", f"{size:,} bytes")
    return None


def symbol_problem(text: str, most_symbols: float = 0.25, most_broken: float = 0.001) -> Verdict | None:
    """More than `most_symbols` of the characters are neither letters, digits, white space nor the punctuation
    of sentences; or more than `most_broken` are U+FFFD, which stands where a decoder met broken bytes.

    Prose has about one symbol in a hundred characters, the standard library's sources one in ten: a quarter
    is a table, a drawing or what is left of a page's navigation.
    """
    if not text:
        return None
    broken = text.count("\ufffd") / len(text)
    if broken > most_broken:
        return Verdict("broken characters", f"{broken:.1%} of the characters")
    symbols = len(_NO_SYMBOLS.sub("", text)) / len(text)
    if symbols > most_symbols:
        return Verdict("too many symbols", f"{symbols:.0%} of the characters")
    return None

"""The piece of a text that shows why it was found, with the matches marked. Plain data, never HTML."""

from __future__ import annotations

import bisect
from collections.abc import Set
from typing import TypeAlias

from teachllm.school.search.terms import Vocabulary

Snippet: TypeAlias = list[tuple[str, bool]]
_WIDTH = {"zh": 70, "en": 150}


def snippet(text: str, wanted: Set[str], vocabulary: Vocabulary, lang: str) -> Snippet:
    """``[("the ", False), ("cache", True)]``: the piece with the most different matches."""
    width = _WIDTH[lang]
    text = " ".join(text.split())
    hits = [place for place in vocabulary.places(text) if place[2] in wanted]
    start = _best_start(hits, width) if hits else 0
    start, end = _at_words(text, max(0, start - width // 4), width)
    parts: Snippet = [("…", False)] if start else []
    at = start
    for first, last in _merged(hits):
        if last <= at or first >= end:
            continue
        first, last = max(first, at), min(last, end)
        if first > at:
            parts.append((text[at:first], False))
        parts.append((text[first:last], True))
        at = last
    if at < end:
        parts.append((text[at:end], False))
    if end < len(text):
        parts.append(("…", False))
    return parts


def _best_start(hits: list[tuple[int, int, str]], width: int) -> int:
    """Where a window holds the most different matches, long ones counting more; the first of equals."""
    starts = [start for start, _, _ in hits]
    best, best_worth = starts[0], -1
    for index, start in enumerate(starts):
        until = bisect.bisect_right(starts, start + width * 3 // 4)
        worth = sum(len(text) for text in {text for _, _, text in hits[index:until]})
        if worth > best_worth:
            best, best_worth = start, worth
    return best


def _at_words(text: str, start: int, width: int) -> tuple[int, int]:
    """A window of about that width that cuts no English word."""
    if start:
        space = text.find(" ", start, start + 12)
        start = space + 1 if space != -1 and text[start - 1].isascii() and text[start - 1] != " " else start
    end = min(len(text), start + width)
    if end < len(text) and text[end - 1].isascii() and text[end].isascii():
        space = text.rfind(" ", end - 16, end)
        end = space if space > start else end
    return start, end


def _merged(hits: list[tuple[int, int, str]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last, _ in hits:
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged

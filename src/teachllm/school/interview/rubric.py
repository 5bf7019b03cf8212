"""The rubric of a question: the card's spoken answer, split into the points that one should have made."""

from __future__ import annotations

import re

from teachllm.school.language import Lang

MOST_POINTS = 6
_SHORTEST = {"zh": 14, "en": 45}
"""Characters; a shorter sentence ("Not quite.") goes with the one before it, the first with the next."""
_ENDS = {"zh": re.compile(r"(?<=[。！？；])\s*"), "en": re.compile(r"(?<=[.!?;])\s+(?=[A-Z\"“(])")}


def points_of(answer: str, lang: Lang) -> tuple[str, ...]:
    """At most :data:`MOST_POINTS` points, which together are the answer."""
    text = " ".join(answer.split())
    points: list[str] = []
    for sentence in (part for part in _ENDS[lang].split(text) if part):
        if points and min(len(sentence), len(points[-1])) < _SHORTEST[lang]:
            points[-1] = _joined(points[-1], sentence, lang)
        else:
            points.append(sentence)
    while len(points) > MOST_POINTS:
        # The two neighbours that are shortest together make one point.
        at = min(range(len(points) - 1), key=lambda i: len(points[i]) + len(points[i + 1]))
        points[at : at + 2] = [_joined(points[at], points[at + 1], lang)]
    return tuple(points)


def _joined(first: str, second: str, lang: Lang) -> str:
    return f"{first} {second}" if lang == "en" else first + second

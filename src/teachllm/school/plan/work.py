"""How long each of the six things of a lesson takes, and how much of it is left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from teachllm.school.course import Lesson
from teachllm.school.plan.wish import Style
from teachllm.school.progress.outline import Outline
from teachllm.school.progress.six import THINGS

SHARES = {"read": 0.42, "moved": 0.10, "ran": 0.10, "wrote": 0.24, "recalled": 0.10, "asked": 0.04}
"""Of a lesson's hours. A lesson without an exercise, say, gives its time to the other things."""
FAST = ("read", "moved", "wrote", "recalled")
"""What the fast plan does of a lesson, each as long as it takes: it saves the lab and the talk."""
DONE = 0.999


@dataclass(frozen=True)
class Task:
    """One thing of one lesson, all of it. ``begun``: the share that is done. ``cards``: it brings."""

    lesson: str
    thing: str
    minutes: int
    begun: float = 0.0
    cards: int = 0

    @property
    def left(self) -> int:
        """Minutes, at least one unless it is done."""
        return 0 if self.begun >= DONE else max(1, math.ceil(self.minutes * (1 - self.begun)))


def tasks_of(
    lesson: Lesson, outline: Outline, cards: int, shares: Mapping[str, float], style: Style
) -> list[Task]:
    """In the order in which one does them; those that are done too."""
    there = {
        "read": True,
        "moved": bool(outline.figures),
        "ran": bool(outline.labs),
        "wrote": outline.has_exercise,
        "recalled": cards > 0,
        "asked": True,
    }
    whole = sum(SHARES[thing] for thing in THINGS if there[thing])
    return [
        Task(
            lesson.id,
            thing,
            max(1, round(lesson.hours * 60 * SHARES[thing] / whole)),
            shares.get(thing, 0.0),
            cards if thing == "recalled" else 0,
        )
        for thing in _in_style(style)
        if there[thing]
    ]


def _in_style(style: Style) -> Iterable[str]:
    return FAST if style == "fast" else THINGS

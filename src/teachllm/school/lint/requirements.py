"""What a lesson must have at least."""

from __future__ import annotations

from dataclasses import dataclass

SECTIONS = ("code", "pitfalls", "differs", "write", "recall", "sources")
"""Anchors of every lesson: the code, what bites, the difference to the paper, exercise, cards, sources."""

FILES = (
    "lesson.zh.md",
    "lesson.en.md",
    "figures.py",
    "exercise.yaml",
    "checks.py",
    "mutants.py",
    "cards.yaml",
)


@dataclass(frozen=True)
class Requirements:
    """Bounds are inclusive. A spoken answer takes 60 to 120 seconds."""

    chinese_characters: tuple[int, int] = (3500, 8000)
    cards: int = 7
    spoken_characters: tuple[int, int] = (180, 480)
    spoken_words: tuple[int, int] = (130, 270)
    mutants: int = 3
    seconds_per_figure: float = 0.1

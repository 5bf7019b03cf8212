"""The ring of a lesson: an arc for each part of its mastery, as long as it weighs, filled by its share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from teachllm.school.course import Lesson
from teachllm.school.language import Both
from teachllm.school.mastery import WEIGHTS, Mastery
from teachllm.school.mastery.words import level_and_value

ROUND = 60.0
"""The length that the circle of a ring is given (``pathLength``)."""
GAP = 1.2


@dataclass(frozen=True)
class Ring:
    """Values of ``stroke-dasharray``, empty for nothing to draw. ``recalled`` is what fades, drawn apart."""

    track: str
    kept: str
    recalled: str


def ring_of(mastery: Mastery) -> Ring | None:
    """``None`` for a lesson without parts, which is only planned."""
    if not mastery.parts:
        return None
    parts = mastery.parts
    return Ring(
        track=_dashes((part.weight, 1.0) for part in parts),
        kept=_drawn((part.weight, part.share * (part.name != "recalled")) for part in parts),
        recalled=_drawn((part.weight, part.share * (part.name == "recalled")) for part in parts),
    )


def whole_ring() -> str:
    """The arcs of a lesson that has every part, all of them filled: what a legend shows."""
    return _dashes((weight, 1.0) for weight in WEIGHTS.values())


def _drawn(shares: Iterable[tuple[float, float]]) -> str:
    found = list(shares)
    return _dashes(found) if any(share > 0 for _, share in found) else ""


def _dashes(shares: Iterable[tuple[float, float]]) -> str:
    """Of weights, and how much of each is drawn."""
    dashes = []
    for weight, share in shares:
        length = ROUND * weight
        drawn = max(0.0, length - GAP) * share
        dashes += [f"{drawn:.4g}", f"{length - drawn:.4g}"]
    return " ".join(dashes)


def state_of(lesson: Lesson, mastery: Mastery) -> str:
    """The classes of a lesson on the map: ``planned``, or ``available`` and its level."""
    return f"available {mastery.level}" if lesson.available else "planned"


def mark_of(lesson: Lesson, mastery: Mastery) -> Both:
    if not lesson.available:
        return Both("计划中", "planned")
    return level_and_value(mastery)

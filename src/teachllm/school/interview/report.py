"""What an interview showed: by topic and difficulty, beside earlier ones, and the weak lessons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import mean

from teachllm.school.interview.interviews import WEAK, Asked, Interview, Interviews
from teachllm.school.progress import Store

LOOKED_AT = 3
"""The interviews that :func:`weak_lessons` looks at; each older one weighs half as much."""


@dataclass(frozen=True)
class Share:
    """``score``: the mean from 0 to 1 of ``n`` questions; ``before``: that of all earlier interviews."""

    name: str
    score: float
    n: int
    before: float | None = None


@dataclass(frozen=True)
class Report:
    """``before``: the score of the interview before it, if any. ``over``: answers past their time."""

    interview: Interview
    score: float
    before: float | None
    topics: tuple[Share, ...]
    levels: tuple[Share, ...]
    seconds: float
    over: int
    rote: tuple[Asked, ...]
    weak: tuple[Asked, ...]


def report_of(store: Store, number: int) -> Report:
    """Raises :class:`teachllm.school.interview.UnknownInterview`."""
    interviews = Interviews(store)
    interview = interviews.get(number)
    earlier = [one for one in interviews.all() if one.finished and one.id < number]
    asked = interview.questions
    asked_before = [one for held in earlier for one in held.questions]
    return Report(
        interview=interview,
        score=interview.score,
        before=earlier[0].score if earlier else None,
        topics=_by(asked, asked_before, lambda one: one.card.topic if one.card else ""),
        levels=_by(asked, asked_before, lambda one: str(one.card.difficulty) if one.card else ""),
        seconds=sum(one.seconds + one.followup_seconds for one in asked),
        over=sum(one.seconds > interview.config.seconds for one in asked),
        rote=tuple(one for one in asked if one.verdict and one.verdict.is_rote),
        weak=tuple(one for one in asked if _score(one) < WEAK),
    )


def weak_lessons(store: Store) -> list[tuple[str, float]]:
    """Lessons in which the last interviews showed gaps, with the share that was missing, most first.

    Each older interview weighs half as much, so a good answer later takes a lesson off the list.
    """
    finished = [one for one in Interviews(store).all() if one.finished][:LOOKED_AT]
    missing: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for age, interview in enumerate(finished):
        for one in interview.questions:
            missing[one.lesson].append((0.5**age, 1 - _score(one)))
    weights = {
        lesson: sum(weight * gap for weight, gap in found) / sum(weight for weight, _ in found)
        for lesson, found in missing.items()
    }
    weak = [(lesson, weight) for lesson, weight in weights.items() if weight > 1 - WEAK]
    return sorted(weak, key=lambda one: (-one[1], one[0]))


def _score(asked: Asked) -> float:
    return asked.verdict.score if asked.verdict else 0.0


def _by(asked: Iterable[Asked], before: Iterable[Asked], name: Callable[[Asked], str]) -> tuple[Share, ...]:
    now, then = _scores(asked, name), _scores(before, name)
    return tuple(
        Share(key, mean(found), len(found), mean(then[key]) if key in then else None)
        for key, found in sorted(now.items())
    )


def _scores(asked: Iterable[Asked], name: Callable[[Asked], str]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {}
    for one in asked:
        scores.setdefault(name(one), []).append(_score(one))
    return scores

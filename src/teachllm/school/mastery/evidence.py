"""What the store knows about each lesson, gathered for all lessons in a few queries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from teachllm.school.cards.deck import cards_known
from teachllm.school.cards.schedule import Memory
from teachllm.school.course import Course, Lesson
from teachllm.school.mastery.formula import NO_EVIDENCE, Counted, Evidence, Mastery, mastery
from teachllm.school.progress import Store
from teachllm.school.progress.outline import outline


def mastery_of_all(store: Store, course: Course, now: datetime) -> dict[str, Mastery]:
    """Of every lesson of the course, planned ones too (untouched, without parts)."""
    shares = store.overview(course)
    memories, suspended = store.cards.memories(), store.cards.suspended()
    return {
        lesson.id: _mastery(lesson, shares[lesson.id], memories, suspended, now)
        for lesson in course.lessons.values()
    }


def mastery_of(store: Store, lesson: Lesson, now: datetime) -> Mastery:
    cards = store.cards
    return _mastery(lesson, store.six(lesson.id), cards.memories(), cards.suspended(), now)


def _mastery(
    lesson: Lesson,
    six: Mapping[str, float],
    memories: Mapping[str, Memory],
    suspended: set[str],
    now: datetime,
) -> Mastery:
    if not lesson.available:
        return NO_EVIDENCE
    there = outline(lesson)
    cards = [card.id for card in cards_known(lesson)]
    evidence = Evidence(
        read=_counted(six["read"], len(there.sections)),
        moved=_counted(six["moved"], len(there.figures)),
        ran=_counted(six["ran"], len(there.labs)),
        wrote=six["wrote"] >= 1 if there.has_exercise else None,
        tried=six["wrote"] > 0,
        cards=[memories.get(card) for card in cards],
        asked=six["asked"] > 0,
        suspended=len(suspended.intersection(cards)),
    )
    return mastery(evidence, now)


def _counted(share: float, total: int) -> Counted:
    return Counted(round(share * total), total)

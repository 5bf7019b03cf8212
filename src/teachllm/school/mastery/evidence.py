"""What the store knows about each lesson, gathered for all lessons in a few queries."""

from __future__ import annotations

from datetime import datetime

from teachllm.school.cards.deck import cards_known
from teachllm.school.course import Course
from teachllm.school.mastery.formula import NO_EVIDENCE, Counted, Evidence, Mastery, mastery
from teachllm.school.progress import Store
from teachllm.school.progress.outline import outline


def mastery_of_all(store: Store, course: Course, now: datetime) -> dict[str, Mastery]:
    """Of every lesson of the course, planned ones too (untouched, without parts)."""
    shares = store.overview(course)
    memories = store.cards.memories()
    found = {}
    for lesson in course.lessons.values():
        if not lesson.available:
            found[lesson.id] = NO_EVIDENCE
            continue
        six, there = shares[lesson.id], outline(lesson)
        evidence = Evidence(
            read=_counted(six["read"], len(there.sections)),
            moved=_counted(six["moved"], len(there.figures)),
            ran=_counted(six["ran"], len(there.labs)),
            wrote=six["wrote"] >= 1 if there.has_exercise else None,
            tried=six["wrote"] > 0,
            cards=[memories.get(card.id) for card in cards_known(lesson)],
            asked=six["asked"] > 0,
        )
        found[lesson.id] = mastery(evidence, now)
    return found


def _counted(share: float, total: int) -> Counted:
    return Counted(round(share * total), total)

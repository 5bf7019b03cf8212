"""Which lessons a goal takes, in which order, and which of them are not written yet."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from teachllm.school.course import Course, Lesson
from teachllm.school.plan.wish import Wish

HARD = 4
"""The difficulty that the fast plan leaves out, unless a lesson that it keeps needs it."""


def rank(lesson: Lesson) -> int:
    """The course's priority as a number: 0 essential, 1 so for some, 2 advanced, 3 new, 4 as needed."""
    name = lesson.priority.en
    if name.startswith("essential"):
        return 0 if name == "essential" else 1
    return {"advanced": 2, "as needed": 4}.get(name, 3)


@dataclass(frozen=True)
class Goal:
    """``lessons``: ids of those that are there, an order in which each comes after what it needs.
    ``planned``: those of the goal that are not written yet; nothing of them is scheduled.
    ``waits``: for a lesson that is there, what it needs and is not written yet.
    """

    lessons: tuple[str, ...]
    planned: tuple[str, ...]
    waits: Mapping[str, tuple[str, ...]]


def goal_of(wish: Wish, course: Course) -> Goal:
    wanted = with_needs(_named(wish, course), course) - set(wish.left_out)
    order = in_order(wanted, course, by_priority=wish.goal == "interview")
    there = tuple(lesson for lesson in order if course.lessons[lesson].available)
    missing = {
        lesson: tuple(
            needed for needed in course.lessons[lesson].prerequisites if not course.lessons[needed].available
        )
        for lesson in there
    }
    return Goal(
        lessons=there,
        planned=tuple(lesson for lesson in order if not course.lessons[lesson].available),
        waits={lesson: needs for lesson, needs in missing.items() if needs},
    )


def _named(wish: Wish, course: Course) -> set[str]:
    """What the goal names, without what that needs.

    The fast plan takes what the course calls essential, without the hardest lessons.
    """
    if wish.goal == "topic":
        assert wish.topic is not None  # checked
        return {wish.topic}
    chapters = wish.chapters or tuple(chapter.number for chapter in course.chapters)
    named = [lesson for lesson in course.lessons.values() if lesson.chapter in chapters]
    if wish.style == "fast":
        named = [lesson for lesson in named if rank(lesson) <= 1 and lesson.difficulty < HARD]
    return {lesson.id for lesson in named}


def with_needs(lessons: Iterable[str], course: Course) -> set[str]:
    """The lessons and all that they need, directly or through others."""
    found: set[str] = set()
    open_ends = list(lessons)
    while open_ends:
        lesson = open_ends.pop()
        if lesson not in found:
            found.add(lesson)
            open_ends += course.lessons[lesson].prerequisites
    return found


def in_order(lessons: Set[str], course: Course, *, by_priority: bool) -> list[str]:
    """Each after what it needs; otherwise as the course has them, or the most important first.

    A lesson is as important as the most important lesson that needs it.
    """
    place = {lesson: number for number, lesson in enumerate(course.lessons)}
    needs = {
        lesson: {needed for needed in course.lessons[lesson].prerequisites if needed in lessons}
        for lesson in lessons
    }
    opens: dict[str, list[str]] = {lesson: [] for lesson in lessons}
    for lesson, needed in needs.items():
        for one in needed:
            opens[one].append(lesson)
    importance: dict[str, int] = {}

    def important(lesson: str) -> int:
        if lesson not in importance:
            own = rank(course.lessons[lesson])
            importance[lesson] = min([own, *(important(one) for one in opens[lesson])])
        return importance[lesson]

    def key(lesson: str) -> tuple[int, int, str]:
        return (important(lesson) if by_priority else 0, place[lesson], lesson)

    ready = [key(lesson) for lesson in lessons if not needs[lesson]]
    heapq.heapify(ready)
    order = []
    while ready:
        lesson = heapq.heappop(ready)[2]
        order.append(lesson)
        for one in opens[lesson]:
            needs[one].remove(lesson)
            if not needs[one]:
                heapq.heappush(ready, key(one))
    return order

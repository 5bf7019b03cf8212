"""What a lesson needs, and what it opens, however far away."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from teachllm.school.course import Course


def needed_by(course: Course, lesson_id: str) -> list[str]:
    """All lessons to be learned before it, in the course's order."""
    return _reached(course, lesson_id, lambda one: course.lesson(one).prerequisites)


def opened_by(course: Course, lesson_id: str) -> list[str]:
    """All lessons that need it, directly or not, in the course's order."""
    return _reached(course, lesson_id, lambda one: (lesson.id for lesson in course.unlocks(one)))


def _reached(course: Course, start: str, neighbours: Callable[[str], Iterable[str]]) -> list[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for one in neighbours(waiting.pop()):
            if one not in found:
                found.add(one)
                waiting.append(one)
    return [lesson for lesson in course.lessons if lesson in found]

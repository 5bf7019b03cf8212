"""Which lessons can be begun now."""

from __future__ import annotations

from collections.abc import Mapping

from teachllm.school.course import Course
from teachllm.school.mastery.formula import LEARNING, Mastery


def ready_now(course: Course, masteries: Mapping[str, Mastery]) -> set[str]:
    """Ids of the lessons that are there, not mastered, and whose prerequisites are at least being learned.

    A prerequisite that is only planned keeps nobody waiting: it cannot be learned yet.
    """
    return {
        lesson.id
        for lesson in course.available()
        if masteries[lesson.id].level != "mastered"
        and all(
            masteries[needed].value >= LEARNING or not course.lesson(needed).available
            for needed in lesson.prerequisites
        )
    }

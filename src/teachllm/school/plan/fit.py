"""Does the goal fit the time? If not: what to drop, or how much more time it takes."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import date

from teachllm.school.course import Course
from teachllm.school.plan.goal import rank
from teachllm.school.plan.schedule import Schedule, Work, schedule
from teachllm.school.plan.wish import Wish

STEP = 15
LONGEST_DAY = 16 * 60


@dataclass(frozen=True)
class Fit:
    """``missing``: minutes of lessons that find no day; 0 if the goal fits.

    ``drop``: lessons to leave out, the easiest to do without first. ``enough``: the rest fits then.
    ``more``: minutes more a day with which all of it fits; ``None`` if no day is long enough.
    """

    missing: int
    drop: tuple[str, ...] = ()
    enough: bool = True
    more: int | None = None


def fit(wish: Wish, work: Work, today: date, found: Schedule, course: Course) -> Fit:
    if not found.unplaced:
        return Fit(0)
    drop, enough = _to_drop(wish, work, today, found, course)
    return Fit(found.missing, drop, enough, _more(wish, work, today))


def _to_drop(
    wish: Wish, work: Work, today: date, found: Schedule, course: Course
) -> tuple[tuple[str, ...], bool]:
    """Lessons until the rest fits, ranked by the course's priority and by who needs them."""
    left: dict[str, int] = {}
    for task in work.tasks:
        if task.left:
            left[task.lesson] = left.get(task.lesson, 0) + task.left
    kept = set(left)
    dropped: list[str] = []
    over = found.missing
    while kept and over > 0:
        freed = 0
        while kept and freed < over:
            lesson = _dispensable(kept, course)
            kept.remove(lesson)
            dropped.append(lesson)
            freed += left[lesson]
        rest = [task for task in work.tasks if task.lesson in kept]
        over = schedule(wish, replace(work, tasks=rest), today).missing
    return tuple(dropped), over == 0 and bool(kept)


def _dispensable(kept: Set[str], course: Course) -> str:
    """Of the lessons that no other kept one needs: the least important, the hardest, the last."""
    needed = {one for lesson in kept for one in course.lessons[lesson].prerequisites}
    place = {lesson: number for number, lesson in enumerate(course.lessons)}
    free = [course.lessons[lesson] for lesson in kept if lesson not in needed]
    return max(free, key=lambda lesson: (rank(lesson), lesson.difficulty, place[lesson.id])).id


def _more(wish: Wish, work: Work, today: date) -> int | None:
    """By bisection, in quarters of an hour; what it returns was tried and does."""

    def places_all(steps: int) -> bool:
        longer = tuple(min(LONGEST_DAY, day + steps * STEP) if day else 0 for day in wish.weekdays)
        return not schedule(replace(wish, weekdays=longer), work, today).unplaced

    low, high = 0, LONGEST_DAY // STEP
    if not places_all(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if places_all(middle) else (middle, high)
    return high * STEP

"""The study plan for all 99 lessons, planned again after a day: what a learner waits for when a page opens.

    make bench NAME=plan

The lessons that are not written yet count as if they were there, with the hours of the course's table and
eight cards each; half of them are done, and a day was missed. The last row goes from store to store, with the
lessons that are there. There is no peer: the bar is 200 ms.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from benchmarks.harness import Row, report, seconds, versions
from teachllm.school.cards.schedule import Memory, after
from teachllm.school.course import Course, load_course
from teachllm.school.plan import Planner, Wish, built_in
from teachllm.school.plan.evidence import Evidence
from teachllm.school.plan.fit import fit
from teachllm.school.plan.plan import Plan, advanced, new_plan, planned, work_of
from teachllm.school.progress import open_store
from teachllm.school.progress.outline import Outline

TIMES = 25
BAR_MS = 200.0
CARDS = 8
PACKAGES = ("fsrs", "pydantic", "sqlalchemy")
MONDAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
WHOLE = Outline(frozenset("s"), frozenset("f"), frozenset("l"), has_exercise=True)


def main() -> None:
    course = written(load_course())
    known = half_way(course)
    rows = []
    with (
        patch("teachllm.school.plan.plan.outline", lambda _: WHOLE),
        patch("teachllm.school.plan.plan.cards_known", lambda _: range(CARDS)),
    ):
        for what, wish in {
            "99 lessons, steady": built_in("steady", MONDAY),
            "99 lessons, an interview that comes too soon": Wish(
                "steady", MONDAY, "interview", until=MONDAY + timedelta(days=40)
            ),
        }.items():
            rows.append(row(what, lambda wish=wish: replanned(wish, course, known)))
    rows.append(row("the lessons that are there, from the store to the store", from_the_store()))
    slowest = max(one.ours for one in rows)
    notes = [
        f"bar: {BAR_MS:g} ms; the slowest median is {slowest:.1f} ms",
        f"medians of {TIMES}; {len(known.memories)} cards are being learned; "
        "each time: the days to come, what moved, what fits and what to drop",
    ]
    report("plan", rows, notes=notes)


def row(what: str, run: Callable[[], object]) -> Row:
    run()
    taken = 1000 * statistics.median(seconds(run) for _ in range(TIMES))
    return Row(what, taken, None, "none", "ms", None, versions=versions(PACKAGES), why="no peer")


def written(course: Course) -> Course:
    """The course as if all lessons were there."""
    chapters = tuple(
        replace(chapter, lessons=tuple(replace(lesson, status="available") for lesson in chapter.lessons))
        for chapter in course.chapters
    )
    return replace(course, chapters=chapters)


def half_way(course: Course) -> Evidence:
    """Fifty lessons done, with cards that were answered one to four times."""
    done = list(course.lessons)[:50]
    memories = {}
    for lesson in done:
        for number in range(CARDS):
            name, when = f"{lesson}:{number}", NOW - timedelta(days=60)
            memory = Memory.new(when)
            for _ in range(2 + number % 4):
                memory = after(name, memory, 3, when)
                when = memory.due
            memories[name] = memory
    things = ("read", "moved", "ran", "wrote", "recalled", "asked")
    return Evidence({lesson: dict.fromkeys(things, 1.0) for lesson in done}, memories)


def replanned(wish: Wish, course: Course, known: Evidence) -> object:
    """The plan of yesterday, today."""
    plan = _yesterday(wish, course)
    today = plan.day + timedelta(days=1)
    plan = advanced(plan, course, known, NOW, today)
    work = work_of(wish, course, known, today)
    return fit(wish, work, today, planned(wish, course, known, today), course)


_plans: dict[Wish, Plan] = {}


def _yesterday(wish: Wish, course: Course) -> Plan:
    if wish not in _plans:
        _plans[wish] = new_plan("0" * 12, wish, course, Evidence({}, {}), NOW, MONDAY)
    return _plans[wish]


def from_the_store() -> Callable[[], object]:
    folder = tempfile.mkdtemp()
    store = open_store(f"sqlite:///{Path(folder) / 'progress.db'}")
    course = load_course()
    for lesson in course.available():
        store.cards.learn(lesson.id)
    Planner(store, course).make(built_in("steady", MONDAY))
    return lambda: Planner(store, course).push()


if __name__ == "__main__":
    main()

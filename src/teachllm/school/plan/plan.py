"""A plan as it is kept, and how it goes on: the past stays, the rest moves.

A plan is its wish, what it put on the days, and what became of the days that are over. On a new day, or when
the wish changes, the days to come are planned afresh from what is left to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from teachllm.school.cards.deck import cards_known
from teachllm.school.course import Course
from teachllm.school.language import Both
from teachllm.school.plan.evidence import Evidence
from teachllm.school.plan.goal import goal_of
from teachllm.school.plan.reviews import expected
from teachllm.school.plan.schedule import Item, Schedule, Work, schedule
from teachllm.school.plan.wish import PlanError, Wish, check
from teachllm.school.plan.work import tasks_of
from teachllm.school.progress.outline import outline

STEPS_BACK = 20
"""Wishes that are kept for undoing."""


@dataclass(frozen=True)
class Past:
    """What a day that is over had, and whether it was done by the end of that day."""

    item: Item
    done: bool


@dataclass(frozen=True)
class Move:
    """A lesson that ends on another day than before."""

    lesson: str
    was: date
    now: date


@dataclass(frozen=True)
class Plan:
    """``day``: the day that it was last planned on; ``items`` are of that day and later, ``past`` earlier.
    ``moved``: what the last planning moved. ``earlier``: wishes before this one, the newest last.
    ``revision`` counts plannings; ``exported``: the sessions that a calendar was given, with their days.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    wish: Wish
    day: date
    changed: datetime
    items: tuple[Item, ...] = ()
    past: tuple[Past, ...] = ()
    moved: tuple[Move, ...] = ()
    earlier: tuple[Wish, ...] = ()
    revision: int = 0
    exported: dict[str, date] = field(default_factory=dict)
    version: Literal[1] = 1

    def on(self, day: date) -> list[Item]:
        return [item for item in self.items if item.day == day]


def new_plan(
    plan_id: str, wish: Wish, course: Course, evidence: Evidence, now: datetime, today: date
) -> Plan:
    """Raises :class:`PlanError` if the wish cannot be planned."""
    wish = check(wish, course)
    found = planned(wish, course, evidence, today)
    return Plan(plan_id, wish, today, now, found.items)


def advanced(plan: Plan, course: Course, evidence: Evidence, now: datetime, today: date) -> Plan:
    """The plan on ``today``: unchanged on the day that it was planned on, so that today's list stays."""
    if today <= plan.day:
        return plan
    over = [Past(item, evidence.has_done(item, today)) for item in plan.items if item.day < today]
    plan = replace(plan, past=(*plan.past, *over), day=today)
    return _planned_again(plan, plan.wish, course, evidence, now, kept=())


def changed(plan: Plan, wish: Wish, course: Course, evidence: Evidence, now: datetime) -> Plan:
    """The plan with another wish, from its day on; what was done today stays. Raises :class:`PlanError`."""
    wish = check(wish, course)
    earlier = (*plan.earlier, plan.wish)[-STEPS_BACK:]
    plan = replace(plan, earlier=earlier)
    return _planned_again(plan, wish, course, evidence, now, kept=_done_today(plan, evidence))


def pushed(plan: Plan, course: Course, evidence: Evidence, now: datetime) -> Plan:
    """Nothing more today: what is not done moves to the days after."""
    wish = replace(plan.wish, days_off=plan.wish.days_off | {plan.day})
    return changed(plan, wish, course, evidence, now)


def undone(plan: Plan, course: Course, evidence: Evidence, now: datetime) -> Plan:
    """The wish before this one. Raises :class:`PlanError` if there is none."""
    if not plan.earlier:
        raise PlanError(Both("没有可以撤销的改动。", "There is no change to undo."))
    wish = plan.earlier[-1]
    plan = replace(plan, earlier=plan.earlier[:-1])
    return _planned_again(plan, wish, course, evidence, now, kept=_done_today(plan, evidence))


def planned(wish: Wish, course: Course, evidence: Evidence, today: date, spent: int = 0) -> Schedule:
    return schedule(wish, work_of(wish, course, evidence, today, spent), today)


def work_of(wish: Wish, course: Course, evidence: Evidence, today: date, spent: int = 0) -> Work:
    """What is left of the goal; ``spent``: minutes of today that have been worked already."""
    tasks = []
    for lesson_id in goal_of(wish, course).lessons:
        lesson = course.lessons[lesson_id]
        shares = evidence.shares.get(lesson_id, {})
        tasks += tasks_of(lesson, outline(lesson), len(cards_known(lesson)), shares, wish.style)
    load = expected(evidence.memories.values(), today)
    return Work(tasks, load, evidence.weak, evidence.reviews_a_day, spent)


def _done_today(plan: Plan, evidence: Evidence) -> tuple[Item, ...]:
    return tuple(item for item in plan.on(plan.day) if evidence.has_done(item, plan.day))


def _planned_again(
    plan: Plan, wish: Wish, course: Course, evidence: Evidence, now: datetime, kept: Sequence[Item]
) -> Plan:
    spent = sum(item.minutes for item in kept)
    found = planned(wish, course, evidence, plan.day, spent)
    fresh = [item for item in found.items if not _stands_already(item, kept)]
    items = (*kept, *fresh)
    return replace(
        plan,
        wish=wish,
        items=items,
        moved=moves(plan.items, items),
        revision=plan.revision + 1,
        changed=now,
    )


def _stands_already(item: Item, kept: Sequence[Item]) -> bool:
    """Reviews or a mock interview that were done today are not asked for twice."""
    return item.kind in ("reviews", "interview") and any(
        one.day == item.day and one.kind == item.kind for one in kept
    )


def moves(before: Iterable[Item], after: Iterable[Item]) -> tuple[Move, ...]:
    """Lessons that were to end on one day and now end on another; what is done has not moved."""
    was, now = _ends(before), _ends(after)
    return tuple(Move(one, was[one], day) for one, day in now.items() if was.get(one, day) != day)


def _ends(items: Iterable[Item]) -> dict[str, date]:
    ends: dict[str, date] = {}
    for item in items:
        if item.kind == "lesson" and item.lesson:
            ends[item.lesson] = max(item.day, ends.get(item.lesson, item.day))
    return ends

"""The plan of one learner: read, brought to today, changed and kept."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property

from teachllm.school.course import Course
from teachllm.school.language import Both
from teachllm.school.plan.evidence import Evidence, day_of, gather
from teachllm.school.plan.fit import Fit, fit
from teachllm.school.plan.goal import Goal, goal_of
from teachllm.school.plan.kept import (
    bring_back,
    load_plan,
    remove_plan,
    save_plan,
    was_removed,
    was_set_aside,
)
from teachllm.school.plan.plan import Plan, advanced, changed, new_plan, planned, pushed, undone, work_of
from teachllm.school.plan.schedule import Item
from teachllm.school.plan.wish import PlanError, Wish
from teachllm.school.progress import Store

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class State:
    """A plan beside what is true now: what is done, what of the goal is there, whether it fits."""

    plan: Plan
    goal: Goal
    fit: Fit
    evidence: Evidence

    @property
    def today(self) -> date:
        return self.plan.day

    @property
    def end(self) -> date | None:
        """The last day with a lesson."""
        return max((item.day for item in self.plan.items if item.kind == "lesson"), default=None)

    @property
    def is_over(self) -> bool:
        """Its last day of learning is behind one."""
        return self.today > self.plan.wish.last_day

    def is_done(self, item: Item) -> bool:
        return self.evidence.has_done(item, self.today)


class Planner:
    """``now`` is the present if it is not given.

    Methods that change the plan return it as it is then. They raise :class:`PlanError` if it cannot be
    planned, and if there is no plan to change.
    """

    def __init__(self, store: Store, course: Course, now: datetime | None = None) -> None:
        self._store = store
        self._course = course
        self._now = now or datetime.now(UTC)

    @property
    def today(self) -> date:
        return day_of(self._now)

    @cached_property
    def evidence(self) -> Evidence:
        plan = load_plan(self._store)
        since = min(plan.day, self.today) if plan else self.today
        return gather(self._store, self._course, self._now, since)

    @property
    def was_set_aside(self) -> bool:
        """The plan that was there could not be read; it is kept aside until a new one is made."""
        return was_set_aside(self._store)

    def plan(self) -> Plan | None:
        """Planned again if a new day has come; ``None`` if there is none."""
        with _one_at_a_time:
            return self._load()

    def current(self) -> State | None:
        """The same, with how it stands."""
        plan = self.plan()
        return self._state(plan) if plan else None

    def preview(self, wish: Wish) -> State:
        """What a plan would be; nothing is kept. Raises :class:`PlanError`."""
        plan = new_plan("0" * 12, wish, self._course, self.evidence, self._now, self.today)
        return self._state(plan)

    def make(self, wish: Wish) -> State:
        """A plan where there was none, or another wish for the one that is there."""
        with _one_at_a_time:
            plan = self._load()
            if plan is None:
                new_id = secrets.token_hex(6)
                plan = new_plan(new_id, wish, self._course, self.evidence, self._now, self.today)
            else:
                plan = changed(plan, wish, self._course, self.evidence, self._now)
            save_plan(self._store, plan)
        return self._state(plan)

    def push(self) -> State:
        """Today's rest moves to the days after."""
        return self._change(lambda plan: pushed(plan, self._course, self.evidence, self._now))

    def leave_out(self, lessons: tuple[str, ...]) -> State:
        """These, and no others; what they are needed for goes on without them."""
        return self._change(
            lambda plan: changed(
                plan, replace(plan.wish, left_out=lessons), self._course, self.evidence, self._now
            )
        )

    def undo(self) -> State:
        return self._change(lambda plan: undone(plan, self._course, self.evidence, self._now))

    def remove(self) -> None:
        with _one_at_a_time:
            remove_plan(self._store)

    @property
    def was_removed(self) -> bool:
        """There is no plan, but one to bring back."""
        return was_removed(self._store)

    def bring_back(self) -> None:
        """The plan that was removed, if there is none now."""
        with _one_at_a_time:
            if load_plan(self._store) is None:
                bring_back(self._store)

    def exported(self, plan: Plan, sessions: dict[str, date]) -> None:
        """Remembers what a calendar was given, so that the next file can cancel what is gone."""
        with _one_at_a_time:
            save_plan(self._store, replace(plan, exported=sessions))

    def _change(self, change: Callable[[Plan], Plan]) -> State:
        with _one_at_a_time:
            plan = self._load()
            if plan is None:
                raise PlanError(Both("还没有计划。", "There is no plan yet."))
            plan = change(plan)
            save_plan(self._store, plan)
        return self._state(plan)

    def _load(self) -> Plan | None:
        plan = load_plan(self._store)
        if plan is None:
            return None
        today = advanced(plan, self._course, self.evidence, self._now, self.today)
        if today is not plan:
            save_plan(self._store, today)
        return today

    def _state(self, plan: Plan) -> State:
        wish, today = plan.wish, plan.day
        done_today = [item for item in plan.on(today) if self.evidence.has_done(item, today)]
        spent = sum(item.minutes for item in done_today)
        work = work_of(wish, self._course, self.evidence, today, spent)
        found = planned(wish, self._course, self.evidence, today, spent)
        return State(
            plan, goal_of(wish, self._course), fit(wish, work, today, found, self._course), self.evidence
        )

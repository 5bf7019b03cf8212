"""The study plan: made, changed, put off by a day, undone. The page reads itself anew after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, time
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from teachllm.school.plan import PlanError, Planner, State, Wish
from teachllm.school.plan.wish import FOUR_HOURS, GoalKind, Style, days_of
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import Studio, TheStudio

router = APIRouter(prefix="/plan")


class WishForm(BaseModel):
    """What the planner's form asks for. ``hours``: of each weekday, Monday first. ``days_off``: as one writes
    them, see :func:`days_of`."""

    model_config = ConfigDict(extra="forbid")

    style: Style
    goal: GoalKind = "all"
    chapters: Annotated[list[int], Field(max_length=99)] = []
    topic: str | None = None
    until: date | None = None
    start: date | None = None
    hours: Annotated[list[Annotated[float, Field(ge=0, le=16)]], Field(min_length=7, max_length=7)] | None = (
        None
    )
    days_off: Annotated[str, Field(max_length=5000)] = ""
    begins: time = time(19, 0)


class Lessons(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lessons: Annotated[list[str], Field(max_length=999)]


@router.post("")
def make(studio: TheStudio, form: WishForm) -> dict[str, Any]:
    """A new plan, or another wish for the one that is there. ``{"saved": true}``."""
    planner = _planner(studio)
    try:
        days_off = days_of(form.days_off)
    except PlanError as error:
        raise Refusal(422, error.why) from None
    wish = Wish(
        style=form.style,
        start=form.start or planner.today,
        goal=form.goal,
        chapters=tuple(form.chapters) if form.goal in ("chapters", "interview") else (),
        topic=form.topic if form.goal == "topic" else None,
        until=form.until,
        weekdays=tuple(round(hours * 60) for hours in form.hours) if form.hours else FOUR_HOURS,
        days_off=days_off,
        begins=form.begins.replace(tzinfo=None),
    )
    before = planner.plan()
    if before is not None and _same_goal(before.wish, wish):
        wish = replace(wish, left_out=before.wish.left_out)
    return _done(lambda: planner.make(wish))


@router.post("/push")
def push(studio: TheStudio) -> dict[str, Any]:
    """What is left of today goes to the days after."""
    return _done(_planner(studio).push)


@router.post("/undo")
def undo(studio: TheStudio) -> dict[str, Any]:
    """The last change of the wish (with it, a day that was put off)."""
    return _done(_planner(studio).undo)


@router.post("/left-out")
def leave_out(studio: TheStudio, wanted: Lessons) -> dict[str, Any]:
    """The lessons that the plan does without: these, and no others."""
    return _done(lambda: _planner(studio).leave_out(tuple(wanted.lessons)))


@router.delete("")
def remove(studio: TheStudio) -> dict[str, Any]:
    """It can be brought back until there is a new one."""
    _planner(studio).remove()
    return {"deleted": True}


@router.post("/bring-back")
def bring_back(studio: TheStudio) -> dict[str, Any]:
    _planner(studio).bring_back()
    return {"saved": True}


def _planner(studio: Studio) -> Planner:
    return Planner(studio.store, studio.course)


def _same_goal(one: Wish, other: Wish) -> bool:
    return (one.goal, one.chapters, one.topic) == (other.goal, other.chapters, other.topic)


def _done(change: Callable[[], State]) -> dict[str, Any]:
    try:
        change()
    except PlanError as error:
        raise Refusal(422, error.why) from None
    return {"saved": True}

"""What a learner wants from a plan: what to learn, by when, in which hours."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field

from teachllm.school.course import Course
from teachllm.school.language import Both
from teachllm.school.progress import StoreError

Style: TypeAlias = Literal["fast", "steady"]
GoalKind: TypeAlias = Literal["all", "chapters", "topic", "interview"]
Minutes: TypeAlias = Annotated[int, Field(ge=0, le=16 * 60)]
FOUR_HOURS = (240,) * 7
SHORTEST_DAY = 15
LONGEST_SPAN = 366
MOST_DAYS_OFF = 1000


class PlanError(StoreError):
    """The wish cannot be planned; the message says what to change."""


@dataclass(frozen=True)
class Wish:
    """``weekdays``: minutes a day, Monday first. ``chapters`` is for the goals "chapters" and "interview"
    (none: the whole course), ``topic`` a lesson's id. ``until`` is the day of the interview, or the last day
    for another goal. ``begins``: when a day of learning begins, for the calendar.
    ``left_out``: lessons that the learner chose to do without.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    style: Style
    start: date
    goal: GoalKind = "all"
    chapters: tuple[int, ...] = ()
    topic: str | None = None
    until: date | None = None
    weekdays: Annotated[tuple[Minutes, ...], Field(min_length=7, max_length=7)] = FOUR_HOURS
    days_off: Annotated[frozenset[date], Field(max_length=MOST_DAYS_OFF)] = field(default_factory=frozenset)
    begins: time = time(19, 0)
    left_out: Annotated[tuple[str, ...], Field(max_length=999)] = ()

    def minutes_on(self, day: date) -> int:
        """What the learner gives on that day; nothing before the start, on a day off, and from the last day's
        morrow (for an interview: from its day) on."""
        if day < self.start or day in self.days_off or day > self.last_day:
            return 0
        return self.weekdays[day.weekday()]

    @property
    def last_day(self) -> date:
        """Of learning. Nobody learns on the morning of an interview."""
        if self.until is None:
            return date.max
        return self.until - timedelta(days=1) if self.goal == "interview" else self.until


def days_of(text: str) -> frozenset[date]:
    """Days and spans of days as one writes them: ``2026-12-24, 2026-12-30..2027-01-02``.

    Raises :class:`PlanError` with the first word that is neither.
    """
    days: set[date] = set()
    for word in re.split(r"[\s,，、;；]+", text.strip()):
        if not word:
            continue
        begin, _, end = word.partition("..")
        try:
            first, last = date.fromisoformat(begin), date.fromisoformat(end or begin)
        except ValueError:
            first, last = date.max, date.min
        if not 0 <= (last - first).days < LONGEST_SPAN:
            raise PlanError(
                Both(
                    f"看不懂“{word}”。写成 2026-12-24，或者一段 2026-12-24..2027-01-02。",
                    f"“{word}” is no day: write 2026-12-24, or 2026-12-24..2027-01-02 for a span.",
                )
            )
        days.update(first + timedelta(days=number) for number in range((last - first).days + 1))
    return frozenset(days)


def days_text(days: Iterable[date]) -> str:
    """The same the other way."""
    spans: list[list[date]] = []
    for day in sorted(days):
        if spans and day - spans[-1][-1] == timedelta(days=1):
            spans[-1].append(day)
        else:
            spans.append([day])
    return ", ".join(str(span[0]) if len(span) == 1 else f"{span[0]}..{span[-1]}" for span in spans)


def built_in(style: Style, start: date) -> Wish:
    """速成版 (fast) or 稳扎稳打版 (steady), at four hours a day."""
    return Wish(style=style, start=start)


def check(wish: Wish, course: Course) -> Wish:
    """The wish without what the course no longer has. Raises :class:`PlanError` if it cannot be planned."""
    if not any(wish.weekdays):
        raise PlanError(
            Both(
                "一周里至少有一天要有时间：每天都是 0 小时。",
                "Every weekday has 0 hours: give at least one day some time.",
            )
        )
    if short := [minutes for minutes in wish.weekdays if 0 < minutes < SHORTEST_DAY]:
        raise PlanError(
            Both(
                f"{short[0]} 分钟学不成什么：一天至少 {SHORTEST_DAY} 分钟，或者 0。",
                f"{short[0]} minutes are too few to learn in: give a day at least {SHORTEST_DAY}, or none.",
            )
        )
    if len(wish.days_off) > MOST_DAYS_OFF:
        raise PlanError(
            Both(
                f"不学的日子有 {len(wish.days_off)} 天，最多 {MOST_DAYS_OFF} 天。",
                f"There are {len(wish.days_off)} days off; a plan takes at most {MOST_DAYS_OFF}.",
            )
        )
    if wish.goal == "chapters" and not wish.chapters:
        raise PlanError(Both("还没有选章：至少选一章。", "No chapter is chosen: choose at least one."))
    unknown = [number for number in wish.chapters if not 1 <= number <= len(course.chapters)]
    if unknown:
        raise PlanError(
            Both(
                f"没有第 {unknown[0]} 章，课程有 1 到 {len(course.chapters)} 章。",
                f"There is no chapter {unknown[0]}; the course has 1 to {len(course.chapters)}.",
            )
        )
    if wish.goal == "topic" and wish.topic not in course.lessons:
        raise PlanError(
            Both(
                f"没有这一课：{wish.topic!r}。选一课作为目标，例如 1.2。",
                f"There is no lesson {wish.topic!r}. Choose one as the topic, such as 1.2.",
            )
        )
    if wish.goal == "interview" and wish.until is None:
        raise PlanError(Both("面试是哪一天？请填日期。", "When is the interview? Give its date."))
    if wish.until is not None and wish.last_day < wish.start:
        raise PlanError(
            Both(
                f"从 {wish.start} 开始，到 {wish.until} 已经没有可以学的日子。",
                f"From {wish.start} on there is no day to learn before {wish.until} ends the plan.",
            )
        )
    kept = tuple(lesson for lesson in wish.left_out if lesson in course.lessons)
    return replace(wish, left_out=kept, chapters=tuple(sorted(set(wish.chapters))))

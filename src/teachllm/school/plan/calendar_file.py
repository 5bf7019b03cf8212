"""The plan as an iCalendar file (RFC 5545), for the calendar that one looks at anyway.

An event is a sitting: all that a day has of one lesson. Its UID names the plan, the lesson and which sitting
of that lesson it is, not its day: when the plan has moved and the file is imported again, events move, and
those that are gone come as cancelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from icalendar import Calendar, Event

from teachllm.school.course import Course
from teachllm.school.language import Both, Lang
from teachllm.school.plan import words
from teachllm.school.plan.plan import Plan
from teachllm.school.plan.schedule import Item

NAME = Both("教男朋友学 LLM", "TeachLLM")


@dataclass(frozen=True)
class Sitting:
    """``key`` is the same however the plan moves; ``begins`` and ``ends`` are in UTC."""

    key: str
    items: tuple[Item, ...]
    begins: datetime
    ends: datetime


def sittings(plan: Plan, zone: tzinfo | None) -> list[Sitting]:
    """Past ones too, one after the other from the hour at which a day begins (in ``zone``, or here)."""
    found: list[Sitting] = []
    numbers: Counter[str] = Counter()
    items = [*(past.item for past in plan.past), *plan.items]
    for day in sorted({item.day for item in items}):
        # Later times are counted in UTC: a sitting of an hour has an hour on the day the clocks change, too.
        begins = datetime.combine(day, plan.wish.begins, zone).astimezone(UTC)
        for group in _groups([item for item in items if item.day == day]):
            ends = begins + timedelta(minutes=sum(item.minutes for item in group))
            found.append(Sitting(_key(group[0], numbers), tuple(group), begins, ends))
            begins = ends
    return found


def _groups(items: Sequence[Item]) -> list[list[Item]]:
    """What a day has of one lesson is one sitting."""
    groups: dict[tuple[str, str | None], list[Item]] = {}
    for item in items:
        groups.setdefault((item.kind, item.lesson), []).append(item)
    return list(groups.values())


def _key(item: Item, numbers: Counter[str]) -> str:
    if item.lesson is None:
        return f"{item.kind}-{item.day.isoformat()}"
    name = f"{item.kind}-{item.lesson}"
    numbers[name] += 1
    return f"{name}-{numbers[name]}"


def calendar_file(
    plan: Plan, course: Course, lang: Lang, zone: tzinfo | None = None
) -> tuple[bytes, dict[str, date]]:
    """The file, and the sittings that a calendar knows then, to be kept as :attr:`Plan.exported`.

    Days begin by the clocks of ``zone``, by default this computer's. The file's times are in UTC: no sitting
    repeats, so UTC says all, and nobody has to read a table of time zones.
    """
    calendar = Calendar()
    calendar.add("prodid", "-//TeachLLM//study plan//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", NAME.get(lang))
    now = sittings(plan, zone)
    known = {sitting.key: sitting.begins.astimezone(zone).date() for sitting in now}
    for sitting in now:
        calendar.add_component(_event(plan, sitting, course, lang))
    for key, day in plan.exported.items():
        if key not in known:
            calendar.add_component(_cancelled(plan, key, day, lang))
    return calendar.to_ical(), plan.exported | known


def _event(plan: Plan, sitting: Sitting, course: Course, lang: Lang) -> Event:
    first = sitting.items[0]
    event = Event()
    _add_identity(event, plan, sitting.key)
    event.add("dtstart", sitting.begins)
    event.add("dtend", sitting.ends)
    event.add("status", "CONFIRMED")
    if first.lesson is None:
        event.add("summary", words.what(first, course).get(lang))
        return event
    event.add("summary", words.title(first, course).get(lang))
    lines = [
        f"{words.todo([item]).get(lang)} · {words.duration(item.minutes).get(lang)}" for item in sitting.items
    ]
    event.add("description", "\n".join(lines))
    return event


def _cancelled(plan: Plan, key: str, day: date, lang: Lang) -> Event:
    event = Event()
    _add_identity(event, plan, key)
    event.add("dtstart", day)
    event.add("status", "CANCELLED")
    event.add("summary", NAME.get(lang))
    return event


def _add_identity(event: Event, plan: Plan, key: str) -> None:
    event.add("uid", f"{plan.id}-{key}@teachllm")
    event.add("sequence", plan.revision)
    event.add("dtstamp", plan.changed.astimezone(UTC))
    event.add("last-modified", plan.changed.astimezone(UTC))

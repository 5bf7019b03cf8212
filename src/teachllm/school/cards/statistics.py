"""What the reviews show: what comes back when, how much is kept, on which days one reviewed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from sqlalchemy import select

from teachllm.school.cards.schedule import DAY_BEGINS
from teachllm.school.progress import Store, tables

DAYS_AHEAD = 14
DAYS_OF_RETENTION = 30
WEEKS_BACK = 26


@dataclass(frozen=True)
class Statistics:
    """``ahead``: cards due on each day from today, what is overdue today. ``answered``: answers on each day.

    ``retention``: of the ``reviewed`` reviews of the last days, the share that was remembered.
    """

    ahead: list[tuple[date, int]]
    answered: list[tuple[date, int]]
    retention: float | None
    reviewed: int


def statistics(store: Store, now: datetime | None = None, zone: tzinfo | None = None) -> Statistics:
    """``zone`` is that of this computer if it is not given."""
    now = now or datetime.now(UTC)
    today = _day(now, zone)
    due = Counter(
        max(_day(one.due, zone), today)
        for one in store.cards.all_cards(now)
        if one.due is not None and not one.suspended
    )
    log = tables.reviews
    since = now - timedelta(days=7 * WEEKS_BACK + 7)
    statement = select(log.c.at, log.c.kind, log.c.rating).where(log.c.undone.is_(False), log.c.at >= since)
    with store.database.reading() as connection:
        rows = [(_day(at, zone), kind, rating) for at, kind, rating in connection.execute(statement)]
    answers = Counter(day for day, _, _ in rows)
    first = today - timedelta(days=7 * WEEKS_BACK - 7 + today.weekday())
    recent = [
        rating > 1
        for day, kind, rating in rows
        if kind == "review" and day > today - timedelta(days=DAYS_OF_RETENTION)
    ]
    return Statistics(
        ahead=[(day, due[day]) for day in _days(today, DAYS_AHEAD)],
        answered=[(day, answers[day]) for day in _days(first, (today - first).days + 1)],
        retention=sum(recent) / len(recent) if recent else None,
        reviewed=len(recent),
    )


def _day(moment: datetime, zone: tzinfo | None) -> date:
    """A day ends when one has gone to bed, as in the reviews."""
    return (moment.astimezone(zone).replace(tzinfo=None) - DAY_BEGINS).date()


def _days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]

"""What the store knows about what was done: the plan asks nobody to tick anything off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

from sqlalchemy import select

from teachllm.school.cards.schedule import Memory, day_begin, day_end
from teachllm.school.course import Course
from teachllm.school.interview import Interviews, weak_lessons
from teachllm.school.plan.schedule import Item
from teachllm.school.plan.work import DONE
from teachllm.school.progress import Store, tables

ENOUGH_REVIEWS = 0.8
"""Of the expected reviews; how many are really due is known on the day only."""


@dataclass(frozen=True)
class Evidence:
    """``shares``: the six of every lesson. ``memories``: what FSRS knows of each card, by its id, but
    for those that are suspended.

    ``due``: cards seen before that come today, now or later. ``answered``: reviews a day. ``interviewed``:
    days of finished interviews.
    ``weak``: lessons that an interview showed to be weak and that were not gone over since, with the share
    that was missing.
    """

    shares: Mapping[str, Mapping[str, float]]
    memories: Mapping[str, Memory]
    due: int = 0
    answered: Mapping[date, int] = field(default_factory=dict)
    weak: Sequence[tuple[str, float]] = ()
    interviewed: frozenset[date] = frozenset()
    reviews_a_day: int = 200

    def has_done(self, item: Item, today: date) -> bool:
        if item.kind == "lesson":
            assert item.lesson is not None
            assert item.thing is not None
            return self.shares.get(item.lesson, {}).get(item.thing, 0.0) >= min(item.until - 1e-6, DONE)
        if item.kind == "interview":
            return item.day in self.interviewed
        if item.kind == "again":
            return all(lesson != item.lesson for lesson, _ in self.weak)
        enough = self.answered.get(item.day, 0) >= ENOUGH_REVIEWS * item.cards
        return enough or (item.day == today and self.due == 0)


def gather(store: Store, course: Course, now: datetime, since: date) -> Evidence:
    """``since``: the first day of which it matters how many cards were answered."""
    memories = _memories(store)
    tonight = day_end(now)
    finished = [one.finished for one in Interviews(store).all() if one.finished]
    last = max(finished, default=None)
    weak = weak_lessons(store) if last else []
    return Evidence(
        shares=store.overview(course),
        memories=memories,
        due=sum(not memory.is_new and memory.due < tonight for memory in memories.values()),
        answered=_answered(store, since),
        weak=[one for one in weak if last and not _gone_over(one[0], memories, last, now)],
        interviewed=frozenset(day_of(moment) for moment in finished),
        reviews_a_day=store.setting("reviews_per_day"),
    )


def day_of(moment: datetime) -> date:
    """The day of reviews: it ends at four in the morning of this computer's clock."""
    return day_begin(moment).astimezone().date()


def _gone_over(lesson: str, memories: Mapping[str, Memory], since: datetime, now: datetime) -> bool:
    """Its cards were answered since the interview, and none of them is due."""
    cards = [memory for card, memory in memories.items() if card.partition(":")[0] == lesson]
    seen = any(card.last_review is not None and card.last_review > since for card in cards)
    return seen and all(card.due > now for card in cards)


def _memories(store: Store) -> dict[str, Memory]:
    kept = tables.cards
    with store.database.reading() as connection:
        aside = set(connection.execute(select(kept.c.id).where(kept.c.suspended.is_(True))).scalars())
    return {card: memory for card, memory in store.cards.memories().items() if card not in aside}


def _answered(store: Store, since: date) -> Counter[date]:
    log = tables.reviews
    begin = datetime.combine(since, time()).astimezone(UTC)
    with store.database.reading() as connection:
        statement = select(log.c.at).where(log.c.undone.is_(False), log.c.at >= begin)
        return Counter(day_of(moment) for moment in connection.execute(statement).scalars())

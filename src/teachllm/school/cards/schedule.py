"""When a card comes back: FSRS, with a fuzz that is the same whenever the same answer is given."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

import fsrs

DAY_BEGINS = timedelta(hours=4)
"""A day of reviews ends when the learner has gone to bed, not at midnight."""
RATINGS = (1, 2, 3, 4)
"""Again, hard, good, easy."""
NEW_STATE = int(fsrs.State.Learning)
REVIEW_STATE = int(fsrs.State.Review)

_scheduler = fsrs.Scheduler()
_global_random = threading.Lock()


@dataclass(frozen=True)
class Memory:
    """What FSRS knows of a card, and how often it was forgotten after it had been learned (``lapses``)."""

    state: int
    step: int | None
    stability: float | None
    difficulty: float | None
    due: datetime
    last_review: datetime | None
    reviews: int
    lapses: int = 0

    @classmethod
    def new(cls, now: datetime) -> Memory:
        return cls(NEW_STATE, 0, None, None, now, None, 0)

    @property
    def is_new(self) -> bool:
        return self.reviews == 0

    @property
    def kind(self) -> str:
        """Of its next review: ``new``, ``review``, or ``learning`` (minutes apart; no limit counts them)."""
        return "new" if self.is_new else "review" if self.state == REVIEW_STATE else "learning"


def after(card_id: str, memory: Memory, rating: int, now: datetime) -> Memory:
    """The card's memory after an answer at ``now``; ``rating`` is one of :data:`RATINGS`."""
    card = _fsrs_card(memory)
    # FSRS draws its fuzz from the global generator.
    with _global_random:
        kept = random.getstate()
        random.seed(f"{card_id} {memory.reviews}")
        try:
            answered, _ = _scheduler.review_card(card, fsrs.Rating(rating), now.astimezone(UTC))
        finally:
            random.setstate(kept)
    return Memory(
        state=int(answered.state),
        step=answered.step,
        stability=answered.stability,
        difficulty=answered.difficulty,
        due=answered.due,
        last_review=answered.last_review,
        reviews=memory.reviews + 1,
        lapses=memory.lapses + (memory.kind == "review" and rating == RATINGS[0]),
    )


def retrievability(memory: Memory, now: datetime) -> float:
    """The probability to recall the card at ``now``, by whole days since its last answer; 0 without one."""
    return _scheduler.get_card_retrievability(_fsrs_card(memory), now.astimezone(UTC))


def _fsrs_card(memory: Memory) -> fsrs.Card:
    return fsrs.Card(
        card_id=0,
        state=fsrs.State(memory.state),
        step=memory.step,
        stability=memory.stability,
        difficulty=memory.difficulty,
        due=memory.due,
        last_review=memory.last_review,
    )


def intervals(card_id: str, memory: Memory, now: datetime) -> list[float]:
    """Seconds until the card would come back, for each of the four ratings."""
    return [(after(card_id, memory, rating, now).due - now).total_seconds() for rating in RATINGS]


def day_begin(now: datetime, zone: tzinfo | None = None) -> datetime:
    """When the day of reviews that ``now`` is in began; in ``zone``, by default that of this computer."""
    shifted = now.astimezone(zone).replace(tzinfo=None) - DAY_BEGINS
    return _in_zone(datetime(shifted.year, shifted.month, shifted.day), zone)


def day_end(now: datetime, zone: tzinfo | None = None) -> datetime:
    """When the next day of reviews begins. Days in which clocks change have 23 or 25 hours."""
    shifted = now.astimezone(zone).replace(tzinfo=None) - DAY_BEGINS + timedelta(days=1)
    return _in_zone(datetime(shifted.year, shifted.month, shifted.day), zone)


def _in_zone(day: datetime, zone: tzinfo | None) -> datetime:
    local = day + DAY_BEGINS
    # Without a zone, astimezone reads a naive time as this computer's.
    return (local.astimezone() if zone is None else local.replace(tzinfo=zone)).astimezone(UTC)

"""How many cards will be due on which day, if FSRS goes on as it does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import fsrs

from teachllm.school.cards.schedule import REVIEW_STATE, Memory

HORIZON = 400
"""Days that are looked ahead; the intervals of a card have grown to months by then."""
MINUTES_A_CARD = 0.75
ASKED_AGAIN = 1 / 0.9
"""FSRS lets one forget one card in ten, and asks for it again."""

# Without fuzz: it only spreads what comes together, and the plan looks at sums.
_scheduler = fsrs.Scheduler(enable_fuzzing=False)
_BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


@lru_cache(maxsize=4096)
def _later(stability: float, difficulty: float) -> tuple[int, ...]:
    """Days after a review, answered "good", on which the card comes back, up to the horizon."""
    card = fsrs.Card(
        card_id=0,
        state=fsrs.State.Review,
        step=None,
        stability=stability,
        difficulty=difficulty,
        due=_BEGIN,
        last_review=_BEGIN - timedelta(days=max(1, round(stability))),
    )
    return _answers(card)


@lru_cache(maxsize=1)
def after_learning() -> tuple[int, ...]:
    """The same for a card that is learned today, answered "good" each time."""
    return _answers(fsrs.Card(card_id=0, due=_BEGIN))


def _answers(card: fsrs.Card) -> tuple[int, ...]:
    days: list[int] = []
    while True:
        card, _ = _scheduler.review_card(card, fsrs.Rating.Good, card.due)
        day = (card.due - _BEGIN).days
        if day > HORIZON:
            return tuple(days)
        if day > 0:  # the steps of learning are minutes apart
            days.append(day)


def expected(memories: Iterable[Memory], today: date) -> dict[date, float]:
    """Reviews a day of the cards that are being learned; what is overdue counts for today.

    A new card that waits is no review: the lesson's own time is for it.
    """
    load: dict[date, float] = {}
    for memory in memories:
        if memory.is_new:
            continue
        first = max(memory.due.astimezone().date(), today)
        load[first] = load.get(first, 0.0) + 1
        for days in _following(memory):
            day = first + timedelta(days=days)
            load[day] = load.get(day, 0.0) + 1
    return load


def _following(memory: Memory) -> tuple[int, ...]:
    """Stability by steps of a tenth and difficulty by whole numbers: cards share what was computed."""
    if memory.state != REVIEW_STATE or not memory.stability or not memory.difficulty:
        return after_learning()
    steps = max(memory.stability, 0.1)
    digits = 1 if steps < 10 else 0 if steps < 100 else -1
    return _later(max(0.1, round(steps, digits)), float(round(memory.difficulty)))

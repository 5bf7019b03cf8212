"""What the reviews show: cards ahead, answers by day, what was remembered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from teachllm.school.cards import OwnCard
from teachllm.school.cards.statistics import DAYS_AHEAD, statistics
from teachllm.school.progress import open_store

NOW = datetime(2026, 3, 4, 2, tzinfo=UTC)
"""A night: by the reviews' days it is still the third."""


def test_days_are_those_of_the_reviews_and_undone_answers_do_not_count() -> None:
    store = open_store()
    first, second, aside = (store.own_cards.add(OwnCard(f"q{n}", "a"), NOW) for n in range(3))
    store.cards.suspend(aside, True)
    at = NOW
    for _ in range(3):  # into the reviews, then one that is remembered
        at = max(at, store.cards.answer(first, 3, at).due)
    at = max(at, store.cards.answer(first, 1, at).due)  # one that is forgotten
    store.cards.answer(second, 4, at)
    store.cards.undo(at)
    kept = statistics(store, at, UTC)
    assert (kept.reviewed, kept.retention) == (2, 0.5)
    assert sum(number for _, number in kept.answered) == 4
    assert dict(kept.answered)[NOW.date() - timedelta(days=1)] == 2
    assert len(kept.ahead) == DAYS_AHEAD
    assert kept.ahead[0][1] == 2, "what is overdue is due today, what is suspended never"
    store.close()

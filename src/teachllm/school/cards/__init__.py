"""Interview cards: read from the lessons, brought back by spaced repetition.

``store.cards`` of an open store is the :class:`Reviews`; ``cards_of(lesson)`` reads a lesson's cards.
"""

from teachllm.school.cards.deck import Card, CardEntry, cards_of
from teachllm.school.cards.own import OwnCard, OwnCards, UnsuitableCard
from teachllm.school.cards.reviews import (
    AlreadyAnswered,
    CardState,
    Counts,
    NextCard,
    Reviews,
    UnknownCard,
    UnknownRating,
)

__all__ = [
    "AlreadyAnswered",
    "Card",
    "CardEntry",
    "CardState",
    "Counts",
    "NextCard",
    "OwnCard",
    "OwnCards",
    "Reviews",
    "UnknownCard",
    "UnknownRating",
    "UnsuitableCard",
    "cards_of",
]

"""Which questions an interview asks: from easy to hard, over many lessons, not those of last time."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from teachllm.school.cards.deck import Card, cards_known
from teachllm.school.course import Course
from teachllm.school.language import Both
from teachllm.school.progress.errors import StoreError

FEWEST, MOST = 5, 15
_SHARES = {1: 0.35, 2: 0.4, 3: 0.25}
"""Of easy, middling and hard questions, where there are enough of each."""


class TooFewQuestions(StoreError):
    """The choice leaves fewer questions than were asked for, or is no choice."""


@dataclass(frozen=True)
class InterviewConfig:
    """``chapters`` and ``topics`` that are empty mean all. ``seconds`` is the time for one answer.

    Raises :class:`TooFewQuestions` for a number that no interview has.
    """

    role: str | None = None
    chapters: tuple[int, ...] = ()
    topics: tuple[str, ...] = ()
    count: int = 8
    seconds: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        if not FEWEST <= self.count <= MOST:
            raise TooFewQuestions(
                Both(
                    f"一场面试 {FEWEST} 到 {MOST} 题，得到 {self.count}。",
                    f"An interview has {FEWEST} to {MOST} questions; {self.count} were asked for.",
                )
            )
        if not 30 <= self.seconds <= 600:
            raise TooFewQuestions(
                Both(
                    f"每题 30 到 600 秒，得到 {self.seconds}。",
                    f"A question has 30 to 600 seconds; it was {self.seconds}.",
                )
            )


def pool(course: Course, config: InterviewConfig) -> list[Card]:
    """Every card that fits the choice, of the lessons that are there."""
    lessons = [one for one in course.available() if not config.chapters or one.chapter in config.chapters]
    return [
        card
        for lesson in lessons
        for card in cards_known(lesson)
        if (config.role is None or config.role in card.roles)
        and (not config.topics or card.topic in config.topics)
    ]


def choose(course: Course, config: InterviewConfig, recent: Collection[str] = ()) -> list[Card]:
    """The questions in the order in which they are asked; the same for the same seed and cards.

    ``recent``: ids asked lately, which come only if there is nothing else. Raises :class:`TooFewQuestions`.
    """
    cards = pool(course, config)
    if len(cards) < config.count:
        raise TooFewQuestions(
            Both(
                f"这样选只有 {len(cards)} 道题，不够 {config.count} 道。少选几道，或者放宽岗位、章节和主题。",
                f"This choice has only {len(cards)} questions, not {config.count}. Ask for fewer, or widen "
                "the role, the chapters or the topics.",
            )
        )
    rng = random.Random(config.seed)
    by_level: dict[int, list[Card]] = defaultdict(list)
    for card in cards:
        by_level[card.difficulty].append(card)
    queues = {level: _spread(found, rng, recent) for level, found in by_level.items()}
    chosen = []
    for level, share in _SHARES.items():
        wanted = round(share * config.count)
        chosen += queues.get(level, [])[:wanted]
        queues[level] = queues.get(level, [])[wanted:]
    rest = [card for level in (2, 1, 3) for card in queues[level]]
    chosen = (chosen + rest[: max(0, config.count - len(chosen))])[: config.count]
    return sorted(chosen, key=lambda card: card.difficulty)


def _spread(cards: Sequence[Card], rng: random.Random, recent: Collection[str]) -> list[Card]:
    """Shuffled, one of each lesson before a second of any."""
    shuffled = list(cards)
    rng.shuffle(shuffled)
    seen: dict[str, int] = defaultdict(int)
    order = {}
    for card in sorted(shuffled, key=lambda card: card.id in recent):
        order[card.id] = (card.id in recent, seen[card.lesson])
        seen[card.lesson] += 1
    return sorted(shuffled, key=lambda card: order[card.id])


def roles_of(cards: Iterable[Card]) -> list[str]:
    return sorted({role for card in cards for role in card.roles})

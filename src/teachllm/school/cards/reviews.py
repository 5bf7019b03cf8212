"""Reviewing: which card is next, what an answer does to it, and taking the last answer back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, insert, select, update

from teachllm.school.cards.deck import Card, cards_known, cards_of
from teachllm.school.cards.schedule import RATINGS, Memory, after, day_begin, day_end, intervals
from teachllm.school.course import load_course
from teachllm.school.language import Both
from teachllm.school.progress import tables
from teachllm.school.progress.database import put_first
from teachllm.school.progress.errors import StoreError

if TYPE_CHECKING:
    from teachllm.school.progress.store import Store


class UnknownCard(StoreError):
    """The course has no such card, or it is not being learned."""


class AlreadyAnswered(StoreError):
    """The card is not due any more: it was answered in another window. Nothing was counted."""


class UnknownRating(StoreError):
    """A rating is 1, 2, 3 or 4."""


@dataclass(frozen=True)
class Counts:
    """Cards to answer now, within the day's limits: ``due`` were seen before, ``new`` were not."""

    due: int
    new: int

    @property
    def left(self) -> int:
        return self.due + self.new


@dataclass(frozen=True)
class NextCard:
    """``intervals``: seconds until it comes back, for each rating. ``reviews``: how often it was answered."""

    card: Card
    is_new: bool
    reviews: int
    intervals: list[float]


@dataclass(frozen=True)
class CardState:
    """A lesson's card; ``due`` is ``None`` if it is not being learned. ``is_due``: to be answered now."""

    card: Card
    due: datetime | None
    is_due: bool
    reviews: int


@dataclass(frozen=True)
class _Kept:
    card: Card
    memory: Memory


class Reviews:
    """Thread-safe. ``zone`` says when a day begins; by default that of this computer.

    ``now`` is the present if it is not given. Methods about all lessons leave out cards that the course does
    not have (any more).
    """

    def __init__(self, store: Store, zone: tzinfo | None = None) -> None:
        self._store = store
        self._zone = zone

    def learn(self, lesson: str, now: datetime | None = None) -> int:
        """Takes the cards of a lesson in; returns how many were not yet in.

        Raises :class:`teachllm.school.course.UnknownLesson`, :class:`CourseFileError` if the file is wrong.
        """
        now = now or datetime.now(UTC)
        cards = cards_of(load_course().lesson(lesson))
        kept = tables.cards
        with self._store.database.writing() as connection:
            statement = select(kept.c.id).where(kept.c.lesson == lesson)
            there = set(connection.execute(statement).scalars())
            for place, card in enumerate(cards):
                if card.id not in there:
                    memory = asdict(Memory.new(now))
                    put_first(connection, kept, id=card.id, lesson=lesson, place=place, added=now, **memory)
        return sum(card.id not in there for card in cards)

    def cards(self, lesson: str, now: datetime | None = None) -> list[CardState]:
        """The cards of a lesson in its order. Raises what :meth:`learn` raises."""
        now = now or datetime.now(UTC)
        cards = cards_of(load_course().lesson(lesson))
        with self._store.database.reading() as connection:
            kept = {one.card.id: one.memory for one in self._kept(connection, lesson)}
            may = {one.card.id for one in self._waiting(connection, lesson, now)}
        return [
            CardState(
                card=card,
                due=kept[card.id].due if card.id in kept else None,
                is_due=card.id in may,
                reviews=kept[card.id].reviews if card.id in kept else 0,
            )
            for card in cards
        ]

    def counts(self, lesson: str | None = None, now: datetime | None = None) -> Counts:
        with self._store.database.reading() as connection:
            waiting = self._waiting(connection, lesson, now or datetime.now(UTC))
        new = sum(one.memory.is_new for one in waiting)
        return Counts(due=len(waiting) - new, new=new)

    def next_card(self, lesson: str | None = None, now: datetime | None = None) -> NextCard | None:
        """The card to answer now; ``None`` if there is none."""
        now = now or datetime.now(UTC)
        with self._store.database.reading() as connection:
            waiting = self._waiting(connection, lesson, now)
        if not waiting:
            return None
        card, memory = waiting[0].card, waiting[0].memory
        return NextCard(card, memory.is_new, memory.reviews, intervals(card.id, memory, now))

    def next_due(self, lesson: str | None = None, now: datetime | None = None) -> datetime | None:
        """When there is something to answer (again); ``None`` if no card is being learned."""
        now = now or datetime.now(UTC)
        with self._store.database.reading() as connection:
            if self._waiting(connection, lesson, now):
                return now
            kept = list(self._kept(connection, lesson))
        tomorrow = day_end(now, self._zone)
        # What is due and does not wait is over today's limit.
        return min((one.memory.due if one.memory.due > now else tomorrow for one in kept), default=None)

    def answer(
        self, card_id: str, rating: int, now: datetime | None = None, reviews: int | None = None
    ) -> Memory:
        """Counts the answer; returns when the card comes back, and all that FSRS knows of it.

        ``reviews`` is that of :class:`NextCard`: with it, an answer to what another window has answered
        meanwhile is refused even if the card is due again.
        Raises :class:`UnknownCard`, :class:`UnknownRating`, :class:`AlreadyAnswered`.
        """
        now = now or datetime.now(UTC)
        if type(rating) is not int or rating not in RATINGS:
            raise UnknownRating(
                Both(f"评分是 1 到 4，得到 {rating!r}", f"a rating is 1, 2, 3 or 4; it was {rating!r}")
            )
        kept = tables.cards
        with self._store.database.writing() as connection:
            row = connection.execute(select(kept).where(kept.c.id == card_id).with_for_update()).first()
            if row is None:
                raise UnknownCard(Both(f"没有在学的卡片 {card_id}。", f"No card {card_id} is being learned."))
            memory = _memory(row)
            if memory.due > now or (reviews is not None and reviews != memory.reviews):
                raise AlreadyAnswered(
                    Both(
                        "这张卡片已经在别的窗口答过了，这次不算。",
                        "This card was answered in another window already; this answer does not count.",
                    )
                )
            answered = after(card_id, memory, rating, now)
            connection.execute(update(kept).where(kept.c.id == card_id).values(asdict(answered)))
            connection.execute(
                insert(tables.reviews).values(
                    card=card_id,
                    rating=rating,
                    kind=memory.kind,
                    before=_to_json(memory),
                    undone=False,
                    at=now,
                )
            )
        return answered

    def undo(self, now: datetime | None = None) -> str | None:
        """Takes today's last answer back; returns the card's id, ``None`` if there is nothing to take back.

        The log keeps the answer, marked as undone.
        """
        now = now or datetime.now(UTC)
        log = tables.reviews
        statement = (
            select(log.c.id, log.c.card, log.c.before)
            .where(log.c.undone.is_(False), log.c.at >= day_begin(now, self._zone))
            .order_by(log.c.id.desc())
            .limit(1)
        )
        with self._store.database.writing() as connection:
            last = connection.execute(statement.with_for_update()).first()
            if last is None:
                return None
            before = asdict(_of_json(last.before))
            connection.execute(update(tables.cards).where(tables.cards.c.id == last.card).values(before))
            connection.execute(update(log).where(log.c.id == last.id).values(undone=True))
            return last.card

    def _kept(self, connection: Connection, lesson: str | None) -> Iterable[_Kept]:
        """The cards that are being learned and that the course has."""
        kept = tables.cards
        statement = select(kept).order_by(kept.c.added, kept.c.lesson, kept.c.place, kept.c.id)
        if lesson is not None:
            statement = statement.where(kept.c.lesson == lesson)
        rows = list(connection.execute(statement))
        lessons = load_course().lessons
        decks = {name: cards_known(lessons[name]) for name in {row.lesson for row in rows} & lessons.keys()}
        cards = {card.id: card for deck in decks.values() for card in deck}
        return [_Kept(cards[row.id], _memory(row)) for row in rows if row.id in cards]

    def _waiting(self, connection: Connection, lesson: str | None, now: datetime) -> list[_Kept]:
        """Those to answer now: what was seen before by due date, then new ones, within the day's limits."""
        due = [one for one in self._kept(connection, lesson) if one.memory.due <= now]
        if not due:
            return []
        answered = self._answered_today(connection, now)
        limits = self._store.settings_in(connection)
        room_for_new = max(0, limits["new_cards_per_day"] - answered.get("new", 0))
        room_for_reviews = max(0, limits["reviews_per_day"] - answered.get("review", 0))
        by_kind: dict[str, list[_Kept]] = {"learning": [], "review": [], "new": []}
        for one in due:
            by_kind[one.memory.kind].append(one)
        reviews = sorted(by_kind["review"], key=lambda one: one.memory.due)[:room_for_reviews]
        seen = sorted(by_kind["learning"] + reviews, key=lambda one: one.memory.due)
        return seen + by_kind["new"][:room_for_new]

    def _answered_today(self, connection: Connection, now: datetime) -> dict[str, int]:
        log = tables.reviews
        statement = (
            select(log.c.kind, func.count())
            .where(log.c.undone.is_(False), log.c.at >= day_begin(now, self._zone))
            .group_by(log.c.kind)
        )
        return dict(connection.execute(statement).all())


def _memory(row: Row[Any]) -> Memory:
    return Memory(
        state=row.state,
        step=row.step,
        stability=row.stability,
        difficulty=row.difficulty,
        due=row.due,
        last_review=row.last_review,
        reviews=row.reviews,
    )


def _to_json(memory: Memory) -> dict[str, Any]:
    return asdict(memory) | {
        "due": memory.due.isoformat(),
        "last_review": memory.last_review.isoformat() if memory.last_review else None,
    }


def _of_json(kept: dict[str, Any]) -> Memory:
    last = kept["last_review"]
    return Memory(
        **kept
        | {
            "due": datetime.fromisoformat(kept["due"]),
            "last_review": datetime.fromisoformat(last) if last else None,
        }
    )

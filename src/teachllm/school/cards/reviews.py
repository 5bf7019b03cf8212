"""Reviewing: which card is next, what an answer does to it, and taking the last answer back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, insert, select, update

from teachllm.school.cards.deck import Card, cards_known, cards_of
from teachllm.school.cards.own import OWN_LESSON, own_cards
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
    """``due`` is ``None`` if it is not being learned. ``is_due``: to be answered now.

    ``stability``: days until it is recalled with a probability of 0.9. ``suspended``: it does not come until
    it is taken up again. ``buried``: it does not come today.
    """

    card: Card
    due: datetime | None
    is_due: bool
    reviews: int
    kind: str = "new"
    stability: float | None = None
    lapses: int = 0
    suspended: bool = False
    buried: bool = False


@dataclass(frozen=True)
class _Kept:
    card: Card
    memory: Memory
    suspended: bool
    buried_until: datetime | None

    def is_aside(self, now: datetime) -> bool:
        return self.suspended or (self.buried_until is not None and self.buried_until > now)


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
        return self._states(cards, lesson, now)

    def memories(self) -> dict[str, Memory]:
        """What FSRS knows of each card that is being learned, by its id; of suspended ones too."""
        with self._store.database.reading() as connection:
            return {row.id: _memory(row) for row in connection.execute(select(tables.cards))}

    def suspended(self) -> set[str]:
        """The ids of the cards that were set aside until they are taken up again."""
        kept = tables.cards
        with self._store.database.reading() as connection:
            return set(connection.execute(select(kept.c.id).where(kept.c.suspended)).scalars())

    def all_cards(self, now: datetime | None = None) -> list[CardState]:
        """Those of every lesson that is there, then the learner's own."""
        cards = [card for lesson in load_course().available() for card in cards_known(lesson)]
        with self._store.database.reading() as connection:
            cards += own_cards(connection)
        return self._states(cards, None, now or datetime.now(UTC))

    def _states(self, cards: Sequence[Card], lesson: str | None, now: datetime) -> list[CardState]:
        with self._store.database.reading() as connection:
            kept = {one.card.id: one for one in self._kept(connection, lesson)}
            may = {one.card.id for one in self._waiting(connection, lesson, now)}
        return [
            CardState(
                card=card,
                due=one.memory.due,
                is_due=card.id in may,
                reviews=one.memory.reviews,
                kind=one.memory.kind,
                stability=one.memory.stability,
                lapses=one.memory.lapses,
                suspended=one.suspended,
                buried=one.is_aside(now) and not one.suspended,
            )
            if (one := kept.get(card.id))
            else CardState(card, None, False, 0)
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
        # What is due and does not wait is over today's limit, or buried.
        return min(
            (
                max(one.memory.due, one.buried_until or now) if one.memory.due > now else tomorrow
                for one in kept
                if not one.suspended
            ),
            default=None,
        )

    def answer(
        self, card_id: str, rating: int, now: datetime | None = None, reviews: int | None = None
    ) -> Memory:
        """Counts the answer; returns when the card comes back, and all that FSRS knows of it.

        A card that was forgotten ``leech_lapses`` times (and again every half as many) is a leech: it is
        suspended if the learner has chosen so.

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
                raise _unknown(card_id)
            memory = _memory(row)
            if row.suspended or memory.due > now or (reviews is not None and reviews != memory.reviews):
                raise AlreadyAnswered(
                    Both(
                        "这张卡片已经在别的窗口答过了，这次不算。",
                        "This card was answered in another window already; this answer does not count.",
                    )
                )
            answered = after(card_id, memory, rating, now)
            chosen = self._store.settings_in(connection)
            suspended = (
                answered.lapses > memory.lapses
                and becomes_leech(answered.lapses, chosen["leech_lapses"])
                and chosen["leech_action"] == "suspend"
            )
            values = asdict(answered) | {"suspended": suspended, "buried_until": None}
            connection.execute(update(kept).where(kept.c.id == card_id).values(values))
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
            before = asdict(memory_of_json(last.before)) | {"suspended": False, "buried_until": None}
            connection.execute(update(tables.cards).where(tables.cards.c.id == last.card).values(before))
            connection.execute(update(log).where(log.c.id == last.id).values(undone=True))
            return last.card

    def suspend(self, card_id: str, on: bool) -> None:
        """Sets a card aside until it is taken up again. Raises :class:`UnknownCard`."""
        self._set(card_id, suspended=on, buried_until=None)

    def bury(self, card_id: str, now: datetime | None = None) -> None:
        """Sets a card aside until tomorrow. Raises :class:`UnknownCard`."""
        self._set(card_id, buried_until=day_end(now or datetime.now(UTC), self._zone))

    def unbury(self, card_id: str) -> None:
        self._set(card_id, buried_until=None)

    def _set(self, card_id: str, **values: Any) -> None:
        change = update(tables.cards).where(tables.cards.c.id == card_id).values(**values)
        with self._store.database.writing() as connection:
            if connection.execute(change).rowcount == 0:
                raise _unknown(card_id)

    def bring_back(self, card_ids: Iterable[str], now: datetime | None = None) -> int:
        """Makes cards due now, and takes in those that are not being learned; returns how many it changed.

        What FSRS knows of them stays: an answer that comes early tells it less, and it accounts for that.
        Cards that the course does not have are left out.
        """
        now = now or datetime.now(UTC)
        wanted = set(card_ids)
        known = {state.card.id: state for state in self.all_cards(now)}
        changed = 0
        with self._store.database.writing() as connection:
            for place, (card_id, state) in enumerate(known.items()):
                if card_id not in wanted:
                    continue
                if state.due is None:
                    memory = asdict(Memory.new(now))
                    lesson = state.card.lesson
                    put_first(
                        connection, tables.cards, id=card_id, lesson=lesson, place=place, added=now, **memory
                    )
                elif state.due > now or state.suspended or state.buried:
                    values = {"due": min(state.due, now), "suspended": False, "buried_until": None}
                    connection.execute(
                        update(tables.cards).where(tables.cards.c.id == card_id).values(values)
                    )
                else:
                    continue
                changed += 1
        return changed

    def _kept(self, connection: Connection, lesson: str | None) -> Iterable[_Kept]:
        """The cards that are being learned and that the course has."""
        kept = tables.cards
        statement = select(kept).order_by(kept.c.added, kept.c.lesson, kept.c.place, kept.c.id)
        own = {card.id: card for card in own_cards(connection, lesson)}
        if lesson is not None:
            statement = statement.where((kept.c.lesson == lesson) | (kept.c.lesson == OWN_LESSON))
        rows = list(connection.execute(statement))
        lessons = load_course().lessons
        decks = {name: cards_known(lessons[name]) for name in {row.lesson for row in rows} & lessons.keys()}
        cards = own | {card.id: card for deck in decks.values() for card in deck}
        return [
            _Kept(cards[row.id], _memory(row), row.suspended, row.buried_until)
            for row in rows
            if row.id in cards
        ]

    def _waiting(self, connection: Connection, lesson: str | None, now: datetime) -> list[_Kept]:
        """Those to answer now: what was seen before by due date, then new ones, within the day's limits."""
        kept = self._kept(connection, lesson)
        due = [one for one in kept if one.memory.due <= now and not one.is_aside(now)]
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


def becomes_leech(lapses: int, threshold: int) -> bool:
    """At the threshold, and again at every half of it beyond; never with a threshold of 0."""
    if threshold == 0 or lapses < threshold:
        return False
    return (lapses - threshold) % max(1, threshold // 2) == 0


def _unknown(card_id: str) -> UnknownCard:
    return UnknownCard(Both(f"没有在学的卡片 {card_id}。", f"No card {card_id} is being learned."))


def _memory(row: Row[Any]) -> Memory:
    return Memory(
        state=row.state,
        step=row.step,
        stability=row.stability,
        difficulty=row.difficulty,
        due=row.due,
        last_review=row.last_review,
        reviews=row.reviews,
        lapses=row.lapses,
    )


def _to_json(memory: Memory) -> dict[str, Any]:
    return asdict(memory) | {
        "due": memory.due.isoformat(),
        "last_review": memory.last_review.isoformat() if memory.last_review else None,
    }


def memory_of_json(kept: dict[str, Any]) -> Memory:
    last = kept["last_review"]
    return Memory(
        **kept
        | {
            "due": datetime.fromisoformat(kept["due"]),
            "last_review": datetime.fromisoformat(last) if last else None,
        }
    )

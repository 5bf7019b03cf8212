"""Cards that a learner wrote, or brought along from Anki or a table."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, update

from teachllm.school.cards.deck import OWN, Card
from teachllm.school.cards.schedule import Memory
from teachllm.school.language import Both
from teachllm.school.progress import tables
from teachllm.school.progress.database import Database, add
from teachllm.school.progress.errors import StoreError

OWN_LESSON = "own"
"""What stands for the lesson of own cards in the table of cards: they do not count towards a lesson's own."""
MOST_CHARACTERS = 20_000


class UnsuitableCard(StoreError):
    """A card needs a question and an answer, of a size that one can learn."""


@dataclass(frozen=True)
class OwnCard:
    """``question`` and ``answer`` are Markdown. ``guid`` is the same wherever the card goes.

    ``lesson`` and ``anchor``: the section it was made at, if any. ``level`` is from 1 to 3.
    """

    question: str
    answer: str
    lesson: str | None = None
    anchor: str = ""
    topic: str = ""
    level: int = 2
    guid: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        texts = (self.question, self.answer)
        if not all(text.strip() for text in texts) or max(map(len, texts)) > MOST_CHARACTERS:
            raise UnsuitableCard(
                Both(
                    f"问题和答案都要写，各自最多 {MOST_CHARACTERS} 个字。",
                    f"Give a question and an answer, each of at most {MOST_CHARACTERS} characters.",
                )
            )
        if self.level not in (1, 2, 3):
            raise UnsuitableCard(
                Both(
                    f"难度是 1、2 或 3，得到 {self.level!r}", f"the level is 1, 2 or 3; it was {self.level!r}"
                )
            )


def own_cards(connection: Connection, lesson: str | None = None) -> list[Card]:
    """As the reviews know them; those of one lesson, or all."""
    own = tables.own_cards
    statement = select(own).where(own.c.deleted.is_(None)).order_by(own.c.id)
    if lesson is not None:
        statement = statement.where(own.c.lesson == lesson)
    nothing = Both.same("")
    return [
        Card(
            id=f"{OWN}{row.id}",
            lesson=row.lesson or "",
            topic=row.topic,
            difficulty=row.level,
            roles=(),
            question=Both.same(row.question),
            answer=Both.same(row.answer),
            followup_question=nothing,
            followup_answer=nothing,
            proof=f"#{row.anchor}" if row.lesson and row.anchor else "",
        )
        for row in connection.execute(statement)
    ]


class OwnCards:
    """Thread-safe. An id is that of the card in the reviews: ``own:7``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, card: OwnCard, now: datetime | None = None) -> str:
        """Keeps it and takes it into the reviews; returns its id."""
        with self._database.writing() as connection:
            return add_own(connection, card, now or datetime.now(UTC))

    def change(self, card_id: str, question: str, answer: str) -> bool:
        """Whether there is such a card. Raises :class:`UnsuitableCard`."""
        OwnCard(question, answer)
        return self._update(card_id, question=question, answer=answer, changed=datetime.now(UTC))

    def delete(self, card_id: str) -> bool:
        """It does not come any more; :meth:`restore` brings it back as it was."""
        return self._update(card_id, deleted=datetime.now(UTC))

    def restore(self, card_id: str) -> bool:
        return self._update(card_id, deleted=None)

    def all(self) -> list[tuple[str, OwnCard]]:
        """Ids and cards that were not deleted, the oldest first."""
        own = tables.own_cards
        with self._database.reading() as connection:
            rows = connection.execute(select(own).where(own.c.deleted.is_(None)).order_by(own.c.id))
            return [
                (
                    f"{OWN}{row.id}",
                    OwnCard(row.question, row.answer, row.lesson, row.anchor, row.topic, row.level, row.guid),
                )
                for row in rows
            ]

    def _update(self, card_id: str, **values: object) -> bool:
        number = card_id.removeprefix(OWN)
        if not card_id.startswith(OWN) or not number.isdecimal() or len(number) > 9:
            return False
        change = update(tables.own_cards).where(tables.own_cards.c.id == int(number)).values(**values)
        with self._database.writing() as connection:
            return connection.execute(change).rowcount > 0


def add_own(connection: Connection, card: OwnCard, now: datetime, memory: Memory | None = None) -> str:
    """Within a transaction; ``memory``: what is known of it from elsewhere."""
    values = asdict(card) | {"created": now, "changed": now}
    number = add(connection, tables.own_cards, values)
    kept = asdict(memory or Memory.new(now))
    card_id = f"{OWN}{number}"
    connection.execute(
        insert(tables.cards).values(id=card_id, lesson=OWN_LESSON, place=number, added=now, **kept)
    )
    return card_id

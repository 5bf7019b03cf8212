"""The tables of the store. ``migrations/`` makes and changes them; a test compares the two."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
)

HEAD = "0003"
"""The revision that this code reads and writes."""

_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


class Words(TypeDecorator[str]):
    """Text from a learner. What no database keeps (NUL, halves of surrogate pairs) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _UNWRITABLE.sub("\ufffd", value)


class Moment(TypeDecorator[datetime]):
    """A point in time: aware in Python, UTC in the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a time zone was given to the store: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()


def _lesson() -> Column[str]:
    return Column("lesson", String(16), primary_key=True)


def _named(name: str) -> Column[str]:
    return Column(name, String(200), primary_key=True)


settings = Table("settings", metadata, _named("name"), Column("value", JSON, nullable=False))

sections_read = Table(
    "sections_read", metadata, _lesson(), _named("anchor"), Column("at", Moment, nullable=False)
)

positions = Table(
    "positions",
    metadata,
    _lesson(),
    Column("anchor", String(200), nullable=False),
    Column("at", Moment, nullable=False),
)

figures_moved = Table(
    "figures_moved", metadata, _lesson(), _named("figure"), Column("at", Moment, nullable=False)
)

predictions = Table(
    "predictions",
    metadata,
    _lesson(),
    _named("figure"),
    Column("given", JSON, nullable=False),
    Column("right", Boolean, nullable=False),
    Column("at", Moment, nullable=False),
)

lab_runs = Table(
    "lab_runs",
    metadata,
    _lesson(),
    _named("lab"),
    Column("args", JSON, nullable=False),
    Column("events", JSON, nullable=False),
    Column("mine", Boolean, nullable=False),
    Column("finished", Moment, nullable=False),
)

drafts = Table(
    "drafts",
    metadata,
    _lesson(),
    Column("source", Words, nullable=False),
    Column("at", Moment, nullable=False),
)

submissions = Table(
    "submissions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("lesson", String(16), nullable=False),
    Column("source", Words, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("verdict", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Index("submissions_by_lesson", "lesson", "id"),
    sqlite_autoincrement=True,
)

asked = Table("asked", metadata, _lesson(), Column("at", Moment, nullable=False))

notes = Table(
    "notes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("lesson", String(16), nullable=False, index=True),
    Column("anchor", String(200), nullable=False),
    Column("quote", Words, nullable=False),
    Column("text", Words, nullable=False),
    Column("created", Moment, nullable=False),
    Column("changed", Moment, nullable=False),
    sqlite_autoincrement=True,
)

bookmarks = Table("bookmarks", metadata, _lesson(), _named("anchor"), Column("at", Moment, nullable=False))

threads = Table(
    "threads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", Words, nullable=False),
    Column("context", String(250)),
    Column("created", Moment, nullable=False),
    Column("updated", Moment, nullable=False),
    sqlite_autoincrement=True,
)

messages = Table(
    "messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("thread", ForeignKey("threads.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("role", String(16), nullable=False),
    Column("text", Words, nullable=False),
    Column("created", Moment, nullable=False),
    Column("reply", JSON(none_as_null=True)),
    sqlite_autoincrement=True,
)

cards = Table(
    "cards",
    metadata,
    Column("id", String(220), primary_key=True),
    Column("lesson", String(16), nullable=False, index=True),
    Column("place", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("step", Integer),
    Column("stability", Float),
    Column("difficulty", Float),
    Column("due", Moment, nullable=False, index=True),
    Column("last_review", Moment),
    Column("reviews", Integer, nullable=False),
    Column("added", Moment, nullable=False),
    Column("lapses", Integer, nullable=False, server_default="0"),
    Column("suspended", Boolean, nullable=False, server_default=false()),
    Column("buried_until", Moment),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("card", ForeignKey("cards.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("rating", Integer, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("before", JSON, nullable=False),
    Column("undone", Boolean, nullable=False),
    Column("at", Moment, nullable=False, index=True),
    sqlite_autoincrement=True,
)

own_cards = Table(
    "own_cards",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("guid", String(200), nullable=False),
    Column("lesson", String(16)),
    Column("anchor", String(200), nullable=False),
    Column("topic", String(100), nullable=False),
    Column("level", Integer, nullable=False),
    Column("question", Words, nullable=False),
    Column("answer", Words, nullable=False),
    Column("created", Moment, nullable=False),
    Column("changed", Moment, nullable=False),
    Column("deleted", Moment),
    Index("own_cards_by_guid", "guid", unique=True),
    sqlite_autoincrement=True,
)

interviews = Table(
    "interviews",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("config", JSON, nullable=False),
    Column("started", Moment, nullable=False),
    Column("finished", Moment),
    sqlite_autoincrement=True,
)

interview_answers = Table(
    "interview_answers",
    metadata,
    Column("interview", ForeignKey("interviews.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("card", String(220), nullable=False),
    Column("answer", Words, nullable=False),
    Column("followup", Words, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("followup_seconds", Float, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("verdict", JSON),
    Column("changed", Moment, nullable=False),
)

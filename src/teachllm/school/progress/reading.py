"""What was read, where one stopped, notes and bookmarks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update

from teachllm.school.progress import tables
from teachllm.school.progress.database import Database, add, put, put_first


@dataclass(frozen=True)
class Position:
    """The section that one was in; ``lesson`` is an id such as ``1.2``."""

    lesson: str
    anchor: str
    at: datetime


@dataclass(frozen=True)
class Note:
    """A learner's words beside a passage (``quote``) of a section."""

    id: int
    lesson: str
    anchor: str
    quote: str
    text: str
    created: datetime
    changed: datetime

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "anchor": self.anchor, "quote": self.quote, "text": self.text}


@dataclass(frozen=True)
class Bookmark:
    lesson: str
    anchor: str
    at: datetime


class Reading:
    database: Database

    def mark_read(self, lesson: str, anchor: str) -> None:
        with self.database.writing() as connection:
            put_first(connection, tables.sections_read, lesson=lesson, anchor=anchor, at=datetime.now(UTC))

    def sections_read(self, lesson: str) -> list[str]:
        """Anchors, those read first before."""
        read = tables.sections_read
        statement = select(read.c.anchor).where(read.c.lesson == lesson).order_by(read.c.at, read.c.anchor)
        with self.database.reading() as connection:
            return list(connection.execute(statement).scalars())

    def save_position(self, lesson: str, anchor: str) -> None:
        with self.database.writing() as connection:
            put(connection, tables.positions, lesson=lesson, anchor=anchor, at=datetime.now(UTC))

    def last_position(self) -> Position | None:
        """Where one was reading last, in any lesson."""
        places = tables.positions
        statement = (
            select(places.c.lesson, places.c.anchor, places.c.at).order_by(places.c.at.desc()).limit(1)
        )
        with self.database.reading() as connection:
            row = connection.execute(statement).first()
        return Position(*row) if row else None

    def add_note(self, lesson: str, anchor: str, quote: str, text: str) -> int:
        """Returns its id."""
        now = datetime.now(UTC)
        values = {
            "lesson": lesson,
            "anchor": anchor,
            "quote": quote,
            "text": text,
            "created": now,
            "changed": now,
        }
        with self.database.writing() as connection:
            return add(connection, tables.notes, values)

    def change_note(self, note_id: int, text: str) -> bool:
        """Whether there is such a note."""
        change = update(tables.notes).where(tables.notes.c.id == note_id)
        with self.database.writing() as connection:
            return connection.execute(change.values(text=text, changed=datetime.now(UTC))).rowcount > 0

    def remove_note(self, note_id: int) -> bool:
        """Whether there was such a note."""
        with self.database.writing() as connection:
            return connection.execute(delete(tables.notes).where(tables.notes.c.id == note_id)).rowcount > 0

    def notes(self, lesson: str | None = None) -> list[Note]:
        """Of one lesson in the order they were made; of all lessons with the newest first."""
        statement = select(tables.notes)
        if lesson is None:
            statement = statement.order_by(tables.notes.c.id.desc())
        else:
            statement = statement.where(tables.notes.c.lesson == lesson).order_by(tables.notes.c.id)
        with self.database.reading() as connection:
            return [Note(*row) for row in connection.execute(statement)]

    def set_bookmark(self, lesson: str, anchor: str, on: bool) -> None:
        marks = tables.bookmarks
        with self.database.writing() as connection:
            if on:
                put_first(connection, marks, lesson=lesson, anchor=anchor, at=datetime.now(UTC))
            else:
                connection.execute(delete(marks).where(marks.c.lesson == lesson, marks.c.anchor == anchor))

    def bookmarks(self, lesson: str | None = None) -> list[Bookmark]:
        """The newest first."""
        marks = tables.bookmarks
        statement = select(marks).order_by(marks.c.at.desc(), marks.c.anchor)
        if lesson is not None:
            statement = statement.where(marks.c.lesson == lesson)
        with self.database.reading() as connection:
            return [Bookmark(*row) for row in connection.execute(statement)]

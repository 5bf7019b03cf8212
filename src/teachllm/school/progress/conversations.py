"""Chats with the model, kept as threads of messages; and that a lesson was asked about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import delete, select, update

from teachllm.school.language import Both
from teachllm.school.progress import tables
from teachllm.school.progress.database import Database, add, put_first
from teachllm.school.progress.errors import StoreError

MOST_OF_TITLE = 60


class UnknownThread(StoreError):
    """The conversation was deleted, or never was."""


@dataclass(frozen=True)
class Thread:
    """``title``: how its first question begins. ``context``: what it is about, such as ``1.2#cache``."""

    id: int
    title: str
    context: str | None
    created: datetime
    updated: datetime

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "context": self.context,
            "updated": self.updated.isoformat(),
        }


@dataclass(frozen=True)
class Message:
    """``reply``: of an answer, as :meth:`teachllm.school.tutor.reply.Reply.to_kept` wrote it."""

    id: int
    thread: int
    role: str
    text: str
    created: datetime
    reply: Any = None

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "role": self.role, "text": self.text, "created": self.created.isoformat()}


class Conversations:
    database: Database

    def new_thread(self, title: str = "", context: str | None = None) -> int:
        """Returns its id. Without a title it takes that of its first question."""
        now = datetime.now(UTC)
        values = {"title": _title(title), "context": context, "created": now, "updated": now}
        with self.database.writing() as connection:
            return add(connection, tables.threads, values)

    def add_message(
        self, thread: int, role: Literal["user", "assistant", "system"], text: str, reply: Any = None
    ) -> int:
        """Returns its id. Raises :class:`UnknownThread`."""
        now = datetime.now(UTC)
        threads = tables.threads
        with self.database.writing() as connection:
            row = connection.execute(select(threads.c.title).where(threads.c.id == thread)).first()
            if row is None:
                raise UnknownThread(_GONE)
            title = row.title or (_title(text) if role == "user" else "")
            connection.execute(update(threads).where(threads.c.id == thread).values(title=title, updated=now))
            values = {"thread": thread, "role": role, "text": text, "created": now, "reply": reply}
            return add(connection, tables.messages, values)

    def threads(self) -> list[Thread]:
        """The one used last first."""
        threads = tables.threads
        statement = select(threads).order_by(threads.c.updated.desc(), threads.c.id.desc())
        with self.database.reading() as connection:
            return [Thread(*row) for row in connection.execute(statement)]

    def thread(self, thread: int) -> Thread:
        """Raises :class:`UnknownThread`."""
        with self.database.reading() as connection:
            row = connection.execute(select(tables.threads).where(tables.threads.c.id == thread)).first()
        if row is None:
            raise UnknownThread(_GONE)
        return Thread(*row)

    def messages(self, thread: int) -> list[Message]:
        """In their order. Raises :class:`UnknownThread`."""
        self.thread(thread)
        messages = tables.messages
        statement = select(messages).where(messages.c.thread == thread).order_by(messages.c.id)
        with self.database.reading() as connection:
            return [Message(*row) for row in connection.execute(statement)]

    def remove_thread(self, thread: int) -> bool:
        """With its messages. Whether there was such a thread."""
        with self.database.writing() as connection:
            return (
                connection.execute(delete(tables.threads).where(tables.threads.c.id == thread)).rowcount > 0
            )

    def mark_asked(self, lesson: str) -> None:
        """A question about the lesson was asked; it stays so when the conversation is deleted."""
        with self.database.writing() as connection:
            put_first(connection, tables.asked, lesson=lesson, at=datetime.now(UTC))


_GONE = Both("这段对话已经删了。", "This conversation has been deleted.")


def _title(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MOST_OF_TITLE else words[: MOST_OF_TITLE - 1] + "…"

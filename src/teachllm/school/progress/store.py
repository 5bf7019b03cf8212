"""The store: everything that a learner did, chose and wrote.

Methods are thread-safe, and a write is on the disk when its method returns.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from teachllm.school.progress.conversations import Conversations
from teachllm.school.progress.database import Database, connect
from teachllm.school.progress.migrate import migrate
from teachllm.school.progress.place import database_url
from teachllm.school.progress.practice import Practice
from teachllm.school.progress.settings import Settings
from teachllm.school.progress.six import SixThings

if TYPE_CHECKING:
    from teachllm.school.cards.own import OwnCards
    from teachllm.school.cards.reviews import Reviews


class Store(Settings, SixThings, Practice, Conversations):
    """Lesson ids are the course's (``1.2``), anchors, figures and labs those of the lesson's text.

    Every method raises :class:`teachllm.school.progress.errors.DatabaseError` if the database fails.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    def where(self) -> str:
        """The file or the address of the database."""
        return self.database.where

    @cached_property
    def cards(self) -> Reviews:
        """The cards that are being learned."""
        from teachllm.school.cards.reviews import Reviews  # it stands on this store

        return Reviews(self)

    @cached_property
    def own_cards(self) -> OwnCards:
        """The cards that the learner wrote or brought along."""
        from teachllm.school.cards.own import OwnCards

        return OwnCards(self.database)

    def due_count(self, lesson: str | None = None) -> int:
        """Cards to answer now, within the day's limits."""
        return self.cards.counts(lesson).left

    def next_due(self) -> datetime | None:
        """When the next card comes; ``None`` if no card is being learned."""
        return self.cards.next_due()

    def close(self) -> None:
        self.database.close()


def open_store(url: str | None = None) -> Store:
    """The learner's store: ``url``, else ``TEACHLLM_DATABASE``, else SQLite in ``TEACHLLM_HOME``.

    Its tables are made or brought up to date. Raises :class:`DatabaseError`: where it is, what to do.
    """
    database = connect(database_url(url))
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return Store(database)

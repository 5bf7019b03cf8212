"""Cards from elsewhere become own cards: each once, however often its file is brought in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from teachllm.school.cards.deck import OWN
from teachllm.school.cards.own import OWN_LESSON, OwnCard
from teachllm.school.cards.schedule import Memory
from teachllm.school.progress import Store, tables

COURSE_GUID = "teachllm/"
"""What the course's cards' ids begin with in a file that TeachLLM wrote: they are not taken in again."""
_AT_ONCE = 2000


@dataclass(frozen=True)
class Incoming:
    """``memory``: what its file knows of its schedule. ``changed``: when it was last edited there."""

    card: OwnCard
    memory: Memory | None = None
    suspended: bool = False
    changed: datetime | None = None


@dataclass(frozen=True)
class Brought:
    """How many were ``added``, ``changed``, there already (``same``), the course's, or unsuitable."""

    added: int
    changed: int
    same: int
    of_course: int
    unsuitable: int


def bring_in(
    store: Store,
    cards: Iterable[Incoming],
    unsuitable: int = 0,
    *,
    look: bool = False,
    now: datetime | None = None,
) -> Brought:
    """Adds and updates own cards in one transaction; with ``look`` it only counts.

    A card is known by its ``guid``. One that is there keeps its schedule; its text changes if that of the
    file is another and, where the file says when it was edited, newer. One that was deleted here comes back.
    """
    now = now or datetime.now(UTC)
    given = {one.card.guid: one for one in cards}
    mine = {guid: one for guid, one in given.items() if not guid.startswith(COURSE_GUID)}
    own = tables.own_cards
    with store.database.writing() as connection:
        known = {row.guid: row for row in connection.execute(select(own)) if row.guid in mine}
        new = [one for guid, one in mine.items() if guid not in known]
        newer = [
            (known[guid].id, one)
            for guid, one in mine.items()
            if guid in known and _differs(known[guid], one)
        ]
        if not look and new:
            rows = [asdict(one.card) | {"created": now, "changed": one.changed or now} for one in new]
            for at in range(0, len(rows), _AT_ONCE):
                connection.execute(insert(own), rows[at : at + _AT_ONCE])
            numbers = {row.guid: row.id for row in connection.execute(select(own.c.guid, own.c.id))}
            kept = [_schedule(one, numbers[one.card.guid], now) for one in new]
            for at in range(0, len(kept), _AT_ONCE):
                connection.execute(insert(tables.cards), kept[at : at + _AT_ONCE])
        if not look and newer:
            change = update(own).where(own.c.id == bindparam("number"))
            connection.execute(
                change.values(
                    question=bindparam("asked"),
                    answer=bindparam("said"),
                    changed=bindparam("when"),
                    deleted=None,
                ),
                [
                    {
                        "number": n,
                        "asked": one.card.question,
                        "said": one.card.answer,
                        "when": one.changed or now,
                    }
                    for n, one in newer
                ],
            )
    return Brought(
        len(new), len(newer), len(mine) - len(new) - len(newer), len(given) - len(mine), unsuitable
    )


def _differs(row: Any, one: Incoming) -> bool:
    if row.deleted is not None:
        return True
    is_newer = one.changed is None or one.changed > row.changed
    return is_newer and (row.question, row.answer) != (one.card.question, one.card.answer)


def _schedule(one: Incoming, number: int, now: datetime) -> dict[str, Any]:
    memory = one.memory or Memory.new(now)
    return asdict(memory) | {
        "id": f"{OWN}{number}",
        "lesson": OWN_LESSON,
        "place": number,
        "added": now,
        "suspended": one.suspended,
        "buried_until": None,
    }

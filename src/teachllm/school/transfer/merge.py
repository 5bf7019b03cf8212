"""Merging: what is in either is in the result; where both have a thing, its table says which one stays.

Rows are the same thing if they agree in the columns of their table's key. Ids that a database gave are not
part of a key: rows that point to them are told the ids of this database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, and_, delete, insert, select, update

from teachllm.school.cards.deck import OWN
from teachllm.school.language import Both
from teachllm.school.progress import Store, tables
from teachllm.school.progress.database import add
from teachllm.school.progress.place import learner_home
from teachllm.school.progress.verdicts import to_kept
from teachllm.school.runner.verdict import Verdict
from teachllm.school.transfer.archive import Archive, write_archive
from teachllm.school.transfer.memories import Memories

Row: TypeAlias = dict[str, Any]
Choose: TypeAlias = Callable[[Row, Row], Row]
"""Of ours and theirs, the row that stays."""
Ids: TypeAlias = dict[str, dict[Any, Any]]
"""By table: our id of each of their ids."""


def ours_stays(ours: Row, theirs: Row) -> Row:
    return ours


def earliest(column: str) -> Choose:
    return lambda ours, theirs: theirs if theirs[column] < ours[column] else ours


def latest(column: str) -> Choose:
    """A row without a time there is not finished, and older than one that is."""

    def choose(ours: Row, theirs: Row) -> Row:
        if theirs[column] is None or (ours[column] is not None and theirs[column] <= ours[column]):
            return ours
        return theirs

    return choose


def _undone_in_either(ours: Row, theirs: Row) -> Row:
    return ours | {"undone": ours["undone"] or theirs["undone"]}


RULES: dict[str, tuple[tuple[str, ...], Choose]] = {  # what is pointed to comes first
    "settings": (("name",), ours_stays),
    "sections_read": (("lesson", "anchor"), earliest("at")),
    "positions": (("lesson",), latest("at")),
    "figures_moved": (("lesson", "figure"), earliest("at")),
    "predictions": (("lesson", "figure"), earliest("at")),
    "lab_runs": (("lesson", "lab"), latest("finished")),
    "drafts": (("lesson",), latest("at")),  # the other one becomes a submission
    "submissions": (("lesson", "created", "source"), ours_stays),
    "asked": (("lesson",), earliest("at")),
    "notes": (("lesson", "anchor", "quote", "created"), latest("changed")),
    "bookmarks": (("lesson", "anchor"), earliest("at")),
    "threads": (("title", "created"), latest("updated")),
    "messages": (("thread", "role", "created", "text"), ours_stays),
    "own_cards": (("guid",), latest("changed")),
    "cards": (("id",), ours_stays),  # in place of it: Memories.choose, which reads the reviews of both
    "reviews": (("card", "at", "rating"), _undone_in_either),
    "interviews": (("started",), latest("finished")),
    "interview_answers": (("interview", "place"), latest("changed")),
}
_POINTS_TO = {  # columns, and the table whose ids each holds
    "messages": {"thread": "threads"},
    "cards": {"id": "cards"},
    "reviews": {"card": "cards"},
    "interview_answers": {"interview": "interviews", "card": "cards"},
}
_NOT_GRADED = Both("另一台电脑上的草稿，没有批改过。", "A draft from the other machine; it was not graded.")


@dataclass
class Change:
    """Rows of one table: new here, changed here, and the same in both (or older there)."""

    added: int = 0
    changed: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Merged:
    """What an import did or would do. ``backup``: the file that brings back what was there before."""

    changes: dict[str, Change] = field(default_factory=dict)
    backup: Path | None = None

    @property
    def added(self) -> int:
        return sum(change.added for change in self.changes.values())

    @property
    def changed(self) -> int:
        return sum(change.changed for change in self.changes.values())


class _OnlyLooking(Exception):
    """Takes a dry run's transaction back."""


def import_archive(store: Store, archive: Archive, *, replace: bool = False, dry_run: bool = False) -> Merged:
    """Merges all of it in one transaction; with ``replace`` what is here is removed first.

    Before, all that is here goes into a file of the folder ``backups``. Raises :class:`ArchiveError` if that
    cannot be written, :class:`DatabaseError`; then nothing was changed.
    """
    backup = None if dry_run else _back_up(store)
    merged = Merged(backup=backup)
    try:
        with store.database.writing() as connection:
            if replace:
                for table in reversed(tables.metadata.sorted_tables):
                    connection.execute(delete(table))
            _merge(connection, archive.rows, merged.changes)
            if dry_run:
                raise _OnlyLooking
    except _OnlyLooking:
        pass
    return merged


def backups() -> list[Path]:
    """What earlier imports kept of the data before them, the oldest first."""
    return sorted((learner_home() / "backups").glob("before-import-*.teachllm"))


def _back_up(store: Store) -> Path:
    folder = learner_home() / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"before-import-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.teachllm"
    write_archive(store, target)
    return target


def _merge(connection: Connection, theirs: dict[str, list[Row]], changes: dict[str, Change]) -> None:
    ids: Ids = {}
    memories: Memories | None = None
    for name, (key, choose) in RULES.items():
        table = tables.metadata.tables[name]
        rows = _with_our_ids(name, theirs[name], ids)
        ours = _all(connection, table)
        if name == "drafts":
            _keep_other_drafts(connection, ours, rows)
        elif name == "cards":
            reviews = _with_our_ids("reviews", theirs["reviews"], ids)
            memories = Memories(_all(connection, tables.reviews), reviews)
            choose = memories.choose
        elif name == "reviews":
            there = set(connection.execute(select(tables.cards.c.id)).scalars())
            rows = [row for row in rows if row["card"] in there]
        changes[name] = Change()
        found = _merge_table(connection, table, key, choose, ours, rows, changes[name])
        if name == "own_cards":
            ids["cards"] = {f"{OWN}{their_id}": f"{OWN}{our_id}" for their_id, our_id in found.items()}
        elif name != "cards":
            ids[name] = found


def _merge_table(
    connection: Connection,
    table: Table,
    key: tuple[str, ...],
    choose: Choose,
    ours: list[Row],
    theirs: list[Row],
    change: Change,
) -> dict[Any, Any]:
    """Returns our id of each of their ids, for a table whose ids the database gives."""
    there = {tuple(row[name] for name in key): row for row in ours}
    numbered = "id" in table.columns and "id" not in key
    ids: dict[Any, Any] = {}
    for row in theirs:
        values = {name: value for name, value in row.items() if not (numbered and name == "id")}
        place = tuple(row[name] for name in key)
        mine = there.get(place)
        if mine is None:
            if numbered:
                values["id"] = add(connection, table, dict(values))
            else:
                connection.execute(insert(table).values(values))
            there[place] = mine = values
            change.added += 1
        else:
            stays = {name: value for name, value in choose(mine, row).items() if name in values}
            if any(mine[name] != value for name, value in stays.items()):
                primary = [column == mine[column.name] for column in table.primary_key]
                connection.execute(update(table).where(and_(*primary)).values(stays))
                there[place] = mine = mine | stays
                change.changed += 1
            else:
                change.kept += 1
        if numbered:
            ids[row["id"]] = mine["id"]
    return ids


def _with_our_ids(name: str, rows: list[Row], ids: Ids) -> list[Row]:
    """Rows that point to nothing are left out. A card of the course has the same id everywhere."""
    for column, target in _POINTS_TO.get(name, {}).items():
        known = ids.get(target, {})
        here = [
            known.get(row[column], None if target != "cards" or row[column].startswith(OWN) else row[column])
            for row in rows
        ]
        rows = [row | {column: our_id} for row, our_id in zip(rows, here, strict=True) if our_id is not None]
    return rows


def _keep_other_drafts(connection: Connection, ours: list[Row], theirs: list[Row]) -> None:
    """Of two drafts of one exercise, the older one is kept among the submissions."""
    mine = {row["lesson"]: row for row in ours}
    for row in theirs:
        here = mine.get(row["lesson"])
        if here is None or here["source"] == row["source"]:
            continue
        older = min(here, row, key=lambda draft: draft["at"])
        same = tables.submissions.c.lesson == older["lesson"], tables.submissions.c.source == older["source"]
        if connection.execute(select(tables.submissions.c.id).where(*same)).first() is None:
            verdict = to_kept(Verdict(status="cancelled", message=_NOT_GRADED))
            values = {"lesson": older["lesson"], "source": older["source"], "created": older["at"]}
            add(connection, tables.submissions, values | {"passed": False, "verdict": verdict})


def _all(connection: Connection, table: Table) -> list[Row]:
    return [dict(row._mapping) for row in connection.execute(select(table))]

"""The file: all tables as one JSON object in gzip. Until it is read it is a stranger's data."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import fsrs
from sqlalchemy import JSON, Boolean, Column, Float, Integer, String, Table, select

from teachllm.school.cards.reviews import memory_of_json
from teachllm.school.language import Both
from teachllm.school.progress import Store, StoreError, tables
from teachllm.school.progress.settings import DEFAULTS, check_setting
from teachllm.school.progress.tables import Moment
from teachllm.school.progress.verdicts import from_kept

FORMAT = "teachllm-progress"
MOST_BYTES = 512 * 2**20
"""Unpacked. Years of learning are a few megabytes; what is larger is not such a file."""
_MOST_NUMBER = 2**53
Rows: TypeAlias = dict[str, list[dict[str, Any]]]


class ArchiveError(StoreError):
    """The file is no archive of this kind, is damaged, or is of a newer TeachLLM. Nothing was changed."""


@dataclass(frozen=True)
class Archive:
    """``rows``: of every table, by its name; values as SQLAlchemy gives them. ``made``: when."""

    rows: Rows
    made: datetime


def write_archive(store: Store, target: Path, *, replace: bool = False) -> Archive:
    """The learner's data into a new file, which is there whole or not at all.

    Keys of endpoints are not in the database, so they are not in the file either.
    Raises :class:`ArchiveError` if the file is there already (unless ``replace``) or cannot be written.
    """
    archive = read_rows(store)
    if target.exists() and not replace:
        raise ArchiveError(
            Both(
                f"{target} 已经有了，没有动它。换个名字，或者加 --replace 覆盖它。",
                f"{target} is there already and was left as it is. Give another name, or --replace to "
                "overwrite it.",
            )
        )
    try:
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(pack(archive))
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise ArchiveError(
            Both(
                f"{target} 写不了：{error.strerror}。换个地方再试。",
                f"{target} cannot be written: {error.strerror}. Try another place.",
            )
        ) from None
    return archive


def read_rows(store: Store) -> Archive:
    """All tables at one moment."""
    with store.database.reading() as connection:
        rows: Rows = {
            table.name: [dict(row._mapping) for row in connection.execute(select(table))]
            for table in tables.metadata.sorted_tables
        }
    return Archive(rows, datetime.now(UTC))


def pack(archive: Archive) -> bytes:
    data = {
        "format": FORMAT,
        "revision": tables.HEAD,
        "made": archive.made.isoformat(),
        "tables": archive.rows,
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, default=datetime.isoformat)
    return gzip.compress(text.encode(), mtime=0)


def read_archive(source: Path) -> Archive:
    """Raises :class:`ArchiveError`: what is wrong with the file."""
    try:
        packed = source.read_bytes()
    except OSError as error:
        raise ArchiveError(
            Both(f"{source} 读不了：{error.strerror}。", f"{source} cannot be read: {error.strerror}.")
        ) from None
    return unpack(packed)


def unpack(packed: bytes) -> Archive:
    """Raises :class:`ArchiveError`. Every value of what is returned has the type of its column."""
    try:
        data = json.loads(_inflated(packed), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _not_an_archive() from None
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("tables"), dict):
        raise _not_an_archive()
    if not isinstance(data.get("revision"), str) or data["revision"] > tables.HEAD:
        raise ArchiveError(
            Both(
                "这个文件是更新版本的 TeachLLM 写的。先更新这里的 TeachLLM，再导入。",
                "This file is from a newer TeachLLM. Update TeachLLM here, then import it.",
            )
        )
    unknown = data["tables"].keys() - tables.metadata.tables.keys()
    if unknown:
        raise _damaged(f"{sorted(unknown)[0]!r}")
    rows = {
        name: [_row(table, row) for row in _list(name, data["tables"].get(name, []))]
        for name, table in tables.metadata.tables.items()
    }
    _check_meaning(rows)
    return Archive(rows, _moment(data.get("made"), "made"))


def _check_meaning(rows: Rows) -> None:
    """What is in columns of JSON and in numbers that stand for something."""
    readers: list[tuple[str, str, Callable[[Any], object]]] = [
        ("submissions", "verdict", from_kept),
        ("reviews", "before", memory_of_json),
        ("reviews", "rating", fsrs.Rating),
        ("cards", "state", fsrs.State),
    ]
    for table, column, read in readers:
        for row in rows[table]:
            try:
                read(row[column])
            except (KeyError, TypeError, ValueError, AttributeError):
                raise _damaged(f"{table}.{column}") from None
    for row in rows["settings"]:
        if row["name"] in DEFAULTS:
            check_setting(row["name"], row["value"])


def _inflated(packed: bytes) -> bytes:
    machine = zlib.decompressobj(wbits=31)  # gzip
    try:
        data = machine.decompress(packed, MOST_BYTES)
    except zlib.error:
        raise _not_an_archive() from None
    if machine.unconsumed_tail:
        raise ArchiveError(
            Both(
                f"这个文件展开后超过 {MOST_BYTES >> 20} MB，不像学习记录，没有导入。",
                f"Unpacked, this file is larger than {MOST_BYTES >> 20} MB: that is no record of learning. "
                "It was not imported.",
            )
        )
    if not machine.eof:
        raise ArchiveError(
            Both(
                "这个文件不完整，后面缺了一截。重新复制一次再导入。",
                "This file is cut off: its end is missing. Copy it again, then import it.",
            )
        )
    return data


def _row(table: Table, row: object) -> dict[str, Any]:
    if not isinstance(row, dict) or row.keys() - table.columns.keys():
        raise _damaged(table.name)
    values = {}
    for column in table.columns:
        where = f"{table.name}.{column.name}"
        value = row.get(column.name)
        if value is not None:
            values[column.name] = _value(column, value, where)
        elif column.nullable:
            values[column.name] = None
        elif column.server_default is None:  # else an older revision did not have it
            raise _damaged(where)
    return values


def _value(column: Column[Any], value: object, where: str) -> Any:
    kind = column.type
    if isinstance(kind, Moment):
        return _moment(value, where)
    if isinstance(kind, JSON):
        return value
    if isinstance(kind, Boolean):
        good = isinstance(value, bool)
    elif isinstance(kind, Integer):
        good = type(value) is int and abs(value) < _MOST_NUMBER
    elif isinstance(kind, Float):
        good = type(value) in (int, float)
    else:
        most = kind.length if isinstance(kind, String) else None
        good = isinstance(value, str) and (most is None or len(value) <= most)
    if not good:
        raise _damaged(where)
    return value


def _moment(value: object, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _damaged(where)
    return moment.astimezone(UTC)


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _damaged(name)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _not_an_archive() -> ArchiveError:
    return ArchiveError(
        Both(
            "这不是 teachllm export 写的文件。",
            "This is not a file that teachllm export wrote.",
        )
    )


def _damaged(where: str) -> ArchiveError:
    return ArchiveError(
        Both(
            f"这个文件里的 {where} 不对，没有导入任何东西。重新导出一次再试。",
            f"{where} in this file is wrong; nothing was imported. Export again and try once more.",
        )
    )

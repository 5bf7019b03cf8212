"""The connection: SQLite made safe for several threads and processes, or PostgreSQL; failures told in words.

Every write is one transaction that is on the disk before it is acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError

from teachllm.school.language import Both
from teachllm.school.progress.errors import DatabaseError

BUSY_SECONDS = 20.0
"""How long a write waits for another process's."""


class Database:
    """Thread-safe. Opened and migrated by :func:`open_database`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.url = engine.url
        self._for_writing = engine.execution_options(writes=True)
        # SQLite has one writer at a time. Within a process this queue is fairer and faster than its polling.
        self._queue = threading.Lock() if self.is_sqlite else contextlib.nullcontext()

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def path(self) -> Path | None:
        """The file, of SQLite."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @property
    def where(self) -> str:
        """The file, or the address without its password."""
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent look. Raises :class:`DatabaseError`."""
        with self._told(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction; committed when the block ends. Raises :class:`DatabaseError`."""
        with self._told(), self._queue, self._for_writing.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise DatabaseError(explain(error, self.where)) from error
        except sqlite3.Error as error:  # not wrapped where a raw connection is made
            raise DatabaseError(explain(DBAPIError("connect", (), error), self.where)) from error


def connect(url: URL) -> Database:
    """A database that has been reached. Raises :class:`DatabaseError` saying where it is and what to do."""
    serialize = partial(json.dumps, allow_nan=False)
    try:
        engine = create_engine(
            url, json_serializer=serialize, pool_pre_ping=url.get_backend_name() != "sqlite"
        )
    except ModuleNotFoundError as error:
        raise DatabaseError(
            Both(
                f"TEACHLLM_DATABASE 指向 PostgreSQL，但没有装它的驱动（{error.name}）。"
                "运行 pip install 'psycopg[binary]'，或者去掉 TEACHLLM_DATABASE。",
                f"TEACHLLM_DATABASE names a PostgreSQL, but its driver ({error.name}) is not installed. "
                "Run pip install 'psycopg[binary]', or unset TEACHLLM_DATABASE.",
            )
        ) from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
    database = Database(engine)
    try:
        if database.is_sqlite:
            _prepare_file(database)
        else:
            with database.reading():
                pass
    except BaseException:
        engine.dispose()
        raise
    return database


def add(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    """Inserts a row; returns the id that it got."""
    return connection.execute(insert(table).values(values).returning(table.c.id)).scalar_one()


def put(connection: Connection, table: Table, **values: Any) -> None:
    """Inserts a row, or replaces the one with the same primary key."""
    keys = [column.name for column in table.primary_key]
    statement = _insert(connection)(table).values(**values)
    rest = {name: statement.excluded[name] for name in values if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))


def put_first(connection: Connection, table: Table, **values: Any) -> None:
    """Inserts a row, unless there is one with the same primary key."""
    connection.execute(_insert(connection)(table).values(**values).on_conflict_do_nothing())


def _insert(connection: Connection) -> Any:
    return sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert


def _on_sqlite_connect(connection: sqlite3.Connection, _: object) -> None:
    # Transactions are begun by _on_sqlite_begin, not by the driver, which would begin them too late.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    # What was acknowledged survives a loss of power, not only of the process.
    connection.execute("PRAGMA synchronous = FULL")


def _on_sqlite_begin(connection: Connection) -> None:
    # A writer takes its lock first: one that reads before it writes could otherwise not be made to wait.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_file(database: Database) -> None:
    """Checks that the file is a whole database, and lets readers read while one writes (WAL)."""
    with database._told():
        raw = database.engine.raw_connection()
        try:
            cursor = raw.cursor()
            _set_wal(cursor)
            found = [row[0] for row in cursor.execute("PRAGMA quick_check(1)")]
        finally:
            raw.close()
    if found != ["ok"]:
        raise DatabaseError(damaged(database.where))


def _set_wal(cursor: Any) -> None:
    """SQLite does not wait for its lock in this one statement, so this does."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                cursor.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                raise DBAPIError("PRAGMA journal_mode", (), error) from error
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise DBAPIError("PRAGMA journal_mode", (), error) from error
            time.sleep(0.01)
        except sqlite3.DatabaseError as error:
            raise DBAPIError("PRAGMA journal_mode", (), error) from error


def damaged(where: str) -> Both:
    return Both(
        f"学习记录的数据库 {where} 坏了，读不出来。文件原样保留，没有改动它。"
        "有备份就把备份放回这里；没有的话把它改名（连同 -wal 和 -shm 两个文件），再启动就是一份新的记录。",
        f"the database of your progress, {where}, is damaged and cannot be read. The file was kept as it is. "
        "Put a backup in its place, or rename it (with its -wal and -shm files) to begin with a new one.",
    )


def explain(error: DBAPIError, where: str) -> Both:
    """What went wrong with the database at ``where``, and what to do."""
    original = error.orig
    what = str(original).strip() or type(original).__name__
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(where)
    if code == sqlite3.SQLITE_FULL:
        return Both(
            f"磁盘满了，{where} 写不进去。刚才这一步没有保存；之前的都在。腾出空间再试。",
            f"the disk is full: nothing can be written to {where}. This step was not saved; "
            "what came before is there. Free some space and try again.",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return Both(
            f"{where} 打不开或不让写（{what}）。检查文件和文件夹的权限，"
            "或者把 TEACHLLM_HOME 设为一个能写的文件夹。",
            f"{where} cannot be opened or written ({what}). Check the permissions of the file and its "
            "folder, or set TEACHLLM_HOME to a folder that you may write.",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Both(
            f"另一个程序占着 {where} 超过 {BUSY_SECONDS:.0f} 秒。刚才这一步没有保存；关掉那个程序再试。",
            f"another program has been holding {where} for more than {BUSY_SECONDS:.0f} seconds. "
            "This step was not saved; close that program and try again.",
        )
    return Both(
        f"学习记录的数据库 {where} 出错：{what}",
        f"the database of your progress, {where}, failed: {what}",
    )

"""Brings a database to the tables of this code; safe when several processes open it at once."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from teachllm.school.language import Both
from teachllm.school.progress.database import Database
from teachllm.school.progress.errors import DatabaseError
from teachllm.school.progress.tables import HEAD

_LOCK = 0x7EAC411
"""Any number: the advisory lock of PostgreSQL that only one migration holds."""


def migrate(database: Database) -> None:
    """Raises :class:`DatabaseError` if the tables are of a newer TeachLLM."""
    with database.reading() as connection:
        if revision(connection) == HEAD:
            return
    with database.writing() as connection:  # on SQLite this alone makes the others wait
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if revision(connection) != HEAD:
            _upgrade(connection, database.where)


def revision(connection: Connection) -> str | None:
    """The revision of the tables; ``None`` for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, where: str) -> None:
    # Imported here: it takes a fifth of a second, and most starts need no migration.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    current = revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise DatabaseError(
            Both(
                f"{where} 是更新版本的 TeachLLM 写的（版本 {current}，这里认识到 {HEAD}）。"
                "更新 TeachLLM（git pull）再打开；数据没有改动。",
                f"{where} was written by a newer TeachLLM (revision {current}; this one knows {HEAD}). "
                "Update TeachLLM (git pull) and open it again; nothing was changed.",
            )
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

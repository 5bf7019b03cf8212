"""Where a learner's data lies: ``TEACHLLM_HOME`` and ``TEACHLLM_DATABASE``."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from teachllm.school.language import Both
from teachllm.school.progress.errors import DatabaseError

FILE = "progress.db"


def learner_home() -> Path:
    """``TEACHLLM_HOME``, else the system's folder for application data; made if it is not there.

    Raises :class:`DatabaseError` if it cannot be made.
    """
    given = os.environ.get("TEACHLLM_HOME")
    home = Path(given).expanduser() if given else user_data_path("teachllm", appauthor=False)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            Both(
                f"放学习记录的文件夹 {home} 建不了：{error.strerror}。"
                "把环境变量 TEACHLLM_HOME 设为一个能写的文件夹。",
                f"the folder for your progress, {home}, cannot be made: {error.strerror}. "
                "Set the environment variable TEACHLLM_HOME to a folder that you may write.",
            )
        ) from None
    return home.resolve()


def database_url(given: str | None = None) -> URL:
    """``given``, else ``TEACHLLM_DATABASE``, else the SQLite file in :func:`learner_home`.

    A plain ``postgresql://`` means the driver psycopg. Raises :class:`DatabaseError` for another kind.
    """
    text = given or os.environ.get("TEACHLLM_DATABASE")
    if not text:
        return URL.create("sqlite", database=str(learner_home() / FILE))
    try:
        url = make_url(text)
    except ArgumentError:
        raise DatabaseError(_not_understood("")) from None
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseError(_not_understood(f" ({url.drivername}://…)"))
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise DatabaseError(_not_understood(" (sqlite://)"))
    return url


def _not_understood(what: str) -> Both:
    return Both(
        f"TEACHLLM_DATABASE 看不懂{what}。"
        "写成 sqlite:////完整/路径/progress.db 或 postgresql://用户:密码@主机/数据库，或者不设它。",
        f"TEACHLLM_DATABASE is not understood{what}. Write sqlite:////full/path/progress.db or "
        "postgresql://user:password@host/database, or leave it unset.",
    )

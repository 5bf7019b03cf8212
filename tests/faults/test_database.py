"""Killed, damaged, full, read-only, newer, unreachable: nothing acknowledged is lost; the reason is told."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from teachllm.school.progress import DatabaseError, open_store

pytestmark = pytest.mark.faults

_WRITER = """
import sys
from teachllm.school.progress import open_store
store = open_store(sys.argv[1])
number = 0
while True:
    note = store.add_note("1.1", "why", "", str(number))
    store.save_draft("1.1", "x" * 5000 + str(number))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("seed", range(3))
def test_what_was_acknowledged_survives_kill(tmp_path: Path, seed: int) -> None:
    url = f"sqlite:///{tmp_path / 'progress.db'}"
    with subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        stop_after = random.Random(seed).randrange(5, 40)
        acknowledged = [int(writer.stdout.readline()) for _ in range(stop_after)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split())])
    store = open_store(url)
    kept = [int(note.text) for note in reversed(store.notes())]
    assert kept == list(range(len(kept)))
    assert len(kept) > acknowledged
    draft = store.draft("1.1")
    assert draft is not None
    assert int(draft.lstrip("x")) >= acknowledged
    store.close()


def _filled(path: Path) -> bytes:
    store = open_store(f"sqlite:///{path}")
    for number in range(200):
        store.add_note("1.1", "why", "", "words " * 20 + str(number))
    with store.database.writing() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 1")
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.read_bytes()


def _overwritten(content: bytes) -> bytes:
    """Pages in the middle are noise, as after a failing disk."""
    noise = random.Random(5).randbytes(3 * 4096)
    return content[: 4 * 4096] + noise + content[4 * 4096 + len(noise) :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"this is a text file, not a database" * 200,
        lambda content: content[: len(content) // 2],
        lambda content: b"\0" * 100 + content[100:],
        _overwritten,
    ],
    ids=["another file", "cut off", "no header", "noise in the middle"],
)
def test_a_damaged_file_is_told_and_kept(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "progress.db"
    broken = damage(_filled(path))
    path.write_bytes(broken)
    with pytest.raises(DatabaseError) as caught:
        open_store(f"sqlite:///{path}")
    for lang, words in (("en", "kept as it is"), ("zh", "原样保留")):
        told = caught.value.get(lang)
        assert str(path) in told
        assert words in told
    assert path.read_bytes() == broken


def test_damage_that_appears_later_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "progress.db"
    store = open_store(f"sqlite:///{path}")
    for number in range(300):
        store.add_note("1.1", "why", "", "words " * 20 + str(number))
    store.close()
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    store = open_store(f"sqlite:///{path}")
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + random.Random(7).randbytes(len(content) - 4096))
    with pytest.raises(DatabaseError, match="damaged"):
        store.notes()
    store.close()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "progress.db"
    _filled(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseError) as caught:
        open_store(f"sqlite:///{path}")
    assert "newer TeachLLM (revision 9999" in caught.value.get("en")
    assert str(path) in caught.value.get("zh")
    assert path.read_bytes() == before


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'progress.db'}")
    kept = store.add_note("1.1", "why", "", "kept")

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite answers as it does on a full disk

    store.database.engine.dispose()
    event.listen(store.database.engine, "connect", limit)
    with pytest.raises(DatabaseError, match=r"disk is full.*not saved"):
        store.add_note("1.1", "why", "", "y" * 500_000)
    event.remove(store.database.engine, "connect", limit)
    store.database.engine.dispose()
    assert [note.id for note in store.notes()] == [kept]
    store.add_note("1.1", "why", "", "after there is room again")
    store.close()


_AS_ANOTHER_USER = """
import os, sys
from teachllm.school.progress import DatabaseError, open_store
open_store("sqlite:///" + sys.argv[2]).close()  # everything is imported while it may be read
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    store = open_store("sqlite:///" + sys.argv[1])
    store.mark_read("1.1", "why")
except DatabaseError as error:
    print(error.get("en"))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Another user can reach it: to root nothing is forbidden, so these tests become somebody else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions work differently here")
@pytest.mark.parametrize("what", ["file", "folder", "missing folder"])
def test_a_file_that_may_not_be_written_is_told(open_folder: Path, tmp_path: Path, what: str) -> None:
    path = open_folder / "data" / "progress.db"
    if what != "missing folder":
        path.parent.mkdir()
    if what == "file":
        _filled(path)
        path.chmod(0o444)
    if what != "missing folder":
        path.parent.chmod(0o555)
    script = [sys.executable, "-c", _AS_ANOTHER_USER, str(path), str(tmp_path / "other.db")]
    told = subprocess.run(script, capture_output=True, text=True, timeout=60)
    if path.parent.exists():
        path.parent.chmod(0o755)
    assert told.returncode == 0, told.stderr
    assert str(path) in told.stdout
    assert "permissions" in told.stdout


def test_a_writer_that_never_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teachllm.school.progress.database.BUSY_SECONDS", 0.2)
    path = tmp_path / "progress.db"
    store = open_store(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.notes() == [], "reading goes on"
    with pytest.raises(DatabaseError, match="another program"):
        store.mark_read("1.1", "why")
    other.execute("ROLLBACK")
    other.close()
    store.mark_read("1.1", "why")
    store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "TEACHLLM_DATABASE is not understood"),
        ("mysql://a:secret@host/db", "mysql"),
        ("sqlite://", "not understood"),
        ("sqlite:///:memory:", "not understood"),
    ],
)
def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, url: str, words: str) -> None:
    monkeypatch.setenv("TEACHLLM_DATABASE", url)
    with pytest.raises(DatabaseError) as caught:
        open_store()
    assert words in caught.value.get("en")
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r"pip install 'psycopg\[binary\]'"):
        open_store("postgresql://someone:secret@127.0.0.1:1/none")


def test_a_server_that_does_not_answer_is_told_without_its_password() -> None:
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    with pytest.raises(DatabaseError) as caught:
        open_store("postgresql://someone:secret@127.0.0.1:1/none")
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "secret" not in caught.value.get("zh")

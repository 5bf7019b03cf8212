"""Which servers run on this machine: each leaves a note that only its user can read, and takes it away.

The note holds a key that opens the server's snapshot and nothing else, so that a dashboard of the same user
can watch a server whose API key it does not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import platformdirs
import psutil


@dataclass(frozen=True)
class RunningServer:
    """`address` is that on this machine: ``http://127.0.0.1:8000``. Times are seconds since 1970;
    process_began tells a process from a later one with the same pid.
    """

    address: str
    model: str
    view_key: str = field(repr=False)
    pid: int
    process_began: float
    began: float

    @classmethod
    def this(cls, address: str, model: str, view_key: str) -> RunningServer:
        """The server that this process runs."""
        process = psutil.Process()
        return cls(address, model, view_key, process.pid, process.create_time(), time.time())

    @property
    def is_alive(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.process_began) < 1
        except (psutil.Error, ValueError):  # ValueError: no process can have that number
            return False


def notes_folder() -> Path:
    """``TEACHLLM_HOME``, else the system's folder for application data. It need not exist yet."""
    given = os.environ.get("TEACHLLM_HOME")
    home = Path(given).expanduser() if given else platformdirs.user_data_path("teachllm", appauthor=False)
    return home / "servers"


@contextlib.contextmanager
def announced(server: RunningServer) -> Iterator[None]:
    """The note lies there meanwhile. Where it cannot be written, no dashboard finds the server; no more."""
    folder = notes_folder()
    note = folder / f"{server.pid}-{server.address.rpartition(':')[2]}.json"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(server), file)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)


def running_servers() -> list[RunningServer]:
    """Those that run now, the latest first. Notes of processes that are gone are removed."""
    found = []
    for note in notes_folder().glob("*.json"):
        server = _read(note)
        if server is None:
            continue
        if server.is_alive:
            found.append(server)
        else:
            with contextlib.suppress(OSError):
                note.unlink()
    return sorted(found, key=lambda server: server.began, reverse=True)


def _read(note: Path) -> RunningServer | None:
    """None if it is no note: half written, or of another version."""
    try:
        content = json.loads(note.read_text("utf-8"))
        server = RunningServer(**{one.name: content[one.name] for one in fields(RunningServer)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    texts = (server.address, server.model, server.view_key)
    numbers = (server.pid, server.process_began, server.began)
    if not all(isinstance(text, str) for text in texts) or not all(
        isinstance(number, int | float) for number in numbers
    ):
        return None
    return server if server.address.startswith("http://127.0.0.1:") else None

"""Notes of the servers that run on this machine."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

from teachllm.stack.chat.running_servers import (
    RunningServer,
    announced,
    notes_folder,
    running_servers,
)


def test_a_note_lies_there_while_the_server_runs(learner_home: Path) -> None:
    one = RunningServer.this("http://127.0.0.1:8000", "a", "secret")
    other = RunningServer.this("http://127.0.0.1:8001", "b", "secret")
    assert running_servers() == []
    with announced(one), announced(replace(other, began=one.began + 1)):
        assert [server.address for server in running_servers()] == [other.address, one.address]
        assert "secret" not in repr(running_servers())
        for path in notes_folder().iterdir():
            assert path.is_relative_to(learner_home)
            if os.name == "posix":
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert running_servers() == []


def test_notes_that_mean_nothing_are_passed_over(learner_home: Path) -> None:
    folder = notes_folder()
    folder.mkdir()
    dead = replace(RunningServer.this("http://127.0.0.1:8000", "a", "k"), process_began=1.0)
    elsewhere = RunningServer.this("http://192.0.2.1:80", "a", "k")
    (folder / "dead.json").write_text(json.dumps(vars(dead)))
    (folder / "half.json").write_text('{"address": ')
    (folder / "other.json").write_text('{"address": 5}')
    (folder / "elsewhere.json").write_text(json.dumps(vars(elsewhere)))
    assert running_servers() == []
    assert not (folder / "dead.json").exists()


def test_a_folder_that_cannot_be_made_keeps_no_server_from_running(
    learner_home: Path, monkeypatch: object
) -> None:
    (learner_home / "servers").write_text("a file")
    with announced(RunningServer.this("http://127.0.0.1:8000", "a", "k")):
        assert running_servers() == []

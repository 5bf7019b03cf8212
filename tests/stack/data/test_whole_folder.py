"""A folder is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from teachllm.stack.data.whole_folder import whole_folder


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "made") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text("a")
        assert not (tmp_path / "deep" / "made").exists()
    assert (tmp_path / "deep" / "made" / "inner" / "a.txt").read_text() == "a"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["made"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "made") as folder:
        (folder / "a.txt").write_text("first")
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "made") as folder:
        (folder / "no such folder" / "a.txt").write_text("second")
    assert (tmp_path / "made" / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir() if "made" in path.name] == ["made"]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "made.partial").mkdir()
    (tmp_path / "made.partial" / "torn.txt").write_text("half of")
    with whole_folder(tmp_path / "made") as folder:
        (folder / "a.txt").write_text("a")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["a.txt"]


def test_an_older_one_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with whole_folder(tmp_path / "made") as folder:
            (folder / f"{name}.txt").write_text(name)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["second.txt"]


def test_a_folder_that_was_away_when_the_process_died_comes_back(tmp_path: Path) -> None:
    (tmp_path / "made.old.partial").mkdir()
    (tmp_path / "made.old.partial" / "a.txt").write_text("only one")
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "made") as folder:
        (folder / "no such folder" / "a.txt").write_text("second")
    assert (tmp_path / "made" / "a.txt").read_text() == "only one"

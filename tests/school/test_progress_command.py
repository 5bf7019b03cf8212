"""teachllm progress and teachllm search, as a learner calls them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teachllm.cli import app
from teachllm.school.course import load_course
from teachllm.school.progress import Store, open_store
from teachllm.school.progress.outline import outline
from teachllm.school.search import engine

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"


@pytest.fixture(autouse=True)
def small_course(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(FIXTURE_COURSE))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    monkeypatch.setattr(engine, "_engine", engine._Engine())


@pytest.fixture
def store() -> Iterator[Store]:
    store = open_store()
    yield store
    store.close()


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(list(arguments))
    return int(ended.value.code or 0)


def test_progress_before_anything_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("progress") == 0
    told = capsys.readouterr().out
    assert "1.1 Temperature" in told
    assert "✓" not in told
    assert "You were at" not in told
    assert "progress.db" in told


def test_progress_says_what_is_done_and_where_to_go_on(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    anchors = sorted(outline(load_course().lesson("1.1")).sections)
    for anchor in anchors[: len(anchors) // 2]:
        store.mark_read("1.1", anchor)
    store.mark_asked("1.1")
    store.save_position("1.1", anchors[0])
    store.cards.learn("1.1")
    store.set_setting("lang", "zh")
    assert _run("progress") == 0
    told = capsys.readouterr().out
    assert "1.1 温度" in told
    assert f"{len(anchors) // 2 / len(anchors):.0%}" in told
    assert told.count("✓") == 1
    assert f"上次读到 1.1 温度 #{anchors[0]}" in told
    assert f"{store.due_count()} 张新的" in told
    assert _run("progress", "--lang", "en") == 0, "what is asked for goes before the setting"
    assert f"You were at 1.1 Temperature #{anchors[0]}" in capsys.readouterr().out


def test_search_in_the_terminal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("search", "temperature", "--lang", "en", "--limit", "2") == 0
    told = capsys.readouterr().out
    assert "1.1 Temperature" in told
    assert "lesson" in told
    assert _run("search", "温度", "--lang", "zh") == 0
    assert "课文" in capsys.readouterr().out


def test_search_finds_notes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.add_note("1.1", "why", "", "ask about the platypus [bold]")
    assert _run("search", "platypus") == 0
    told = capsys.readouterr().out
    assert "ask about the platypus [bold]" in told, "a learner's words are never read as markup"
    assert "note" in told


@pytest.mark.parametrize(
    ("words", "code", "said"), [((), 2, "Look for what?"), (("zzzqqq",), 1, "Nothing found")]
)
def test_search_without_a_hit(
    words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("search", *words) == code
    assert said in capsys.readouterr().out

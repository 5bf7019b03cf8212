"""teachllm review: cards in the terminal, on the same store as the studio's."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from teachllm.cli import app
from teachllm.school import review_command
from teachllm.school.keyboard import read_key
from teachllm.school.progress import Store, open_store, tables

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"


@pytest.fixture(autouse=True)
def small_course(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(FIXTURE_COURSE))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def store() -> Iterator[Store]:
    store = open_store()
    yield store
    store.close()


def _run(monkeypatch: pytest.MonkeyPatch, keys: str, *arguments: str) -> int:
    pressed = iter(keys)

    def key(accepted: str) -> str | None:
        for one in pressed:
            if one in accepted:
                return one
        return None

    monkeypatch.setattr(review_command, "read_key", key)
    with pytest.raises(SystemExit) as ended:
        app(["review", *arguments])
    return int(ended.value.code or 0)


def _answers(store: Store) -> list[tuple[int, bool]]:
    with store.database.reading() as connection:
        rows = connection.execute(select(tables.reviews.c.rating, tables.reviews.c.undone))
        return [(row.rating, row.undone) for row in rows]


def test_a_session(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cards = [state.card for state in store.cards.cards("1.1")]
    assert _run(monkeypatch, " 4 1u 3q", "--lesson", "1.1", "--lang", "en") == 0
    told = capsys.readouterr().out
    assert f"{len(cards)} cards of 1.1 taken in" in told
    assert told.index(cards[0].question.en[:30]) < told.index(cards[0].answer.en[:30])
    assert "And if they ask further" in told
    assert "good (10 minutes)" in told
    assert "The last answer is taken back." in told
    assert "2 answered." in told
    assert _answers(store) == [(4, False), (1, True), (3, False)]
    assert store.due_count() == len(cards) - 2


def test_the_answer_is_not_shown_before_it_is_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.cards.learn("1.1")
    card = store.cards.cards("1.1")[0].card
    assert _run(monkeypatch, "12q", "--lang", "zh") == 0, "a rating before the answer is no rating"
    told = capsys.readouterr().out
    assert card.question.zh[:8] in told
    assert card.answer.zh[:12] not in told
    assert _answers(store) == []


def test_nothing_to_review_says_what_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.set_setting("lang", "zh")
    assert _run(monkeypatch, "") == 0
    assert "teachllm review --lesson 1.1" in capsys.readouterr().out
    store.cards.learn("1.1")
    assert _run(monkeypatch, " 4" * 40) == 0
    told = capsys.readouterr().out
    assert "后到期" in told
    assert "天" in told


def test_a_lesson_that_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(monkeypatch, "", "--lesson", "9.9") == 2
    assert "9.9" in capsys.readouterr().out


def test_a_damaged_database_is_told_without_a_traceback(
    learner_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (learner_home / "progress.db").write_bytes(b"no database" * 1000)
    assert _run(monkeypatch, "", "--lang", "en") == 1
    told = capsys.readouterr().out
    assert "is damaged" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (-5, "1 分钟", "1 minute"),
        (600, "10 分钟", "10 minutes"),
        (3600, "1 小时", "1 hour"),
        (86400 * 3, "3 天", "3 days"),
        (86400 * 90, "3 个月", "3 months"),
        (86400 * 800, "2 年", "2 years"),
    ],
)
def test_intervals_in_words(seconds: float, zh: str, en: str) -> None:
    told = review_command.interval(seconds)
    assert (told.zh, told.en) == (zh, en)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix's")
@pytest.mark.parametrize(
    ("pressed", "key"),
    [(b"x3", "3"), (b"\r", " "), (b"U", "u"), (b"\x1b[A", None), ("缓".encode(), None), (b"\x04", None)],
    ids=["other keys are passed over", "enter", "capitals", "an arrow", "Chinese", "end of input"],
)
def test_keys_of_a_real_terminal(monkeypatch: pytest.MonkeyPatch, pressed: bytes, key: str | None) -> None:
    import pty

    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r", closefd=True) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        # Pressed while it waits: what is typed ahead goes through the terminal's line editing.
        threading.Timer(0.3, os.write, (ours, pressed)).start()
        if key is None and pressed != b"\x04":
            # Passed over as one key, of which no byte is left: the next one is read.
            threading.Timer(0.6, os.write, (ours, b"2")).start()
            key = "2"
        assert read_key("1234uq ") == key
    os.close(ours)


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = tmp_path / "keys"
    lines.write_text("\nnope\n4 please\n", encoding="utf-8")
    with lines.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert read_key(" 4") == " "
        assert read_key(" 4") == "4"
        assert read_key(" 4") is None

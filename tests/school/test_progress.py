"""The store: what goes in comes out, also after it was closed, and from several threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select

from teachllm.school.course import UnknownLesson, load_course
from teachllm.school.language import Both
from teachllm.school.progress import SettingError, Store, UnknownThread, open_store, tables
from teachllm.school.progress.database import connect
from teachllm.school.progress.outline import outline
from teachllm.school.progress.place import database_url
from teachllm.school.runner.verdict import CheckResult, Verdict

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"


@pytest.fixture(autouse=True)
def small_course(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(FIXTURE_COURSE))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Both databases; PostgreSQL if ``TEACHLLM_TEST_DATABASE`` names one that these tests may empty."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'progress.db'}"
        return
    given = os.environ.get("TEACHLLM_TEST_DATABASE")
    if not given:
        pytest.skip("TEACHLLM_TEST_DATABASE names no PostgreSQL that may be emptied")
    _empty(given)
    yield given
    _empty(given)


def _empty(url: str) -> None:
    database = connect(database_url(url))
    with database.writing() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    database.close()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


def test_the_migrations_make_the_tables_that_the_code_uses(store: Store) -> None:
    found = inspect(store.database.engine)
    assert set(found.get_table_names()) == {*tables.metadata.tables, "alembic_version"}
    for name, table in tables.metadata.tables.items():
        columns = {column["name"]: column for column in found.get_columns(name)}
        assert list(columns) == [column.name for column in table.columns]
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable, f"{name}.{column.name}"
        assert found.get_pk_constraint(name)["constrained_columns"] == [one.name for one in table.primary_key]
        assert {one["name"] for one in found.get_indexes(name)} == {one.name for one in table.indexes}
        wanted = {(key.parent.name, key.target_fullname) for key in table.foreign_keys}
        keys = found.get_foreign_keys(name)
        assert {
            (key["constrained_columns"][0], f"{key['referred_table']}.{key['referred_columns'][0]}")
            for key in keys
        } == wanted
        assert all(key["options"].get("ondelete") == "CASCADE" for key in keys)


def test_the_newest_revision_is_the_one_that_the_code_reads() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(tables.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [tables.HEAD]


def test_settings(store: Store, url: str) -> None:
    assert store.settings() == {
        "lang": None,
        "theme": "auto",
        "welcomed": False,
        "new_cards_per_day": 20,
        "reviews_per_day": 200,
        "leech_lapses": 8,
        "leech_action": "suspend",
    }
    store.save_settings(lang="zh", theme="dark", new_cards_per_day=0)
    store.set_setting("welcomed", True)
    again = open_store(url)
    assert (again.setting("lang"), again.setting("theme")) == ("zh", "dark")
    assert (again.setting("welcomed"), again.setting("new_cards_per_day")) == (True, 0)
    again.set_setting("lang", None)
    assert store.setting("lang") is None
    again.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lang", "fr"),
        ("lang", 1),
        ("theme", None),
        ("welcomed", 1),
        ("new_cards_per_day", True),
        ("new_cards_per_day", -1),
        ("new_cards_per_day", 2.0),
        ("new_cards_per_day", "20"),
        ("reviews_per_day", 10**9),
        ("thme", "dark"),
    ],
)
def test_a_setting_that_is_not_one_is_refused_and_nothing_is_kept(
    store: Store, name: str, value: object
) -> None:
    with pytest.raises(SettingError) as caught:
        store.save_settings(theme="light", **{name: value} if name != "theme" else {"lang": "fr"})
    assert name in str(caught.value) or name == "theme"
    assert caught.value.get("zh") != caught.value.get("en")
    assert store.setting("theme") == "auto"
    with pytest.raises(SettingError):
        store.set_setting(name, value)


def test_reading_is_kept_once_and_in_order(store: Store) -> None:
    for anchor in ("why", "idea", "why"):
        store.mark_read("1.1", anchor)
    assert store.sections_read("1.1") == ["why", "idea"]
    assert store.last_position() is None
    store.save_position("1.1", "why")
    store.save_position("1.2", "start")
    store.save_position("1.1", "idea")
    last = store.last_position()
    assert last is not None
    assert (last.lesson, last.anchor) == ("1.1", "idea")
    assert last.at.tzinfo is not None
    assert abs((datetime.now(UTC) - last.at).total_seconds()) < 60


def test_where_one_was_in_a_lesson_that_is_gone_is_not_offered(store: Store) -> None:
    store.save_position("9.9", "why")
    assert store.last_position() is not None
    assert store.continue_at() is None


def test_notes(store: Store) -> None:
    first = store.add_note("1.1", "why", "a quote", "a thought")
    second = store.add_note("1.2", "idea", "", "另一个想法 🙂")
    third = store.add_note("1.1", "idea", "", "third")
    assert [note.id for note in store.notes()] == [third, second, first]
    assert [note.id for note in store.notes("1.1")] == [first, third]
    assert store.change_note(first, "changed")
    note = store.notes("1.1")[0]
    assert (note.text, note.quote, note.anchor) == ("changed", "a quote", "why")
    assert note.changed > note.created
    assert store.remove_note(third)
    assert not store.remove_note(third)
    assert not store.change_note(third, "ghost")
    assert store.add_note("1.1", "idea", "", "fourth") > third, "an id is never used again"


def test_bookmarks(store: Store) -> None:
    store.set_bookmark("1.1", "why", True)
    store.set_bookmark("1.1", "why", True)
    store.set_bookmark("1.1", "idea", True)
    store.set_bookmark("1.1", "idea", False)
    store.set_bookmark("1.1", "never", False)
    store.set_bookmark("1.2", "start", True)
    assert [mark.anchor for mark in store.bookmarks("1.1")] == ["why"]
    assert [mark.lesson for mark in store.bookmarks()] == ["1.2", "1.1"]


def test_text_that_no_database_keeps_is_repaired(store: Store) -> None:
    note = store.add_note("1.1", "why", "half \ud83d of a pair", "a NUL \x00 here")
    found = store.notes("1.1")[0]
    assert found.id == note
    assert found.quote == "half \ufffd of a pair"
    assert found.text == "a NUL \ufffd here"
    store.save_draft("1.1", "print('\udc80')")
    assert store.draft("1.1") == "print('\ufffd')"


def test_predictions_and_moves(store: Store) -> None:
    store.save_prediction("1.1", "sharpness", 2, False)
    store.save_prediction("1.1", "sharpness", 0.5, True)
    store.save_prediction("1.1", "other", None, False)
    assert store.predictions("1.1") == {
        "sharpness": {"given": 0.5, "right": True},
        "other": {"given": None, "right": False},
    }
    assert store.predictions("1.2") == {}


def test_the_last_lab_run_is_kept(store: Store) -> None:
    assert store.last_lab_run("1.1", "draw") is None
    store.save_lab_run("1.1", "draw", {"n": 1}, [{"event": "metric", "name": "旧", "value": 1}], mine=False)
    events = [{"event": "say", "text": "好 🙂"}, {"event": "sample", "x": 1, "y": 0.5}]
    store.save_lab_run("1.1", "draw", {"n": 2}, events, mine=True)
    last = store.last_lab_run("1.1", "draw")
    assert last is not None
    assert (last["args"], last["events"], last["mine"]) == ({"n": 2}, events, True)
    assert datetime.fromisoformat(last["finished"]).tzinfo is not None


FAILED = Verdict(
    status="failed",
    diagnosis=Both("少除了一个根号", "a square root is missing"),
    message=Both("差 0.3", "off by 0.3"),
    checks=(
        CheckResult("test_scale", False, Both("诊断", "diagnosis"), "0.3"),
        CheckResult("test_mask", None),
    ),
    output="printed",
    line=3,
    seconds=0.25,
)
PASSED = Verdict(status="passed", checks=(CheckResult("test_scale", True),), seconds=0.5)


def test_a_verdict_comes_back_in_both_languages(store: Store) -> None:
    store.save_submission("1.1", "def f(): pass", FAILED)
    state = store.exercise_state("1.1")
    assert state.submissions[0].verdict == FAILED
    assert state.submissions[0].to_json("zh")["verdict"] == FAILED.to_json("zh")
    assert state.submissions[0].to_json("en")["verdict"]["diagnosis"] == "a square root is missing"
    assert (state.draft, state.passed) == (None, False)


def test_submissions_newest_first_and_the_last_that_passed(store: Store) -> None:
    for source, verdict in (("one", PASSED), ("two", PASSED), ("three", FAILED)):
        store.save_submission("1.1", source, verdict)
    store.save_draft("1.1", "four")
    state = store.exercise_state("1.1", limit=2)
    assert [one.source for one in state.submissions] == ["three", "two"]
    assert (state.draft, state.passed) == ("four", True)
    assert store.passed_source("1.1") == "two"
    assert store.passed_source("1.2") is None


def test_conversations(store: Store) -> None:
    first = store.new_thread(context="1.1#why")
    store.add_message(first, "user", "  What is\n temperature? " + "x" * 100)
    store.add_message(first, "assistant", "A number.")
    second = store.new_thread("第二个")
    store.add_message(second, "user", "你好")
    assert [thread.id for thread in store.threads()] == [second, first]
    assert store.thread(first).title.startswith("What is temperature? xxx")
    assert len(store.thread(first).title) == 60
    assert store.thread(second).title == "第二个"
    assert [(one.role, one.text) for one in store.messages(first)][1] == ("assistant", "A number.")
    store.add_message(first, "user", "again")
    assert store.threads()[0].id == first, "the one used last comes first"
    assert store.remove_thread(first)
    assert not store.remove_thread(first)
    with store.database.reading() as connection:
        left = connection.execute(select(func.count()).select_from(tables.messages)).scalar()
    assert left == 1, "its messages went with it"
    for call in (lambda: store.messages(first), lambda: store.add_message(first, "user", "ghost")):
        with pytest.raises(UnknownThread, match="deleted"):
            call()


def test_six_things_of_a_lesson(store: Store) -> None:
    nothing = dict.fromkeys(("read", "moved", "ran", "wrote", "recalled", "asked"), 0.0)
    assert store.six("1.1") == nothing
    there = outline(load_course().lesson("1.1"))
    assert len(there.sections) > 2
    assert there.figures
    assert there.labs
    anchors = sorted(there.sections)
    store.mark_read("1.1", anchors[0])
    store.mark_read("1.1", "no-longer-there")
    assert store.six("1.1")["read"] == pytest.approx(1 / len(anchors))
    for anchor in anchors:
        store.mark_read("1.1", anchor)
    for figure in there.figures:
        store.mark_moved("1.1", figure)
    for lab in there.labs:
        store.save_lab_run("1.1", lab, {}, [], mine=False)
    store.save_submission("1.1", "", FAILED)
    assert store.six("1.1")["wrote"] == 0.5
    store.save_submission("1.1", "", PASSED)
    store.save_submission("1.1", "", FAILED)
    thread = store.new_thread()
    store.mark_asked("1.1")
    store.remove_thread(thread)
    store.cards.learn("1.1")
    assert store.six("1.1") == {**dict.fromkeys(nothing, 1.0), "recalled": 0.0}
    coming = store.cards.next_card()
    assert coming is not None
    store.cards.answer(coming.card.id, 4)
    cards = len(store.cards.cards("1.1"))
    assert store.six("1.1")["recalled"] == pytest.approx(1 / cards)
    overview = store.overview()
    assert overview["1.1"] == store.six("1.1")
    assert overview["1.2"] == nothing
    assert list(overview) == list(load_course().lessons)
    with pytest.raises(UnknownLesson):
        store.six("7.7")


def test_the_page_of_a_lesson_gets_what_was_left_there(store: Store) -> None:
    store.mark_read("1.1", "why")
    store.save_position("1.1", "why")
    note = store.add_note("1.1", "why", "q", "t")
    store.set_bookmark("1.1", "why", True)
    state = store.lesson_state("1.1")
    assert state.pop("six").keys() == {"read", "moved", "ran", "wrote", "recalled", "asked"}
    assert state == {
        "read": ["why"],
        "notes": [{"id": note, "anchor": "why", "quote": "q", "text": "t"}],
        "bookmarks": ["why"],
    }


def test_threads_write_at_once(store: Store) -> None:
    def write(number: int) -> None:
        store.add_note("1.1", "why", "", str(number))
        store.save_position("1.1", f"a{number}")
        store.six("1.1")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(120)))
    assert sorted(int(note.text) for note in store.notes()) == list(range(120))


_WRITER = """
import sys
from teachllm.school.progress import open_store
store = open_store(sys.argv[1])
for number in range(60):
    store.add_note("1.1", "why", "", f"{sys.argv[2]} {number}")
    store.set_setting("theme", "dark" if number % 2 else "light")
store.close()
"""


def test_processes_open_and_write_at_once(url: str) -> None:
    """The database is new: they race for its tables too."""
    writers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", _WRITER, url, str(n)], stderr=subprocess.PIPE)
        for n in range(4)
    ]
    for writer in writers:
        _, complaint = writer.communicate(timeout=60)
        assert writer.returncode == 0, complaint.decode()
    store = open_store(url)
    assert sorted(note.text for note in store.notes()) == sorted(
        f"{writer} {number}" for writer in range(4) for number in range(60)
    )
    store.close()

"""A learner's data in a file: whole, merged, never half; files of strangers are refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from teachllm.cli import app
from teachllm.school.cards import OwnCard
from teachllm.school.progress import Store, StoreError, open_store, tables
from teachllm.school.runner.verdict import Verdict
from teachllm.school.transfer import ArchiveError, import_archive, read_archive, write_archive
from teachllm.school.transfer.archive import unpack
from teachllm.school.transfer.merge import RULES
from teachllm.school.transfer.words import THINGS

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"
MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_course(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(FIXTURE_COURSE))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    with (
        closing(open_store(f"sqlite:///{tmp_path}/here.db")) as here,
        closing(open_store(f"sqlite:///{tmp_path}/there.db")) as there,
    ):
        yield here, there


def rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.database.reading() as connection:
        return {
            name: sorted(tuple(row) for row in connection.execute(select(table)))
            for name, table in tables.metadata.tables.items()
        }


def contents(store: Store) -> dict[str, list[str]]:
    """Without the numbers that the database gives."""
    numbers = {"id", "thread", "interview", "card", "place"}
    with store.database.reading() as connection:
        return {
            name: sorted(
                str([value for column, value in row._mapping.items() if column not in numbers])
                for row in connection.execute(select(table))
            )
            for name, table in tables.metadata.tables.items()
        }


def carry(source: Store, target: Store, folder: Path, **options: Any) -> Any:
    file = folder / "carried.teachllm"
    write_archive(source, file, replace=True)
    return import_archive(target, read_archive(file), **options)


def live(store: Store, name: str) -> None:
    """Something in every table."""
    store.save_settings(theme="dark")
    store.mark_read("1.1", f"section-{name}")
    store.save_position("1.1", name)
    store.save_draft("1.1", f"draft of {name}")
    store.save_submission("1.1", f"try of {name}", Verdict(status="failed"))
    store.add_note("1.1", "opening", "quoted", f"note of {name}")
    thread = store.new_thread(f"asked by {name}")
    store.add_message(thread, "user", "why?")
    store.cards.learn("1.1", MONDAY)
    own = store.own_cards.add(OwnCard(f"question of {name}", "answer"), MONDAY)
    store.cards.answer(own, 3, MONDAY)
    at = datetime.now(UTC)
    with store.database.writing() as connection:
        for table, values in {
            "figures_moved": {"figure": name, "at": at},
            "predictions": {"figure": name, "given": 1, "right": True, "at": at},
            "lab_runs": {"lab": name, "args": {}, "events": [], "mine": False, "finished": at},
            "asked": {"at": at},
            "bookmarks": {"anchor": name, "at": at},
        }.items():
            connection.execute(insert(tables.metadata.tables[table]).values(lesson="1.1", **values))
        interview = connection.execute(
            insert(tables.interviews)
            .values(config={"by": name}, started=at)
            .returning(tables.interviews.c.id)
        ).scalar_one()
        connection.execute(
            insert(tables.interview_answers).values(
                interview=interview, place=0, card="1.1/a", answer="x", followup="", seconds=1.0,
                followup_seconds=0.0, stage="answered", changed=at,
            )
        )  # fmt: skip


def test_every_table_has_a_rule_and_a_name() -> None:
    assert RULES.keys() == THINGS.keys() == tables.metadata.tables.keys()


def test_a_new_machine_gets_everything(machines: tuple[Store, Store], tmp_path: Path) -> None:
    here, there = machines
    live(here, "here")
    assert all(rows(here).values()), "a table is empty: `live` must fill it"
    carry(here, there, tmp_path)
    assert rows(there) == rows(here)
    again = carry(here, there, tmp_path)
    assert (again.added, again.changed) == (0, 0)
    assert rows(there) == rows(here)


def test_both_lives_are_kept(machines: tuple[Store, Store], tmp_path: Path) -> None:
    here, there = machines
    live(here, "here")
    live(there, "there")
    before, before_contents = rows(there), contents(there)
    looked = carry(here, there, tmp_path, dry_run=True)
    assert looked.added > 0
    assert rows(there) == before
    merged = carry(here, there, tmp_path)
    assert merged.changes == looked.changes
    both = rows(there)
    twice = ("sections_read", "notes", "threads", "messages", "own_cards", "interviews", "interview_answers")
    assert {len(both[name]) for name in twice} == {2}
    assert len(both["drafts"]) == 1
    assert {submission.source for submission in there.submissions("1.1")} == {
        "try of here",
        "try of there",
        "draft of here",  # older than the other one, which is still the draft
    }
    assert there.exercise_state("1.1").draft == "draft of there"
    answers = {card.question: card_id for card_id, card in there.own_cards.all()}
    assert len(answers) == 2
    states = {state.card.id: state.reviews for state in there.cards.all_cards(MONDAY)}
    assert [states[card_id] for card_id in answers.values()] == [1, 1]
    assert merged.backup is not None
    import_archive(there, read_archive(merged.backup), replace=True)
    assert contents(there) == before_contents


def test_a_card_reviewed_on_both_machines_is_replayed(machines: tuple[Store, Store], tmp_path: Path) -> None:
    """As if all answers had been given on one machine, the one taken back left out."""
    here, there = machines
    with closing(open_store(f"sqlite:///{tmp_path}/one.db")) as one:
        for store in (here, there, one):
            store.cards.learn("1.1", MONDAY)
        card = one.cards.cards("1.1", MONDAY)[0].card.id
        one.cards.answer(card, 3, MONDAY)
        here.cards.answer(card, 3, MONDAY)
        carry(here, there, tmp_path)
        for day, rating, where in ((1, 3, here), (5, 1, there), (9, 4, here), (20, 3, there)):
            at = MONDAY + timedelta(days=day)
            for store in (where, one):
                store.cards.bring_back([card], at)
                store.cards.answer(card, rating, at)
        there.cards.bring_back([card], MONDAY + timedelta(days=30))
        there.cards.answer(card, 1, MONDAY + timedelta(days=30))
        there.cards.undo(now=MONDAY + timedelta(days=30))
        carry(here, there, tmp_path)
        carry(there, here, tmp_path)
        expected = one.cards.memories()[card]
        assert there.cards.memories()[card] == expected
        assert here.cards.memories()[card] == expected


def hostile(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def packed(file: bytes) -> bytes:
        data = json.loads(gzip.decompress(file))
        change(data)
        return gzip.compress(json.dumps(data).encode())

    return packed


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file[:-20], "cut off"),
        (lambda file: b"PK" + file, "not a file"),
        (lambda file: gzip.compress(b"[" * 100_000), "not a file"),
        (lambda file: gzip.compress(b"0" * (513 << 20), 1), "larger than 512 MB"),
        (hostile(lambda data: data.update(revision="9999")), "newer TeachLLM"),
        (hostile(lambda data: data["tables"].update(sqlite_master=[])), "sqlite_master"),
        (hostile(lambda data: data["tables"]["notes"][0].update(text=7)), "notes.text"),
        (hostile(lambda data: data["tables"]["notes"][0].update(created="today")), "notes.created"),
        (hostile(lambda data: data["tables"]["cards"][0].update(state=9)), "cards.state"),
        (hostile(lambda data: data["tables"]["submissions"][0].update(verdict={})), "submissions.verdict"),
        (hostile(lambda data: data["tables"]["settings"][0].update(value="pink")), "theme"),
        (hostile(lambda data: data["tables"]["notes"][0].pop("text")), "notes.text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_file_is_refused(
    machines: tuple[Store, Store], tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    here, _ = machines
    live(here, "here")
    write_archive(here, tmp_path / "file.teachllm")
    with pytest.raises(StoreError, match=said):
        unpack(damage((tmp_path / "file.teachllm").read_bytes()))


def test_a_file_is_not_overwritten_unasked(machines: tuple[Store, Store], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(ArchiveError, match="is there already"):
        write_archive(machines[0], tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "kept"
    with pytest.raises(ArchiveError, match="cannot be written"):
        write_archive(machines[0], tmp_path / "none" / "file")


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            app([*arguments, "--lang", "en"])
        assert not ended.value.code, capsys.readouterr()
        return capsys.readouterr().out

    with closing(open_store()) as store:
        live(store, "here")
    file = str(tmp_path / "file.teachllm")
    assert "1 notes" in run("export", file)
    assert "All that the file has is here already" in run("import", file)
    with closing(open_store()) as store:
        store.remove_note(store.notes("1.1")[0].id)
    assert "nothing was changed" in run("import", file, "--dry-run")
    assert "To undo it" in run("import", file)
    with closing(open_store()) as store:
        assert store.notes("1.1")[0].text == "note of here"

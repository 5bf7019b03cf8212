"""Mastery: the formula on evidence, its decay, and what the store of a learner gives it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teachllm.school.cards.schedule import Memory, after
from teachllm.school.course import load_course
from teachllm.school.mastery import mastery_of_all, ready_now
from teachllm.school.mastery.formula import RETAINED, Counted, Evidence, mastery, recall
from teachllm.school.progress import open_store
from teachllm.school.progress.outline import outline
from teachllm.school.runner.verdict import NOTHING, Verdict

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def learned(name: str, ratings: int = 4) -> Memory:
    """A card that was answered "good" whenever it was due, the last time at ``NOW`` exactly."""
    memory, when = Memory.new(NOW - timedelta(days=100)), NOW - timedelta(days=100)
    for _ in range(ratings - 1):
        memory = after(name, memory, 3, when)
        when = memory.due
    return after(name, memory, 3, NOW)


def evidence(cards: list[Memory | None], **changed: object) -> Evidence:
    whole = {
        "read": Counted(4, 4),
        "moved": Counted(2, 2),
        "ran": Counted(1, 1),
        "wrote": True,
        "tried": True,
    }
    return Evidence(**{**whole, "cards": cards, **changed})  # type: ignore[arg-type]


def test_value_is_the_sum_of_its_parts_and_every_part_counts() -> None:
    cards: list[Memory | None] = [learned("a"), None]
    whole = mastery(evidence(cards), NOW)
    assert whole.value == pytest.approx(0.2 + 0.1 + 0.1 + 0.25 + 0.35 * recall(cards, NOW))
    assert recall(cards, NOW) == pytest.approx(0.5), "a card never answered is not recalled"
    half = mastery(evidence(cards, read=Counted(2, 4)), NOW)
    assert whole.value - half.value == pytest.approx(0.2 / 2)
    for changed in ({"moved": Counted(0, 2)}, {"ran": Counted(0, 1)}, {"wrote": False}, {"cards": []}):
        other = mastery(evidence(cards, **changed) if "cards" not in changed else evidence([]), NOW)
        assert other.value != pytest.approx(whole.value)
        assert other.value == pytest.approx(sum(part.points for part in other.parts))
        assert sum(part.weight for part in other.parts) == pytest.approx(1)


def test_levels_from_untouched_to_fading_and_back() -> None:
    nothing = evidence(
        [None], read=Counted(0, 4), moved=Counted(0, 2), ran=Counted(0, 1), wrote=False, tried=False
    )
    assert mastery(nothing, NOW).level == "untouched"
    assert mastery(nothing, NOW).weakest is None
    tried = evidence([None], read=Counted(0, 4), moved=Counted(0, 2), ran=Counted(0, 1), wrote=False)
    assert (mastery(tried, NOW).level, mastery(tried, NOW).value) == ("begun", 0.0)
    no_cards_yet = mastery(evidence([None]), NOW)
    assert (no_cards_yet.level, no_cards_yet.weakest) == ("learning", "recalled")
    first_steps = mastery(evidence([after("a", Memory.new(NOW), 3, NOW)]), NOW)
    assert first_steps.level == "learning", "an answer given this minute shows no retention"
    known = mastery(evidence([learned("a"), learned("b")]), NOW)
    assert known.level == "mastered"
    assert known.value == pytest.approx(1)
    unwritten = mastery(evidence([learned("a"), learned("b")], wrote=False), NOW)
    assert (unwritten.level, unwritten.weakest) == ("learning", "wrote")
    assert known.fading_on is not None
    days = (known.fading_on - NOW.astimezone().date()).days
    cards: list[Memory | None] = [learned("a"), learned("b")]
    before, on = (NOW + timedelta(days=days + shift) for shift in (-1, 0))
    assert recall(cards, before) >= RETAINED > recall(cards, on)
    faded = mastery(evidence(cards), on)
    assert (mastery(evidence(cards), before).level, faded.level) == ("mastered", "fading")
    assert (faded.weakest, faded.fading_on) == ("recalled", None)
    again = [after(name, card, 3, on) for name, card in zip("ab", cards, strict=True) if card]
    assert mastery(evidence(list(again)), on).level == "mastered"
    forgotten = after("a", again[0], 1, on + timedelta(days=5))
    assert mastery(evidence([forgotten, again[1]]), on + timedelta(days=5)).level == "fading"


def test_mastery_of_a_learner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(FIXTURE_COURSE))
    course = load_course()
    there = outline(course.lesson("1.1"))
    store = open_store(f"sqlite:///{tmp_path}/progress.db")
    try:
        assert {one.level for one in mastery_of_all(store, course, NOW).values()} == {"untouched"}
        for anchor in there.sections:
            store.mark_read("1.1", anchor)
        for figure in there.figures:
            store.mark_moved("1.1", figure)
        for lab in there.labs:
            store.save_lab_run("1.1", lab, {}, [], mine=False)
        store.save_submission("1.1", "", Verdict("passed", None, NOTHING, (), "", None, 0.1))
        store.cards.learn("1.1", NOW)
        before = mastery_of_all(store, course, NOW)
        assert before["1.1"].value == pytest.approx(0.65), "cards taken in are not recalled yet"
        assert ready_now(course, before) == {"1.1"}, "1.2 is only planned"
        moment = NOW
        for _ in range(60):
            card = store.cards.next_card("1.1", moment)
            if card is None:
                moment += timedelta(hours=1)
            else:
                store.cards.answer(card.card.id, 4, moment)
        known = mastery_of_all(store, course, moment)
        assert known["1.1"].level == "mastered"
        assert ready_now(course, known) == set()
        store.cards.suspend(store.cards.cards("1.1")[0].card.id, True)
        aside = mastery_of_all(store, course, moment)["1.1"]
        assert aside.value == known["1.1"].value, "a card set aside is no card less to know"
        assert "1 set aside" in aside.parts[-1].why.en
        later = mastery_of_all(store, course, moment + timedelta(days=3000))["1.1"]
        assert later.level == "fading"
        assert later.value < known["1.1"].value
        assert known["1.2"].parts == ()
    finally:
        store.close()

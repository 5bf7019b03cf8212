"""Cards set aside, cards that are forgotten again and again, cards of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teachllm.school.cards import AlreadyAnswered, OwnCard, Reviews, UnknownCard, UnsuitableCard
from teachllm.school.cards.own_text import own_html
from teachllm.school.cards.reviews import becomes_leech
from teachllm.school.progress import Store, open_store

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def course(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(FIXTURE_COURSE))


@pytest.fixture
def store() -> Iterator[Store]:
    store = open_store()
    yield store
    store.close()


@pytest.fixture
def reviews(store: Store) -> Reviews:
    return Reviews(store, zone=UTC)


def _first(reviews: Reviews, now: datetime = NOON) -> str:
    coming = reviews.next_card(now=now)
    assert coming is not None
    return coming.card.id


def test_what_is_set_aside_does_not_come_until_it_should(reviews: Reviews) -> None:
    reviews.learn("1.1", NOON)
    suspended = _first(reviews)
    reviews.suspend(suspended, True)
    buried = _first(reviews)
    assert buried != suspended
    reviews.bury(buried, NOON)
    assert _first(reviews) not in (suspended, buried)
    with pytest.raises(AlreadyAnswered):
        reviews.answer(suspended, 3, NOON)
    states = {state.card.id: state for state in reviews.cards("1.1", NOON)}
    assert (states[suspended].suspended, states[suspended].buried) == (True, False)
    assert (states[buried].suspended, states[buried].buried) == (False, True)
    tomorrow = NOON + timedelta(days=1)
    assert _first(reviews, tomorrow) == buried
    reviews.suspend(suspended, False)
    assert _first(reviews) == suspended
    with pytest.raises(UnknownCard):
        reviews.suspend("1.1:no-such-card", True)


@pytest.mark.parametrize("action", ["suspend", "keep"])
def test_a_card_that_is_forgotten_again_and_again_is_a_leech(
    store: Store, reviews: Reviews, action: str
) -> None:
    store.save_settings(leech_lapses=2, leech_action=action)
    reviews.learn("1.1", NOON)
    card, now = _first(reviews), NOON
    for lapses in (1, 2):
        memory = reviews.answer(card, 4, now)
        now = memory.due
        memory = reviews.answer(card, 1, now)
        assert memory.lapses == lapses
        assert next(state for state in reviews.cards("1.1", now) if state.card.id == card).suspended is (
            action == "suspend" and lapses == 2
        )
        if lapses < 2:
            now = memory.due
    assert reviews.undo(now) == card
    state = next(state for state in reviews.cards("1.1", now) if state.card.id == card)
    assert (state.lapses, state.suspended) == (1, False), "taking the answer back takes the lapse back"


def test_when_a_card_is_a_leech() -> None:
    assert [lapses for lapses in range(20) if becomes_leech(lapses, 8)] == [8, 12, 16]
    assert not any(becomes_leech(lapses, 0) for lapses in range(50))


def test_undo_works_in_another_session(store: Store, reviews: Reviews) -> None:
    reviews.learn("1.1", NOON)
    card = _first(reviews)
    reviews.answer(card, 3, NOON)
    again = open_store()
    assert Reviews(again, zone=UTC).undo(NOON) == card
    again.close()
    assert _first(reviews) == card


def test_an_own_card_is_reviewed_edited_deleted_and_brought_back(store: Store, reviews: Reviews) -> None:
    card = store.own_cards.add(OwnCard("q?", "**a**", lesson="1.1", anchor="idea"), NOON)
    loose = store.own_cards.add(OwnCard("no lesson", "a"), NOON)
    assert reviews.counts("1.1", NOON).new == 1, "it comes with its lesson"
    assert reviews.counts(now=NOON).new == 2
    memory = reviews.answer(card, 3, NOON)
    assert store.own_cards.change(card, "q2?", "a2")
    assert store.own_cards.delete(card)
    assert store.own_cards.delete(loose)
    assert reviews.counts(now=memory.due).left == 0
    assert store.own_cards.all() == []
    assert store.own_cards.restore(card)
    coming = reviews.next_card(now=memory.due)
    assert coming is not None
    told = coming.card.to_json("zh")
    assert (coming.card.id, coming.reviews, told["question_html"]) == (card, 1, "<p>q2?</p>\n")
    assert told["followup"] is None
    assert store.overview()["1.1"]["recalled"] == 0, "own cards are not the lesson's"
    for question, answer in (("", "a"), ("q", " "), ("q" * 20_001, "a")):
        with pytest.raises(UnsuitableCard):
            store.own_cards.change(card, question, answer)
    assert not store.own_cards.delete("own:x")


def test_weak_cards_come_back_now_and_keep_what_is_known_of_them(reviews: Reviews) -> None:
    ids = [state.card.id for state in reviews.cards("1.1", NOON)]
    reviews.learn("1.1", NOON)
    known = reviews.answer(ids[0], 4, NOON)
    reviews.suspend(ids[1], True)
    later = NOON + timedelta(hours=1)
    assert reviews.bring_back([ids[0], ids[1], ids[2], "9.9:gone"], later) == 2
    states = {state.card.id: state for state in reviews.cards("1.1", later)}
    assert states[ids[0]].due == later
    assert states[ids[0]].stability == known.stability
    assert not states[ids[1]].suspended


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>x</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](http://other.example/a.png)",
        "![x](//other.example/a.png)",
        "![x](data:image/svg+xml,<svg/onload=x>)",
        '[x](http://a" onclick="x)',
        "$</span><script>x</script>$",
        "{lesson 9.9} {term nothing}",
    ],
)
def test_hostile_markdown_is_text(hostile: str) -> None:
    html = own_html(hostile)
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert ' onclick="' not in html


def test_pictures_and_formulas_of_own_cards() -> None:
    assert '<img src="/api/cards/media/a.png" alt="loss" loading="lazy">' in own_html("![loss](media/a.png)")
    assert '<span class="math" data-display="0">x^2</span>' in own_html("area $x^2$")

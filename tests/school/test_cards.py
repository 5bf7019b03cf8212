"""Cards: read from the lessons, scheduled by FSRS, limited by the day, taken back, never counted twice."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import fsrs
import pytest
from sqlalchemy import select

from teachllm.school.cards import (
    AlreadyAnswered,
    Counts,
    Reviews,
    UnknownCard,
    UnknownRating,
    cards_of,
)
from teachllm.school.cards.plain import plain
from teachllm.school.cards.schedule import RATINGS, Memory, after, day_begin, day_end, intervals
from teachllm.school.course import UnknownLesson, load_course
from teachllm.school.problem import CourseFileError
from teachllm.school.progress import Store, open_store, tables

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small course, so that tests may change its cards."""
    copy = tmp_path / "course"
    shutil.copytree(FIXTURE_COURSE, copy)
    monkeypatch.setenv("TEACHLLM_COURSE", str(copy))
    return copy


@pytest.fixture
def store() -> Iterator[Store]:
    store = open_store()
    yield store
    store.close()


@pytest.fixture
def reviews(store: Store) -> Reviews:
    return Reviews(store, zone=UTC)


def _ids(course: Path) -> list[str]:
    return [card.id for card in cards_of(load_course().lesson("1.1"))]


def test_the_cards_of_a_lesson(course: Path) -> None:
    cards = cards_of(load_course().lesson("1.1"))
    assert len(cards) >= 7
    assert len({card.id for card in cards}) == len(cards)
    assert all(card.id.startswith("1.1:") for card in cards)
    told = cards[0].to_json("en")
    assert told["question_html"].startswith("<p>")
    assert told["followup"]["answer_html"]
    assert cards_of(load_course().lesson("1.2")) == (), "a planned lesson has none"


def test_a_broken_file_is_told_and_does_not_stop_the_reviews(course: Path, reviews: Reviews) -> None:
    reviews.learn("1.1", NOON)
    path = course / "01-basics" / "01-temperature" / "cards.yaml"
    path.write_text("- id: Bad Name\n  topic: x\n", encoding="utf-8")
    with pytest.raises(CourseFileError) as caught:
        reviews.cards("1.1", NOON)
    assert len(caught.value.problems) > 3, "everything that is wrong, not only the first"
    assert reviews.counts(now=NOON) == Counts(0, 0)
    assert reviews.next_card(now=NOON) is None


def test_text_for_a_terminal() -> None:
    course = load_course()
    text = plain(
        "a *b* `c` $\\sqrt{d_k}$\nsee {lesson 1.1} and {paper 1706.03762}\n\n$$n^2$$\n\nnext", "en", course
    )
    assert text == f"a b c √d_k see 1.1 {course.lesson('1.1').title.en} and arXiv:1706.03762\n\nn²\n\nnext"


def test_the_schedule_is_that_of_fsrs() -> None:
    """The readable oracle: the library itself, without fuzz, on the same answers."""
    scheduler = fsrs.Scheduler(enable_fuzzing=False)
    card = fsrs.Card(card_id=1, due=NOON)
    memory = Memory.new(NOON)
    now = NOON
    for rating in (3, 3, 3, 1, 3, 4, 2):
        card, _ = scheduler.review_card(card, fsrs.Rating(rating), now)
        memory = after("1.1:x", memory, rating, now)
        assert (memory.state, memory.step) == (int(card.state), card.step)
        assert memory.stability == pytest.approx(card.stability)
        assert memory.difficulty == pytest.approx(card.difficulty)
        wanted = card.due - now
        slack = timedelta(0) if wanted < timedelta(days=2.5) else wanted * 0.15 + timedelta(days=2)
        assert abs((memory.due - now) - wanted) <= slack
        now = card.due = memory.due
        card.last_review = memory.last_review


def test_the_same_answers_give_the_same_days_and_leave_the_global_random_alone() -> None:
    def days(name: str) -> list[float]:
        memory, now, found = Memory.new(NOON), NOON, []
        for _ in range(6):
            memory = after(name, memory, 3, now)
            found.append((memory.due - now).total_seconds())
            now = memory.due
        return found

    random.seed(1)
    first = days("1.1:a")
    drawn = random.random()
    random.seed(2)
    assert days("1.1:a") == first
    random.seed(1)
    assert random.random() == drawn, "scheduling drew nothing from the program's own random numbers"
    others = [days(f"1.1:{name}") for name in "bcdefgh"]
    assert any(other != first for other in others), "cards learned together do not come back together"


def test_what_a_button_promises_is_what_happens(reviews: Reviews, course: Path) -> None:
    reviews.learn("1.1", NOON)
    coming = reviews.next_card(now=NOON)
    assert coming is not None
    assert coming.intervals == sorted(coming.intervals)
    now = NOON
    for _ in range(3):
        memory = reviews.answer(coming.card.id, 3, now)
        now = memory.due
        expected = intervals(coming.card.id, memory, now)
        assert (after(coming.card.id, memory, 3, now).due - now).total_seconds() == expected[2]


def test_learning_is_done_once(reviews: Reviews, course: Path) -> None:
    ids = _ids(course)
    assert reviews.learn("1.1", NOON) == len(ids)
    assert reviews.learn("1.1", NOON + timedelta(hours=1)) == 0
    states = reviews.cards("1.1", NOON)
    assert [state.card.id for state in states] == ids
    assert all(state.is_due and state.due == NOON for state in states)
    with pytest.raises(UnknownLesson):
        reviews.learn("8.8")


def test_new_cards_come_in_the_lessons_order_and_within_the_days_limit(
    store: Store, reviews: Reviews, course: Path
) -> None:
    store.save_settings(new_cards_per_day=3)
    reviews.learn("1.1", NOON)
    assert reviews.counts(now=NOON) == Counts(due=0, new=3)
    seen = []
    for left in (3, 2, 1):
        assert reviews.counts(now=NOON).new == left
        coming = reviews.next_card(now=NOON)
        assert coming is not None
        assert coming.is_new
        seen.append(coming.card.id)
        reviews.answer(coming.card.id, 4, NOON)
    assert seen == _ids(course)[:3]
    assert reviews.next_card(now=NOON) is None
    assert sum(state.is_due for state in reviews.cards("1.1", NOON)) == 0
    assert reviews.next_due(now=NOON) == datetime(2026, 3, 3, 4, tzinfo=UTC), (
        "tomorrow, when the limit is new"
    )
    assert reviews.counts(now=NOON + timedelta(days=1)).new == 3
    reviews.undo(NOON)
    assert reviews.counts(now=NOON).new == 1, "what was taken back does not count"


def test_reviews_have_a_limit_and_steps_of_minutes_have_none(
    store: Store, reviews: Reviews, course: Path
) -> None:
    reviews.learn("1.1", NOON)
    ids = _ids(course)
    for card in ids[:4]:
        reviews.answer(card, 4, NOON)
    reviews.answer(ids[4], 1, NOON)
    store.save_settings(reviews_per_day=2, new_cards_per_day=0)
    later = NOON + timedelta(days=60)
    assert reviews.counts(now=later) == Counts(due=3, new=0), "two reviews, and the step of a minute"
    before = reviews.next_card(now=later)
    assert before is not None
    assert before.card.id == ids[4], "what was due first comes first"
    reviews.answer(ids[4], 3, later)
    for _ in range(2):
        coming = reviews.next_card(now=later)
        assert coming is not None
        reviews.answer(coming.card.id, 3, later)
    assert reviews.next_card(now=later) is None
    assert reviews.counts(now=later + timedelta(days=1)).due == 3


def test_a_second_answer_from_another_window_is_refused(reviews: Reviews, course: Path) -> None:
    reviews.learn("1.1", NOON)
    coming = reviews.next_card(now=NOON)
    assert coming is not None
    memory = reviews.answer(coming.card.id, 3, NOON)
    with pytest.raises(AlreadyAnswered, match="another window"):
        reviews.answer(coming.card.id, 1, NOON + timedelta(seconds=5))
    late = memory.due + timedelta(seconds=1)
    with pytest.raises(AlreadyAnswered):
        reviews.answer(coming.card.id, 1, late, reviews=coming.reviews)
    assert reviews.answer(coming.card.id, 3, late, reviews=1).reviews == 2


_ANSWER = """
import sys
from datetime import datetime
from teachllm.school.cards import AlreadyAnswered
from teachllm.school.progress import open_store
try:
    open_store().cards.answer(sys.argv[1], 3)
    print("counted")
except AlreadyAnswered:
    print("refused")
"""


def test_two_processes_answer_the_same_card_at_once(store: Store, course: Path) -> None:
    store.cards.learn("1.1")
    card = _ids(course)[0]
    answers = [
        subprocess.Popen([sys.executable, "-c", _ANSWER, card], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = sorted(one.communicate(timeout=60)[0].strip() for one in answers)
    assert told == ["counted", "refused", "refused"]
    with store.database.reading() as connection:
        assert len(connection.execute(select(tables.reviews)).all()) == 1


def test_what_cannot_be_answered(reviews: Reviews, course: Path) -> None:
    card = _ids(course)[0]
    with pytest.raises(UnknownCard, match=card):
        reviews.answer(card, 3, NOON)
    reviews.learn("1.1", NOON)
    for rating in (0, 5, -1, 3.0, True, "3", None):
        with pytest.raises(UnknownRating):
            reviews.answer(card, rating, NOON)  # type: ignore[arg-type]
    assert reviews.counts(now=NOON).due == 0


@pytest.mark.parametrize("rating", RATINGS)
def test_undo_brings_the_card_back_as_it_was(
    reviews: Reviews, course: Path, store: Store, rating: int
) -> None:
    reviews.learn("1.1", NOON)
    first, second = _ids(course)[:2]

    def row(card: str) -> dict[str, object]:
        with store.database.reading() as connection:
            found = connection.execute(select(tables.cards).where(tables.cards.c.id == card)).one()
        return dict(found._mapping)

    fresh = row(first)
    memory = reviews.answer(first, 4, NOON)
    once = row(first)
    reviews.answer(first, rating, memory.due)
    assert row(first) != once
    reviews.answer(second, 3, memory.due)
    at = memory.due + timedelta(minutes=1)
    assert reviews.undo(at) == second
    assert reviews.undo(at) == first
    assert row(first) == once
    assert reviews.undo(at) is None, "the first answer was on another day"
    assert reviews.undo(NOON) == first
    assert row(first) == fresh
    assert reviews.undo(NOON) is None
    with store.database.reading() as connection:
        log = connection.execute(select(tables.reviews.c.rating, tables.reviews.c.undone)).all()
    assert [tuple(entry) for entry in log] == [(4, True), (rating, True), (3, True)], "the log keeps all"


def test_one_lesson_only(reviews: Reviews, store: Store) -> None:
    reviews.learn("1.1", NOON)
    assert reviews.counts("1.1", NOON).new > 0
    assert reviews.counts("1.2", NOON) == Counts(0, 0)
    assert reviews.next_card("1.2", NOON) is None
    assert reviews.next_due("1.2", NOON) is None


def test_a_card_that_the_course_has_no_longer_does_not_come(reviews: Reviews, course: Path) -> None:
    reviews.learn("1.1", NOON)
    gone = _ids(course)[0]
    path = course / "01-basics" / "01-temperature" / "cards.yaml"
    text = path.read_text("utf-8")
    before = reviews.counts(now=NOON).new
    path.write_text(text.replace(f"- id: {gone.partition(':')[2]}\n", "- id: another-name\n"), "utf-8")
    assert gone not in _ids(course)
    assert reviews.counts(now=NOON).new == before - 1
    coming = reviews.next_card(now=NOON)
    assert coming is not None
    assert coming.card.id != gone


@pytest.mark.parametrize(
    ("zone", "now", "begin", "hours"),
    [
        ("Asia/Shanghai", "2026-03-02T03:59:59+08:00", "2026-03-01T04:00:00+08:00", 24),
        ("Asia/Shanghai", "2026-03-02T04:00:00+08:00", "2026-03-02T04:00:00+08:00", 24),
        ("America/New_York", "2026-03-08T12:00:00-04:00", "2026-03-08T04:00:00-04:00", 24),
        ("America/New_York", "2026-03-08T01:30:00-05:00", "2026-03-07T04:00:00-05:00", 23),
        ("America/New_York", "2026-11-01T00:30:00-04:00", "2026-10-31T04:00:00-04:00", 25),
    ],
)
def test_a_day_begins_at_four_where_the_learner_is(zone: str, now: str, begin: str, hours: int) -> None:
    moment, place = datetime.fromisoformat(now), ZoneInfo(zone)
    assert day_begin(moment, place) == datetime.fromisoformat(begin)
    assert day_end(moment, place) - day_begin(moment, place) == timedelta(hours=hours)
    assert day_begin(moment.astimezone(UTC), place) == datetime.fromisoformat(begin)


def test_the_zone_of_this_computer_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    time = pytest.importorskip("time")
    if not hasattr(time, "tzset"):
        pytest.skip("this system cannot change its zone for a process")
    moment = datetime.fromisoformat("2026-03-02T20:30:00+00:00")
    try:
        for name, begin in (("Asia/Shanghai", "2026-03-02T20:00Z"), ("UTC", "2026-03-02T04:00Z")):
            monkeypatch.setenv("TZ", name)
            time.tzset()
            assert day_begin(moment) == datetime.fromisoformat(begin)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_limit_is_new_at_four_and_not_at_midnight(store: Store, course: Path) -> None:
    shanghai = Reviews(store, zone=ZoneInfo("Asia/Shanghai"))
    store.save_settings(new_cards_per_day=1)
    evening = datetime.fromisoformat("2026-03-02T23:30:00+08:00")
    shanghai.learn("1.1", evening)
    coming = shanghai.next_card(now=evening)
    assert coming is not None
    shanghai.answer(coming.card.id, 4, evening)
    assert shanghai.counts(now=evening + timedelta(hours=2)).new == 0
    assert shanghai.counts(now=datetime.fromisoformat("2026-03-03T04:00:00+08:00")).new == 1


def test_a_time_without_zone_never_reaches_the_database(reviews: Reviews) -> None:
    with pytest.raises(Exception, match="without a time zone"):
        reviews.learn("1.1", datetime(2026, 3, 2))


def test_memory_survives_the_log(reviews: Reviews, store: Store, course: Path) -> None:
    """What undo reads back from JSON is exactly what was written."""
    reviews.learn("1.1", NOON)
    card = _ids(course)[0]
    first = reviews.answer(card, 3, NOON + timedelta(microseconds=123))
    reviews.answer(card, 2, first.due)
    reviews.undo(first.due)
    with store.database.reading() as connection:
        row = connection.execute(select(tables.cards).where(tables.cards.c.id == card)).one()._mapping
    assert {name: row[name] for name in asdict(first)} == asdict(first)

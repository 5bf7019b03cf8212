"""The study plan: prerequisites and capacity kept, nothing lost, moved when life moves, told honestly."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
import vobject
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from teachllm.school.course import Course, load_course
from teachllm.school.plan import PlanError, Planner, Wish, built_in
from teachllm.school.plan.calendar_file import calendar_file
from teachllm.school.plan.evidence import Evidence, day_of, gather
from teachllm.school.plan.fit import fit
from teachllm.school.plan.goal import goal_of, with_needs
from teachllm.school.plan.kept import load_plan, was_set_aside
from teachllm.school.plan.plan import Plan, advanced, changed, new_plan, pushed, undone
from teachllm.school.plan.reviews import after_learning, expected
from teachllm.school.plan.schedule import Item, Work, schedule
from teachllm.school.plan.wish import days_of, days_text
from teachllm.school.plan.work import tasks_of
from teachllm.school.plan_command import plan as plan_command
from teachllm.school.progress import Store, open_store, tables
from teachllm.school.progress.outline import Outline

MONDAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LESSON = Outline(frozenset("s"), frozenset("f"), frozenset("l"), has_exercise=True)


def written(course: Course) -> Course:
    """The course as if all 99 lessons were there."""
    chapters = tuple(
        replace(chapter, lessons=tuple(replace(lesson, status="available") for lesson in chapter.lessons))
        for chapter in course.chapters
    )
    return replace(course, chapters=chapters)


@pytest.fixture(scope="module")
def course() -> Course:
    return written(load_course())


def work_for(wish: Wish, course: Course, load: dict[date, float] | None = None) -> Work:
    tasks = [
        task
        for lesson in goal_of(wish, course).lessons
        for task in tasks_of(course.lessons[lesson], LESSON, 8, {}, wish.style)
    ]
    return Work(tasks, load or {})


@settings(max_examples=30, deadline=None)
@given(
    style=st.sampled_from(["fast", "steady"]),
    goal=st.sampled_from(["all", "chapters", "topic", "interview"]),
    weekdays=st.lists(st.sampled_from([0, 15, 40, 60, 240]), min_size=7, max_size=7).filter(any),
    days_off=st.frozensets(st.integers(0, 60), max_size=5),
    days=st.integers(1, 300),
    overdue=st.integers(0, 900),
    spent=st.integers(0, 60),
)
def test_every_schedule_keeps_order_and_capacity_and_loses_nothing(
    style: str, goal: str, weekdays: list[int], days_off: frozenset[int], days: int, overdue: int, spent: int
) -> None:
    course = written(load_course())
    wish = Wish(
        style=style,  # type: ignore[arg-type]
        goal=goal,  # type: ignore[arg-type]
        start=MONDAY,
        chapters=(8, 10) if goal == "chapters" else (),
        topic="10.4",
        until=MONDAY + timedelta(days=days) if goal == "interview" or days % 2 else None,
        weekdays=tuple(weekdays),
        days_off=frozenset(MONDAY + timedelta(days=day) for day in days_off),
    )
    work = replace(work_for(wish, course, {MONDAY: float(overdue)}), spent=spent)
    found = schedule(wish, work, MONDAY)
    assert schedule(wish, work, MONDAY) == found

    used: Counter[date] = Counter()
    placed: Counter[tuple[str | None, str | None]] = Counter()
    for item in found.items:
        used[item.day] += item.minutes
        placed[item.lesson, item.thing] += item.minutes if item.kind == "lesson" else 0
    used[MONDAY] += min(spent, wish.minutes_on(MONDAY))
    assert all(minutes <= wish.minutes_on(day) for day, minutes in used.items())

    for task in work.tasks:
        left = sum(one.left for one in found.unplaced if (one.lesson, one.thing) == (task.lesson, task.thing))
        # A piece's share is not a whole number of minutes: the rest of a cut thing is rounded up.
        assert abs(placed[task.lesson, task.thing] + left - task.minutes) <= 1

    begun: dict[str, int] = {}
    ended: dict[str, int] = {}
    for number, item in enumerate(found.items):
        if item.lesson:
            begun.setdefault(item.lesson, number)
            ended[item.lesson] = number
    for lesson in begun:
        for needed in course.lessons[lesson].prerequisites:
            assert needed not in begun or ended[needed] < begun[lesson], f"{lesson} before {needed}"
        assert all(needed in begun for needed in course.lessons[lesson].prerequisites)


def test_goals_take_what_they_need_and_never_what_is_not_written() -> None:
    course = load_course()
    topic = goal_of(Wish("steady", MONDAY, "topic", topic="8.7"), course)
    assert set(topic.lessons) | set(topic.planned) == with_needs(["8.7"], course)
    everything = goal_of(built_in("steady", MONDAY), course)
    assert len(everything.lessons) + len(everything.planned) == len(course.lessons)
    assert all(course.lessons[lesson].available for lesson in everything.lessons)
    assert everything.planned
    fast = goal_of(built_in("fast", MONDAY), written(course))
    needed = {one for lesson in fast.lessons for one in course.lessons[lesson].prerequisites}
    for lesson in (course.lessons[one] for one in fast.lessons if one not in needed):
        assert lesson.priority.en.startswith("essential")
        assert lesson.difficulty < 4
    soon = goal_of(Wish("steady", MONDAY, "interview", until=MONDAY + timedelta(days=5)), written(course))
    assert soon.lessons[0] == "1.1"
    assert soon.lessons.index("2.1") < soon.lessons.index("13.2"), "an interview asks the essential first"


def test_a_goal_that_does_not_fit_says_what_to_drop_and_then_fits(course: Course) -> None:
    wish = Wish("steady", MONDAY, "interview", until=MONDAY + timedelta(days=30), weekdays=(120,) * 7)
    work = work_for(wish, course)
    found = schedule(wish, work, MONDAY)
    verdict = fit(wish, work, MONDAY, found, course)
    assert verdict.missing == found.missing > 0
    assert verdict.enough
    rest = replace(wish, left_out=verdict.drop)
    assert not schedule(rest, work_for(rest, course), MONDAY).unplaced
    kept = set(goal_of(rest, course).lessons)
    assert kept
    assert all(set(course.lessons[one].prerequisites) <= kept for one in kept), (
        "nothing that is needed is dropped"
    )
    assert verdict.more is not None
    longer = replace(wish, weekdays=tuple(day + verdict.more for day in wish.weekdays))
    assert not schedule(longer, work_for(longer, course), MONDAY).unplaced
    assert verdict.drop[0].startswith("13."), "what is learned as needed goes first"


def test_nothing_is_dropped_that_a_kept_lesson_needs(course: Course) -> None:
    for days in range(14, 34, 2):  # 2.3 is easier than 2.2, which it needs
        wish = Wish(
            "steady", MONDAY, "chapters", (2,), until=MONDAY + timedelta(days=days), weekdays=(120,) * 7
        )
        work = work_for(wish, course)
        verdict = fit(wish, work, MONDAY, schedule(wish, work, MONDAY), course)
        kept = set(goal_of(replace(wish, left_out=verdict.drop), course).lessons)
        assert all(set(course.lessons[one].prerequisites) <= kept for one in kept)


def test_reviews_follow_fsrs_and_take_their_time_from_the_day(course: Course) -> None:
    steps = after_learning()
    assert steps[0] >= 1
    assert all(
        later - one >= one - before for before, one, later in zip(steps, steps[1:], steps[2:], strict=False)
    )
    wish = built_in("steady", MONDAY)
    found = schedule(wish, work_for(wish, course), MONDAY)
    learned = next(item.day for item in found.items if item.thing == "recalled" and item.until == 1)
    first = next(item for item in found.items if item.kind == "reviews")
    assert first.day == learned + timedelta(days=steps[0])
    flood = schedule(wish, work_for(wish, course, {MONDAY: 500.0}), MONDAY)
    by_day = {item.day: item for item in flood.items if item.kind == "reviews"}
    assert by_day[MONDAY].minutes <= 120, "learning goes on beside reviews"
    assert by_day[MONDAY + timedelta(days=1)].cards > 0, "what is over waits for the next day"


def test_expected_counts_what_is_overdue_today(store: Store) -> None:
    store.cards.learn("1.1", NOW)
    card = store.cards.next_card("1.1", NOW)
    assert card
    store.cards.answer(card.card.id, 4, NOW)
    memory = store.cards.memories()[card.card.id]
    later = memory.due.date() + timedelta(days=9)
    load = expected(store.cards.memories().values(), later)
    assert load[later] == 1, "cards that were never answered are no reviews"
    assert len(load) > 1
    assert min(load) == later


def test_reviews_are_done_when_nothing_more_comes_today_or_enough_was_answered(store: Store) -> None:
    store.cards.learn("1.1", NOW)
    card = store.cards.next_card("1.1", NOW)
    assert card
    name = card.card.id
    store.cards.answer(name, 4, NOW)
    due = store.cards.memories()[name].due
    known = gather(store, load_course(), due, day_of(due))
    reviews = Item(day_of(due), "reviews", 1, cards=1)
    assert known.due == 1
    assert not known.has_done(reviews, day_of(due))
    store.cards.answer(name, 3, due)
    known = gather(store, load_course(), due, day_of(due))
    assert known.answered == {day_of(due): 1}
    assert known.has_done(reviews, day_of(due))
    assert known.has_done(reviews, day_of(due) + timedelta(days=1)), "also when the day is over"
    assert not known.has_done(replace(reviews, cards=2), day_of(due) + timedelta(days=1))
    store.cards.suspend(name, True)
    assert name not in gather(store, load_course(), due, day_of(due)).memories


# A learner's days


def evidence(shares: dict[str, dict[str, float]] | None = None, **more: object) -> Evidence:
    return Evidence(shares=shares or {}, memories={}, **more)  # type: ignore[arg-type]


def planned_on(day: date, wish: Wish, course: Course, known: Evidence) -> Plan:
    return new_plan("0" * 12, wish, course, known, NOW, day)


def test_late_and_early_move_the_rest_and_keep_the_past() -> None:
    course = load_course()
    wish = replace(built_in("steady", MONDAY), weekdays=(60,) * 7)
    plan = planned_on(MONDAY, wish, course, evidence())
    first = plan.items[0]
    assert (first.lesson, first.thing) == ("1.1", "read")
    assert advanced(plan, course, evidence(), NOW, MONDAY) is plan, "today's list stays for the day"

    on_time = evidence({"1.1": {"read": first.until}})
    tuesday = advanced(plan, course, on_time, NOW, MONDAY + timedelta(days=1))
    assert [past.done for past in tuesday.past] == [True]
    assert tuesday.moved == ()
    assert tuesday.items == plan.items[1:]

    late = advanced(plan, course, evidence(), NOW, MONDAY + timedelta(days=3))
    assert [past.item for past in late.past] == [item for item in plan.items if item.day < late.day]
    assert not any(past.done for past in late.past)
    assert {move.lesson: move.now - move.was for move in late.moved}["1.1"] == timedelta(days=3)

    early = evidence({"1.1": dict.fromkeys(("read", "moved", "ran", "wrote", "recalled", "asked"), 1.0)})
    ahead = advanced(plan, course, early, NOW, MONDAY + timedelta(days=1))
    assert all(item.lesson != "1.1" for item in ahead.items)
    assert all(move.now < move.was for move in ahead.moved)
    assert ahead.moved


def test_push_and_undo() -> None:
    course = load_course()
    wish = built_in("steady", MONDAY)
    plan = planned_on(MONDAY, wish, course, evidence())
    did_read = evidence({"1.1": {"read": 1.0}})
    later = pushed(plan, course, did_read, NOW)
    assert [(item.lesson, item.thing) for item in later.on(MONDAY)] == [("1.1", "read")], "what is done stays"
    assert any(
        item.thing == "moved" and item.lesson == "1.1" for item in later.on(MONDAY + timedelta(days=1))
    )
    back = undone(later, course, did_read, NOW)
    assert back.wish == wish
    # What was cut in another place by what was done meanwhile is as long as before.
    assert sum(item.minutes for item in back.on(MONDAY)) == 240
    with pytest.raises(PlanError, match="undo"):
        undone(back, course, did_read, NOW)
    other = changed(plan, replace(wish, left_out=("1.1",)), course, evidence(), NOW)
    assert all(item.lesson != "1.1" for item in other.items)


def test_weak_lessons_come_first_and_interviews_are_rehearsed() -> None:
    course = load_course()
    wish = Wish("steady", MONDAY, "interview", until=MONDAY + timedelta(days=28))
    known = evidence(weak=[("1.3", 0.5)])
    plan = planned_on(MONDAY, wish, course, known)
    assert (plan.items[0].kind, plan.items[0].lesson, plan.items[0].minutes) == ("again", "1.3", 20)
    days = [item.day for item in plan.items if item.kind == "interview"]
    assert days == [wish.until - timedelta(days=before) for before in (14, 7, 3, 1)]  # type: ignore[operator]
    assert not known.has_done(plan.items[0], MONDAY)
    assert evidence().has_done(plan.items[0], MONDAY), "no longer weak"
    assert evidence(interviewed=frozenset(days[:1])).has_done(Item(days[0], "interview", 45), MONDAY)


# Kept


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'progress.db'}")
    yield store
    store.close()


def test_kept_as_it_was_and_a_broken_one_is_set_aside(store: Store) -> None:
    planner = Planner(store, load_course(), NOW)
    assert planner.current() is None
    made = planner.make(Wish("fast", MONDAY, "chapters", (1, 8), days_off=frozenset({MONDAY})))
    assert load_plan(store) == made.plan
    row = tables.settings.c
    for broken in ({"version": 2}, "x", {**_kept(store), "items": [{"day": "2026-02-30"}]}):
        with store.database.writing() as connection:
            connection.execute(tables.settings.update().where(row.name == "plan").values(value=broken))
        assert Planner(store, load_course(), NOW).current() is None
        assert was_set_aside(store)
        Planner(store, load_course(), NOW).make(built_in("fast", MONDAY))
        assert not was_set_aside(store)


def _kept(store: Store) -> dict[str, object]:
    with store.database.reading() as connection:
        value = connection.execute(
            select(tables.settings.c.value).where(tables.settings.c.name == "plan")
        ).scalar_one()
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Wish("fast", MONDAY, weekdays=(0,) * 7), "0 hours"),
        (Wish("fast", MONDAY, weekdays=(5,) * 7), "at least 15"),
        (Wish("fast", MONDAY, days_off=frozenset(map(date.fromordinal, range(1, 1003)))), "1002 days off"),
        (Wish("fast", MONDAY, "chapters"), "at least one"),
        (Wish("fast", MONDAY, "chapters", (14,)), "no chapter 14"),
        (Wish("fast", MONDAY, "topic", topic="99.1"), "no lesson"),
        (Wish("fast", MONDAY, "interview"), "When is"),
        (Wish("fast", MONDAY, "interview", until=MONDAY), "no day to learn"),
    ],
)
def test_wishes_that_cannot_be_planned_say_why(wish: Wish, says: str, store: Store) -> None:
    with pytest.raises(PlanError, match=says) as told:
        Planner(store, load_course(), NOW).make(wish)
    assert told.value.get("zh") != told.value.get("en")


def test_days_off_are_written_as_days_and_spans() -> None:
    text = "2026-12-24, 2026-12-30..2027-01-02"
    assert len(days_of(text)) == 5
    assert days_text(days_of("2026-12-24；2026-12-31..2027-01-02、 2026-12-30")) == text
    for wrong in ("soon", "2026-12-24..2026-12-01", "2026-02-30", "2026-01-01..2099-01-01", ".."):
        with pytest.raises(PlanError, match="is no day"):
            days_of(wrong)


def test_the_command_makes_pushes_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHLLM_DATABASE", f"sqlite:///{tmp_path / 'progress.db'}")
    plan_command(lang="en")
    assert "no plan yet" in capsys.readouterr().out
    plan_command(new="steady", lang="zh")
    out = capsys.readouterr().out
    assert "稳扎稳打版" in out
    assert "1.1 训练流程与分词器：读课文" in out
    plan_command(push=True, ics=tmp_path / "plan.ics", lang="en")
    assert "1.1 moved from" in capsys.readouterr().out
    assert len(events((tmp_path / "plan.ics").read_bytes())) > 20


# The calendar, read by another library


def events(content: bytes) -> dict[str, SimpleNamespace]:
    calendar = vobject.readOne(content.decode())
    return {
        event.uid.value: SimpleNamespace(
            begins=event.dtstart.value,
            ends=event.dtend.value if hasattr(event, "dtend") else None,
            status=event.status.value,
            sequence=int(event.sequence.value),
            summary=event.summary.value,
        )
        for event in calendar.vevent_list
    }


def test_another_library_reads_the_calendar_and_a_moved_plan_moves_its_events() -> None:
    course = load_course()
    plan = planned_on(MONDAY, built_in("steady", MONDAY), course, evidence())
    zone = ZoneInfo("Europe/Berlin")
    content, known = calendar_file(plan, course, "zh", zone)
    before = events(content)
    assert len(before) == len(known)
    assert any("自注意力" in event.summary for event in before.values())
    by_day: dict[date, int] = defaultdict(int)
    for event in before.values():
        by_day[event.begins.astimezone(zone).date()] += round(
            (event.ends - event.begins).total_seconds() / 60
        )
    wanted = {day: sum(item.minutes for item in plan.on(day)) for day in by_day}
    assert by_day == wanted

    moved = pushed(replace(plan, exported=known), course, evidence(), NOW)
    after = events(calendar_file(moved, course, "zh", zone)[0])
    assert set(before) <= set(after), "what is gone is cancelled, not forgotten"
    uid = next(uid for uid in before if "lesson-1.1-1" in uid)
    assert after[uid].begins - before[uid].begins == timedelta(days=1)
    assert after[uid].sequence > before[uid].sequence
    gone = set(before) - {uid for uid, event in after.items() if event.status == "CONFIRMED"}
    assert all("reviews-" in uid for uid in gone)


def test_sittings_keep_their_length_and_hour_when_clocks_change() -> None:
    saturday = date(2026, 3, 28)  # in the night after, Berlin's clocks go from two to three
    wish = replace(built_in("steady", saturday), begins=time(23, 0))
    plan = planned_on(saturday, wish, load_course(), evidence())
    berlin = ZoneInfo("Europe/Berlin")
    content, _ = calendar_file(plan, load_course(), "en", berlin)
    found = sorted(events(content).values(), key=lambda event: event.begins)
    ends = found[0].begins + timedelta(hours=4)
    night = [event for event in found if event.begins < ends]
    assert night[-1].ends == ends
    assert found[0].begins.astimezone(berlin).hour == found[len(night)].begins.astimezone(berlin).hour == 23
    assert found[len(night)].begins - found[0].begins == timedelta(hours=23)
    assert ends.astimezone(berlin).hour == 4

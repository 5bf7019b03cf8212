"""The study plan. She takes one of two plans with a click, or says what for, by when and in which hours.

From then on the page shows today's list, the calendar, what moved and what does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.course import Course
from teachllm.school.language import Both, Lang
from teachllm.school.plan import Item, Planner, State, built_in, words
from teachllm.school.plan.wish import days_text
from teachllm.school.web.pages.frame import page, without_choices
from teachllm.school.web.studio import studio_of

router = APIRouter()
_WEEKDAYS = Both("一二三四五六日", "Mon Tue Wed Thu Fri Sat Sun")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DAY = timedelta(days=1)


@router.get("/plan")
def plan_page(request: Request, month: str | None = None, week: str | None = None) -> Response:
    """``?month=2026-12`` and ``?week=2026-12-07`` choose what the calendar shows; else it is this week."""
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    course = studio.course
    planner = Planner(studio.store, course)
    state = planner.current()
    wish = state.plan.wish if state else built_in("steady", planner.today)
    return page(
        request,
        "plan",
        title=Both("学习计划", "Study plan").get(lang),
        course=course,
        state=state,
        wish=wish,
        words=words,
        set_aside=state is None and planner.was_set_aside,
        removed=state is None and planner.was_removed,
        offers=[] if state else [_offer(planner, style) for style in ("fast", "steady")],
        today=_day(state, state.today, course) if state else None,
        calendar=_calendar(state, course, month, week, lang) if state else None,
        not_written=_not_written(state, course) if state else None,
        weekdays=weekday_names(lang),
        hours_a_day=[f"{minutes / 60:g}" for minutes in wish.weekdays],
        on=lambda day: date_text(day).get(lang),
        long=lambda minutes: words.duration(minutes).get(lang),
        days_off=days_text(wish.days_off),
    )


@router.get("/plan/teachllm.ics")
def plan_file(request: Request) -> Response:
    """The calendar file; the plan remembers what it held, so that a later one can take back what is gone."""
    from teachllm.school.plan.calendar_file import calendar_file  # its library need not be there at the start

    studio = studio_of(request)
    planner = Planner(studio.store, studio.course)
    plan = planner.plan()
    if plan is None:
        return Response(status_code=303, headers={"location": "/plan"})
    content, known = calendar_file(plan, studio.course, studio.language(request))
    if known != plan.exported:
        planner.exported(plan, known)
    headers = {
        "content-disposition": 'attachment; filename="teachllm.ics"',
        "cache-control": "no-store",
    }
    return Response(content, media_type="text/calendar; charset=utf-8", headers=headers)


def weekday_names(lang: Lang) -> list[str]:
    return [f"周{name}" for name in _WEEKDAYS.zh] if lang == "zh" else _WEEKDAYS.en.split()


def date_text(day: date) -> Both:
    """``Wed 25 Nov``."""
    zh = f"{day.month}月{day.day}日 周{_WEEKDAYS.zh[day.weekday()]}"
    return Both(zh, f"{_WEEKDAYS.en.split()[day.weekday()]} {day.day} {_MONTHS[day.month - 1]}")


@dataclass(frozen=True)
class Offer:
    """One of the two built-in plans; ``minutes``: of what there is to learn."""

    style: str
    lessons: int
    planned: int
    minutes: int
    end: date | None


def _offer(planner: Planner, style: str) -> Offer:
    found = planner.preview(built_in("fast" if style == "fast" else "steady", planner.today))
    lessons = [item for item in found.plan.items if item.kind == "lesson"]
    return Offer(
        style,
        len(found.goal.lessons),
        len(found.goal.planned),
        sum(item.minutes for item in lessons),
        max((item.day for item in lessons), default=None),
    )


@dataclass(frozen=True)
class Entry:
    """What a day has of one lesson, or one other thing. ``short``: the lesson's number or a word."""

    short: Both
    title: Both
    todo: Both | None
    minutes: int
    done: bool
    address: str
    kind: str


@dataclass(frozen=True)
class Day:
    """``given``: the minutes that the learner gives it."""

    day: date
    entries: list[Entry]
    given: int
    is_today: bool
    is_past: bool
    is_last: bool

    @property
    def minutes(self) -> int:
        return sum(entry.minutes for entry in self.entries)

    @property
    def left(self) -> int:
        return sum(entry.minutes for entry in self.entries if not entry.done)


def _day(state: State, day: date, course: Course) -> Day:
    plan = state.plan
    did = [(past.item, past.done) for past in plan.past if past.item.day == day]
    does = [(item, state.is_done(item)) for item in plan.on(day)]
    return Day(
        day=day,
        entries=entries([*did, *does], course),
        given=plan.wish.minutes_on(day),
        is_today=day == state.today,
        is_past=day < state.today,
        is_last=day == plan.wish.until,
    )


def entries(items: list[tuple[Item, bool]], course: Course) -> list[Entry]:
    """Items of one day with whether they are done; those of one lesson together while both are as far."""
    groups: dict[tuple[str, str | None, bool], list[Item]] = {}
    for item, done in items:
        groups.setdefault((item.kind, item.lesson, done), []).append(item)
    return [_entry(group, done, course) for (_, _, done), group in groups.items()]


_SHORT = {"reviews": Both("复习", "Reviews"), "interview": Both("模拟面试", "Mock interview")}


def _entry(group: list[Item], done: bool, course: Course) -> Entry:
    first = group[0]
    of_lesson = first.lesson is not None
    return Entry(
        short=Both.same(first.lesson) if first.lesson is not None else _SHORT[first.kind],
        title=words.title(first, course) if of_lesson else words.what(first, course),
        todo=words.todo(group) if of_lesson else None,
        minutes=sum(item.minutes for item in group),
        done=done,
        address=words.address(first),
        kind=first.kind,
    )


@dataclass(frozen=True)
class Shown:
    """A month (``weeks`` of seven days each) or a week (one)."""

    kind: str
    name: Both
    weeks: list[list[Day]]
    before: str
    after: str
    month: str
    week: str
    in_month: int | None


def _calendar(state: State, course: Course, month: str | None, week: str | None, lang: Lang) -> Shown:
    today = state.today
    if month is not None:
        first = _as_date(f"{month}-01", today).replace(day=1)
        following = (first + 31 * DAY).replace(day=1)
        begin = first - first.weekday() * DAY
        count = -(-(following - begin).days // 7)
        name = Both(f"{first.year} 年 {first.month} 月", f"{_MONTHS[first.month - 1]} {first.year}")
        before, after = f"?month={first - DAY:%Y-%m}", f"?month={following:%Y-%m}"
        anchor = today if (today.year, today.month) == (first.year, first.month) else first
        numbers = ("month", f"?month={first:%Y-%m}", f"?week={anchor}", first.month)
    else:
        day = _as_date(week, today)
        begin, count = day - day.weekday() * DAY, 1
        ends = begin + 6 * DAY
        first_text, last_text = date_text(begin), date_text(ends)
        name = Both(
            f"{first_text.zh[: first_text.zh.index(' ')]}至{last_text.zh[: last_text.zh.index(' ')]}",
            f"{first_text.en[4:]} to {last_text.en[4:]}",
        )
        before, after = f"?week={begin - 7 * DAY}", f"?week={begin + 7 * DAY}"
        numbers = ("week", f"?month={day:%Y-%m}", f"?week={day}", None)
    weeks = [[_day(state, begin + (7 * w + d) * DAY, course) for d in range(7)] for w in range(count)]
    kind, to_month, to_week, in_month = numbers
    return Shown(kind, name, weeks, before, after, to_month, to_week, in_month)


def _as_date(text: str | None, otherwise: date) -> date:
    """What stands in an address; a year that is in no calendar here, or no date at all, is today's."""
    try:
        found = date.fromisoformat(text or "")
    except ValueError:
        return otherwise
    return found if 2000 <= found.year <= 2200 else otherwise


@dataclass(frozen=True)
class NotWritten:
    """Lessons of the goal that are not there yet, by chapter; ``share``: of the goal's hours, in percent.

    ``waiting``: lessons that are scheduled although something that they need is not there.
    """

    chapters: list[tuple[Both, list[str]]]
    lessons: int
    of: int
    share: int
    waiting: list[tuple[str, tuple[str, ...]]]


def _not_written(state: State, course: Course) -> NotWritten | None:
    goal = state.goal
    if not goal.planned:
        return None
    by_chapter: dict[int, list[str]] = {}
    for lesson in course.lessons.values():
        if lesson.id in set(goal.planned):
            by_chapter.setdefault(lesson.chapter, []).append(lesson.id)
    hours = {lesson: course.lessons[lesson].hours for lesson in (*goal.lessons, *goal.planned)}
    missing = sum(hours[lesson] for lesson in goal.planned)
    return NotWritten(
        [(course.chapters[number - 1].title, lessons) for number, lessons in sorted(by_chapter.items())],
        len(goal.planned),
        len(hours),
        round(100 * missing / sum(hours.values())),
        sorted(goal.waits.items()),
    )


def today_entries(planner: Planner, course: Course) -> list[Entry] | None:
    """What the plan has for today and is not done; ``None`` without a plan."""
    plan = planner.plan()
    if plan is None:
        return None
    items = [(item, planner.evidence.has_done(item, plan.day)) for item in plan.on(plan.day)]
    return [entry for entry in entries(items, course) if not entry.done]

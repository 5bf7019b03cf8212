"""Mock interviews: choose and begin one, answer it, judge it by its points, read its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.course import Course
from teachllm.school.interview import Asked, Interview, InterviewConfig, Interviews, Report, report_of
from teachllm.school.interview.interviews import Point
from teachllm.school.interview.names import LEVELS, role_name, topic_name
from teachllm.school.interview.questions import FEWEST, MOST, pool
from teachllm.school.interview.report import Share
from teachllm.school.language import Both, Lang
from teachllm.school.lesson import render_snippet
from teachllm.school.web.pages.frame import page, without_choices
from teachllm.school.web.security import HEADERS
from teachllm.school.web.studio import studio_of

router = APIRouter()
TIMES = (60, 90, 120, 180)
"""Seconds for one answer that the form offers."""
_MAY_LISTEN = HEADERS["permissions-policy"].replace("microphone=()", "microphone=(self)")


@router.get("/interview")
def interview_page(request: Request) -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    course = studio.course
    return page(
        request,
        "interview",
        title=Both("模拟面试", "Mock interview").get(lang),
        choice=_choice(course),
        held=[_row(one, course, lang) for one in Interviews(studio.store).all()],
        going_on=None,
        report=None,
    )


@router.get("/interview/{number}")
def one_interview(request: Request, number: int) -> Response:
    """The questions while it goes on, the report once it is over."""
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    held = Interviews(studio.store).get(number)
    over = held.finished is not None
    shown = page(
        request,
        "interview",
        title=Both("面试报告", "Report of the interview").get(lang)
        if over
        else Both("模拟面试", "Mock interview").get(lang),
        choice=None,
        held=[],
        going_on=None if over else held,
        report=_shown(report_of(studio.store, number), studio.course, lang) if over else None,
    )
    if not over:  # an answer may be spoken; the browser still asks before it listens
        shown.headers["permissions-policy"] = _MAY_LISTEN
    return shown


@dataclass(frozen=True)
class Choice:
    """What the form offers, each with how many questions there are."""

    questions: int
    roles: list[tuple[str, Both, int]]
    chapters: list[tuple[int, Both, int]]
    topics: list[tuple[str, Both, int]]
    fewest: int
    most: int
    count: int
    times: tuple[int, ...]


def _choice(course: Course) -> Choice:
    cards = pool(course, InterviewConfig())
    chapters = Counter(course.lessons[card.lesson].chapter for card in cards)
    roles = Counter(role for card in cards for role in card.roles)
    topics = Counter(card.topic for card in cards)
    return Choice(
        questions=len(cards),
        roles=[(role, role_name(role), n) for role, n in roles.most_common() if n >= FEWEST],
        chapters=[(n, course.chapters[n - 1].title, chapters[n]) for n in sorted(chapters)],
        topics=[(topic, topic_name(topic, course.glossary), n) for topic, n in topics.most_common()],
        fewest=FEWEST,
        most=MOST,
        count=min(8, len(cards)),
        times=TIMES,
    )


@dataclass(frozen=True)
class Row:
    """An interview in the list. ``answered``: questions with an answer; ``percent``: of one that is over."""

    number: int
    day: str
    about: str
    questions: int
    answered: int
    percent: int | None


def _row(held: Interview, course: Course, lang: Lang) -> Row:
    return Row(
        number=held.id,
        day=held.started.astimezone().strftime("%Y-%m-%d %H:%M"),
        about=_about(held.config, course).get(lang),
        questions=len(held.questions),
        answered=sum(one.stage == "answered" for one in held.questions),
        percent=percent(held.score) if held.finished else None,
    )


def _about(config: InterviewConfig, course: Course) -> Both:
    names = [role_name(config.role)] if config.role else []
    names += [Both(f"第 {number} 章", f"chapter {number}") for number in config.chapters]
    names += [topic_name(topic, course.glossary) for topic in config.topics]
    if not names:
        return Both("全部题目", "all questions")
    return Both("、".join(name.zh for name in names), ", ".join(name.en for name in names))


@dataclass(frozen=True)
class ShownPoint:
    html: str
    said: bool
    quote: str


@dataclass(frozen=True)
class ShownQuestion:
    """``address``: the section that shows the answer; ``seconds``: of the answer and of the follow-up."""

    number: int
    html: str
    followup_html: str
    lesson: str
    lesson_title: str
    address: str
    level: Both | None
    percent: int
    is_judged: bool
    is_rote: bool
    is_weak: bool
    answer: str
    followup: str
    seconds: str
    is_over_time: bool
    points: list[ShownPoint]
    followup_points: list[ShownPoint]

    @property
    def missing(self) -> list[ShownPoint]:
        return [point for point in (*self.points, *self.followup_points) if not point.said]


@dataclass(frozen=True)
class ShownShare:
    """In percent; ``before``: in the interviews before."""

    name: str
    percent: int
    n: int
    before: int | None


@dataclass(frozen=True)
class ShownReport:
    """``change``: in points of percent against the interview before."""

    number: int
    about: str
    day: str
    percent: int
    change: int | None
    time: str
    over: int
    limit: int
    topics: list[ShownShare]
    levels: list[ShownShare]
    questions: list[ShownQuestion]
    weak: int
    rote: int


def _shown(report: Report, course: Course, lang: Lang) -> ShownReport:
    held = report.interview
    weak = {one.place for one in report.weak}
    return ShownReport(
        number=held.id,
        about=_about(held.config, course).get(lang),
        day=held.started.astimezone().strftime("%Y-%m-%d %H:%M"),
        percent=percent(report.score),
        change=None if report.before is None else percent(report.score) - percent(report.before),
        time=clock(report.seconds),
        over=report.over,
        limit=held.config.seconds,
        topics=[
            _share(one, topic_name(one.name, course.glossary).get(lang))
            for one in sorted(report.topics, key=lambda one: one.score)
            if one.name
        ],
        levels=[_share(one, LEVELS[int(one.name)].get(lang)) for one in report.levels if one.name],
        questions=[_question(one, course, lang, held.config.seconds, weak) for one in held.questions],
        weak=len(weak),
        rote=len(report.rote),
    )


def _share(share: Share, name: str) -> ShownShare:
    before = None if share.before is None else percent(share.before)
    return ShownShare(name, percent(share.score), share.n, before)


def _question(one: Asked, course: Course, lang: Lang, limit: int, weak: set[int]) -> ShownQuestion:
    card, verdict = one.card, one.verdict
    points, followup = one.rubric(lang)
    if verdict is not None:
        said, said_then = verdict.points, verdict.followup
    else:
        said, said_then = (tuple(Point(text, said=False) for text in part) for part in (points, followup))
    lesson = course.lessons.get(one.lesson)
    return ShownQuestion(
        number=one.place + 1,
        html=render_snippet(card.question.get(lang), lang) if card else "",
        followup_html=render_snippet(card.followup_question.get(lang), lang) if card else "",
        lesson=one.lesson,
        lesson_title=lesson.title.get(lang) if lesson else "",
        address=_address(one),
        level=LEVELS[card.difficulty] if card else None,
        percent=percent(verdict.score) if verdict else 0,
        is_judged=verdict is not None,
        is_rote=verdict is not None and verdict.is_rote,
        is_weak=one.place in weak,
        answer=one.answer.strip(),
        followup=one.followup.strip(),
        seconds=clock(one.seconds),
        is_over_time=one.seconds > limit,
        points=_points(said, lang),
        followup_points=_points(said_then, lang),
    )


def _address(one: Asked) -> str:
    """Where the course shows it; ``""`` for a card that is gone."""
    if one.card is None:
        return ""
    proof = one.card.proof
    return f"/lesson/{one.lesson}{proof if proof.startswith('#') else '#code'}"


def _points(points: tuple[Point, ...], lang: Lang) -> list[ShownPoint]:
    return [ShownPoint(render_snippet(point.text, lang), point.said, point.quote) for point in points]


def clock(seconds: float) -> str:
    """``1:05``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def percent(share: float) -> int:
    return round(100 * share)

"""Home answers one question: what do I do now? And the first visit, which asks for language and theme."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import RedirectResponse, Response

from teachllm.school.course import Chapter, Course, Lesson
from teachllm.school.language import Both, Lang
from teachllm.school.lesson import LessonError, render
from teachllm.school.mastery import Mastery, mastery_of_all
from teachllm.school.plan import Planner
from teachllm.school.plan.words import duration
from teachllm.school.web.pages import learner
from teachllm.school.web.pages.frame import page, without_choices
from teachllm.school.web.pages.plan import Entry, today_entries
from teachllm.school.web.pages.rings import Ring, mark_of, ring_of, state_of, whole_ring
from teachllm.school.web.pages.things import THINGS, Six
from teachllm.school.web.studio import studio_of

router = APIRouter()


@router.get("/")
def home_page(request: Request) -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    if "welcomed" in request.query_params:
        studio.store.set_setting("lang", studio.language(request))  # what the welcome was read in
        studio.store.set_setting("welcomed", True)
        return RedirectResponse("/", status_code=303)
    if not studio.store.setting("welcomed"):
        return RedirectResponse("/welcome", status_code=303)
    course = studio.course
    six = learner.six_of_all(studio.store, course)
    masteries = mastery_of_all(studio.store, course, datetime.now(UTC))
    rest = [one for one in course.available() if _to_learn(six[one.id], masteries[one.id])]
    going_on = _going_on(course, six, rest, learner.last_place(studio.store, course))
    lang = studio.language(request)
    today = today_entries(Planner(studio.store, course), course)
    response = page(
        request,
        "home",
        title="TeachLLM",
        course=course,
        chapters=[_chapter(chapter, masteries, going_on.lesson) for chapter in course.chapters],
        going_on=going_on,
        steps=_steps(rest, six, going_on, studio.store.due_count()) if today is None else _planned(today),
        has_plan=today is not None,
        legend=whole_ring(),
        next_due=learner.next_due(studio.store).get(lang),
    )
    # The first page of a lesson loads PyTorch and computes its figures, which takes seconds: begin once this
    # page is out, in a thread that neither Ctrl-C nor the next answer waits for.
    warm = threading.Thread(target=_warm, args=(course, going_on.lesson.id, lang), daemon=True)
    response.background = BackgroundTask(warm.start)
    return response


def _warm(course: Course, lesson_id: str, lang: Lang) -> None:
    with contextlib.suppress(LessonError):  # its page says why
        render(lesson_id, lang, course)


@router.get("/welcome")
def welcome_page(request: Request) -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    return page(request, "welcome", title="TeachLLM", things=THINGS)


@dataclass(frozen=True)
class GoingOn:
    """The lesson to continue; ``place``: where one stopped in it."""

    lesson: Lesson
    over: Both
    place: Both | None
    action: Both
    address: str


def _to_learn(six: Six, mastery: Mastery) -> bool:
    """Something of it is to be done, and it was not mastered yet; one that fades needs its cards only."""
    return six.next is not None and mastery.level not in ("mastered", "fading")


def _going_on(
    course: Course, six: dict[str, Six], rest: list[Lesson], place: learner.Place | None
) -> GoingOn:
    """The lesson that one was in, unless it is learned; else the first of ``rest``."""
    if place is not None:
        lesson = course.lessons.get(place.lesson)
        if lesson in rest:
            return GoingOn(
                lesson,
                Both("接着上次", "Where you left off"),
                _where(place, six[lesson.id]),
                Both("继续", "Continue"),
                place.address,
            )
    if rest:
        began = any(one.begun for one in six.values())
        over = Both("下一课", "Next lesson") if began else Both("从这里开始", "Begin here")
        action = Both("打开", "Open") if began else Both("开始", "Begin")
        return GoingOn(rest[0], over, None, action, f"/lesson/{rest[0].id}")
    last = next(course.available())
    over = Both("能学的都学完了，再看一遍", "All that is there is done; look again")
    return GoingOn(last, over, None, Both("打开", "Open"), f"/lesson/{last.id}")


@dataclass(frozen=True)
class Step:
    text: Both
    time: Both
    address: str


_TODO = {
    "read": Both("读课文", "read the text"),
    "moved": Both("动一动图", "move the figures"),
    "ran": Both("跑实验", "run the lab"),
    "wrote": Both("写核心函数", "write the core function"),
    "recalled": Both("记卡片", "learn the cards"),
    "asked": Both("问一个问题", "ask a question"),
}
_SECONDS_A_CARD = 45


def _where(place: learner.Place, six: Six) -> Both:
    """Where one stopped, and what is left to do there."""
    left = [_TODO[name] for name in _TODO if six.shares[name] < 0.999]
    zh = f"还没做完：{'、'.join(one.zh for one in left)}。"
    en = f"Still to do: {', '.join(one.en for one in left)}."
    if place.section is None:
        return Both(zh, en)
    return Both(f"你停在“{place.section.zh}”。{zh}", f"You stopped at “{place.section.en}”. {en}")


def _steps(rest: list[Lesson], six: dict[str, Six], going_on: GoingOn, due: int) -> list[Step]:
    """Cards that are due, the next thing of this lesson, and the lesson after it."""
    steps = []
    if due:
        minutes = max(1, round(due * _SECONDS_A_CARD / 60))
        text = Both(f"复习 {due} 张卡片", f"Review {due} card{'s' * (due != 1)}")
        time = Both(f"约 {minutes} 分钟", f"about {minutes} min")
        steps.append(Step(text, time, "/review"))
    lesson = going_on.lesson
    thing = six[lesson.id].next
    if thing is not None:
        text = Both(f"{lesson.id} {_TODO[thing].zh}", f"{lesson.id}: {_TODO[thing].en}")
        steps.append(Step(text, _left(lesson, six[lesson.id]), going_on.address))
    for one in [one for one in rest if one.id != lesson.id][:2]:
        text = Both(f"{one.id} {one.title.zh}", f"{one.id} {one.title.en}")
        steps.append(Step(text, _left(one, six[one.id]), f"/lesson/{one.id}"))
    return steps


def _planned(today: list[Entry]) -> list[Step]:
    """What the study plan has for today."""
    steps = []
    for entry in today:
        todo = Both(f"：{entry.todo.zh}", f": {entry.todo.en}") if entry.todo else Both("", "")
        text = Both(f"{entry.title.zh}{todo.zh}", f"{entry.title.en}{todo.en}")
        steps.append(Step(text, duration(entry.minutes), entry.address))
    return steps


def _hours(hours: float) -> Both:
    shown = f"{hours:.1f}".removesuffix(".0")
    return Both(f"约 {shown} 小时", f"about {shown} h")


def _left(lesson: Lesson, six: Six) -> Both:
    """Hours that are left of a lesson, if its six things take the same time each."""
    done = sum(six.shares.get(thing.name, 0.0) for thing in THINGS) / len(THINGS)
    hours = _hours(max(0.1, lesson.hours * (1 - done)))
    return Both(f"还剩{hours.zh}", f"{hours.en} left") if done else hours


@dataclass(frozen=True)
class LessonOnMap:
    lesson: Lesson
    number: int
    state: str
    ring: Ring | None
    mark: Both
    facts: Both
    label: Both


@dataclass(frozen=True)
class ChapterOnMap:
    chapter: Chapter
    lessons: list[LessonOnMap]
    open: bool


def _chapter(chapter: Chapter, masteries: dict[str, Mastery], now: Lesson) -> ChapterOnMap:
    lessons = [
        _on_map(lesson, number, masteries[lesson.id]) for number, lesson in enumerate(chapter.lessons, 1)
    ]
    return ChapterOnMap(chapter, lessons, open=now.chapter == chapter.number)


def _on_map(lesson: Lesson, number: int, mastery: Mastery) -> LessonOnMap:
    mark = mark_of(lesson, mastery)
    hours = _hours(lesson.hours)
    facts = Both(
        f"{hours.zh} · {'★' * lesson.difficulty} · {lesson.priority.zh} · {mark.zh}",
        f"{hours.en} · {'★' * lesson.difficulty} · {lesson.priority.en} · {mark.en}",
    )
    label = Both(f"{lesson.id} {lesson.title.zh}，{mark.zh}", f"{lesson.id} {lesson.title.en}, {mark.en}")
    return LessonOnMap(lesson, number, state_of(lesson, mastery), ring_of(mastery), mark, facts, label)

"""All cards in one place: found, set aside, written, taken along; and what the reviews show."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.cards import CardState
from teachllm.school.cards.statistics import DAYS_OF_RETENTION, Statistics, statistics
from teachllm.school.interview.names import role_name, topic_name
from teachllm.school.language import Both, Lang
from teachllm.school.web.pages.frame import page, without_choices
from teachllm.school.web.studio import Studio, studio_of

router = APIRouter()
A_PAGE = 50
STATES = {
    "due": Both("到期", "due"),
    "learning": Both("在学", "in reviews"),
    "aside": Both("暂停或明天再说", "set aside"),
    "leech": Both("总是忘", "leeches"),
    "out": Both("还没加入复习", "not in reviews"),
    "own": Both("我的卡片", "my cards"),
}


@router.get("/cards")
def cards_page(
    request: Request,
    q: str = "",
    lesson: str = "",
    topic: str = "",
    level: str = "",
    role: str = "",
    state: str = "",
    n: int = 1,
) -> Response:
    """Every parameter narrows the list; ``n`` is its page."""
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    every = studio.store.cards.all_cards()
    leech = studio.store.setting("leech_lapses")
    chosen = {
        "q": q.strip()[:200],
        "lesson": lesson,
        "topic": topic,
        "level": level,
        "role": role,
        "state": state,
    }
    found = [one for one in every if _fits(one, chosen, leech)]
    pages = max(1, -(-len(found) // A_PAGE))
    at = min(max(1, n), pages)
    return page(
        request,
        "cards",
        title=Both("卡片", "Cards").get(lang),
        chosen=chosen,
        options=_options(every, studio, lang),
        found=len(found),
        rows=[_row(one, studio, lang, leech) for one in found[(at - 1) * A_PAGE : at * A_PAGE]],
        at=at,
        pages=pages,
        to=lambda number: "/cards?" + urlencode({**{k: v for k, v in chosen.items() if v}, "n": number}),
        charts=_charts(statistics(studio.store)),
        retention_days=DAYS_OF_RETENTION,
    )


def _fits(one: CardState, chosen: dict[str, str], leech: int) -> bool:
    card = one.card
    words = chosen["q"].casefold()
    texts = (card.question.zh, card.question.en, card.answer.zh, card.answer.en)
    return (
        (not words or any(words in text.casefold() for text in texts))
        and chosen["lesson"] in ("", card.lesson)
        and chosen["topic"] in ("", card.topic)
        and chosen["level"] in ("", str(card.difficulty))
        and (not chosen["role"] or chosen["role"] in card.roles)
        and (not chosen["state"] or chosen["state"] in _states(one, leech))
    )


def _states(one: CardState, leech: int) -> set[str]:
    found = {"learning" if one.due is not None else "out"}
    if one.is_due:
        found.add("due")
    if one.suspended or one.buried:
        found.add("aside")
    if leech and one.lapses >= leech:
        found.add("leech")
    if one.card.is_own:
        found.add("own")
    return found


@dataclass(frozen=True)
class Options:
    """Values and what they are called, of the cards that there are."""

    lesson: list[tuple[str, str]]
    topic: list[tuple[str, str]]
    role: list[tuple[str, str]]
    level: list[tuple[str, str]]
    state: list[tuple[str, str]]


def _options(every: list[CardState], studio: Studio, lang: Lang) -> Options:
    course = studio.course
    there = {one.card.lesson for one in every}
    topics = {one.card.topic for one in every if one.card.topic}
    roles = {role for one in every for role in one.card.roles}
    return Options(
        [
            (name, f"{name} {about.title.get(lang)}")
            for name, about in course.lessons.items()
            if name in there
        ],
        sorted(((one, topic_name(one, course.glossary).get(lang)) for one in topics), key=lambda one: one[1]),
        sorted((one, role_name(one).get(lang)) for one in roles),
        [(str(level), Both(f"难度 {level}", f"level {level}").get(lang)) for level in (1, 2, 3)],
        [(name, text.get(lang)) for name, text in STATES.items()],
    )


@dataclass(frozen=True)
class Row:
    """``source`` and ``answer``: the Markdown of an own card, which can be edited."""

    id: str
    question_html: str
    answer_html: str
    lesson: str
    section: str
    level: int
    when: str
    is_aside: bool
    is_leech: bool
    is_learning: bool
    is_own: bool
    source: str
    answer: str


def _row(one: CardState, studio: Studio, lang: Lang, leech: int) -> Row:
    card = one.card
    shown = card.to_json(lang)
    about = studio.course.lessons.get(card.lesson)
    return Row(
        id=card.id,
        question_html=shown["question_html"],
        answer_html=shown["answer_html"],
        lesson=f"{about.id} {about.title.get(lang)}" if about else "",
        section=f"/lesson/{card.lesson}{card.proof if card.proof.startswith('#') else '#code'}"
        if about
        else "",
        level=card.difficulty,
        when=_when(one).get(lang),
        is_aside=one.suspended or one.buried,
        is_leech="leech" in _states(one, leech),
        is_learning=one.due is not None,
        is_own=card.is_own,
        source=card.question.zh if card.is_own else "",
        answer=card.answer.zh if card.is_own else "",
    )


def _when(one: CardState) -> Both:
    if one.due is None:
        return Both("还没加入复习", "not in reviews")
    if one.suspended:
        return Both("暂停", "suspended")
    if one.buried:
        return Both("明天再说", "tomorrow")
    if one.kind == "new":
        return Both("新卡", "new")
    day = f"{one.due.astimezone():%Y-%m-%d}"
    return Both(f"{day} 到期", f"due {day}")


@dataclass(frozen=True)
class Charts:
    """Bars ``(label, number, percent)`` and squares ``(week, weekday, label, shade from 0 to 4)``."""

    bars: list[tuple[str, int, int]]
    squares: list[tuple[int, int, str, int]]
    weeks: int
    answers: int
    retention: int | None
    reviewed: int


def _charts(kept: Statistics) -> Charts:
    most = max((number for _, number in kept.ahead), default=0)
    busiest = max((number for _, number in kept.answered), default=0)
    squares = [
        (place // 7, place % 7, f"{day:%Y-%m-%d}: {number}", -(-4 * number // busiest) if busiest else 0)
        for place, (day, number) in enumerate(kept.answered)
    ]
    return Charts(
        [(f"{day:%m-%d}", number, round(100 * number / most) if most else 0) for day, number in kept.ahead],
        squares,
        -(-len(squares) // 7),
        sum(number for _, number in kept.answered),
        None if kept.retention is None else round(100 * kept.retention),
        kept.reviewed,
    )

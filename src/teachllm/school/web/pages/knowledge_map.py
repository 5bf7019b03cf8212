"""The knowledge map: all lessons and what they need, coloured by mastery; from it one starts any of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.course import Chapter, Course, Lesson
from teachllm.school.knowledge_map import Node, layout, needed_by, opened_by
from teachllm.school.language import Both, Lang
from teachllm.school.mastery import WEIGHTS, Mastery, mastery_of_all, ready_now
from teachllm.school.mastery.formula import LEARNING, PART_NAMES, RETAINED
from teachllm.school.web.pages.frame import page, script_json, without_choices
from teachllm.school.web.pages.rings import Ring, mark_of, ring_of, state_of, whole_ring
from teachllm.school.web.studio import studio_of

router = APIRouter()
NAME_WIDTH = 8.3
"""Of a line of a name under its ring, in the height of its letters: what a column of the map holds."""


@router.get("/map")
def map_page(request: Request) -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    course, lang = studio.course, studio.language(request)
    masteries = mastery_of_all(studio.store, course, datetime.now(UTC))
    ready = ready_now(course, masteries)
    drawn = layout(course)
    names = _short_names(course, lang)
    chapters = [
        ChapterOnMap(
            chapter,
            [
                _placed(course, lesson, masteries, ready, drawn.nodes[lesson.id], names[lesson.id])
                for lesson in chapter.lessons
            ],
        )
        for chapter in course.chapters
    ]
    return page(
        request,
        "map",
        title=Both("知识地图", "Knowledge map").get(lang),
        course=course,
        chapters=chapters,
        drawn=drawn,
        filters=_filters([one for chapter in chapters for one in chapter.lessons]),
        weights=[(PART_NAMES[name], weight) for name, weight in WEIGHTS.items()],
        words=script_json({lesson.id: _found_by(lesson) for lesson in course.lessons.values()}),
        whole_ring=whole_ring(),
        retained=RETAINED,
        learning=LEARNING,
    )


@dataclass(frozen=True)
class PlacedLesson:
    """A lesson as the map shows it. ``name`` is the short one, in lines under its ring.

    ``needs`` and ``opens`` are those of the next step; ``needs_all`` and ``opens_all`` count further ones.
    ``missing``: prerequisites that are there and not known well enough yet.
    """

    lesson: Lesson
    node: Node
    name: tuple[str, ...]
    mastery: Mastery
    ring: Ring | None
    state: str
    mark: Both
    label: Both
    ready: bool
    action: Both
    review_first: bool
    needs: Sequence[Lesson]
    opens: Sequence[Lesson]
    missing: Sequence[Lesson]
    needs_all: int
    opens_all: int


@dataclass(frozen=True)
class ChapterOnMap:
    chapter: Chapter
    lessons: list[PlacedLesson]


def _placed(
    course: Course,
    lesson: Lesson,
    masteries: Mapping[str, Mastery],
    ready: Set[str],
    node: Node,
    name: tuple[str, ...],
) -> PlacedLesson:
    mastery = masteries[lesson.id]
    mark = mark_of(lesson, mastery)
    needs = [course.lesson(needed) for needed in lesson.prerequisites]
    return PlacedLesson(
        lesson=lesson,
        node=node,
        name=name,
        mastery=mastery,
        ring=ring_of(mastery),
        state=state_of(lesson, mastery),
        mark=mark,
        label=Both(f"{lesson.id} {lesson.title.zh}，{mark.zh}", f"{lesson.id} {lesson.title.en}, {mark.en}"),
        ready=lesson.id in ready,
        action=_action(mastery),
        review_first=mastery.level == "fading" or (mastery.level == "learning" and _has_cards(mastery)),
        needs=needs,
        opens=course.unlocks(lesson.id),
        missing=[one for one in needs if one.available and masteries[one.id].value < LEARNING],
        needs_all=len(needed_by(course, lesson.id)),
        opens_all=len(opened_by(course, lesson.id)),
    )


def _action(mastery: Mastery) -> Both:
    if mastery.level == "untouched":
        return Both("开始", "Begin")
    if mastery.level == "mastered":
        return Both("再看一遍", "Look again")
    return Both("继续", "Continue")


def _has_cards(mastery: Mastery) -> bool:
    """Cards were answered, and they are what is missing most."""
    return mastery.weakest == "recalled" and any(
        part.name == "recalled" and part.share > 0 for part in mastery.parts
    )


@dataclass(frozen=True)
class Filter:
    name: str
    text: Both
    count: int


def _filters(lessons: Sequence[PlacedLesson]) -> list[Filter]:
    level = [one.mastery.level for one in lessons]
    planned = sum(not one.lesson.available for one in lessons)
    return [
        Filter("all", Both("全部", "All"), len(lessons)),
        Filter("ready", Both("现在能学", "Ready now"), sum(one.ready for one in lessons)),
        Filter("going", Both("在学", "Learning"), level.count("begun") + level.count("learning")),
        Filter("fading", Both("在淡忘", "Fading"), level.count("fading")),
        Filter("mastered", Both("掌握了", "Mastered"), level.count("mastered")),
        Filter("planned", Both("计划中", "Planned"), planned),
    ]


def _found_by(lesson: Lesson) -> str:
    """What a search in the map looks through, in both languages."""
    return f"{lesson.id} {lesson.title.zh} {lesson.title.en}".lower()


def _short_names(course: Course, lang: Lang) -> dict[str, tuple[str, ...]]:
    """What stands before the colon of a title where that tells it apart in its chapter, in lines."""
    names = {}
    for chapter in course.chapters:
        titles = {lesson.id: lesson.title.get(lang) for lesson in chapter.lessons}
        heads = {lesson: title.replace("：", ":").split(":")[0] for lesson, title in titles.items()}
        all_heads = list(heads.values())
        for lesson, title in titles.items():
            alone = all_heads.count(heads[lesson]) == 1
            names[lesson] = tuple(_lines(heads[lesson] if alone else title))
    return names


_WORD = re.compile(r"（[^）]*）|[\w.’'&+]*[\w.’'&+,:-]|.", re.ASCII)
"""What a line is not broken in: a Latin word with what closes it, a bracket; each Chinese character alone."""


def _lines(text: str) -> list[str]:
    """At most two lines of :data:`NAME_WIDTH`, even ones if possible; an ellipsis ends what did not fit."""
    if _width(text) <= NAME_WIDTH:
        return [text]
    words = _WORD.findall(text)
    breaks = [("".join(words[:n]).strip(), "".join(words[n:]).strip()) for n in range(1, len(words))]
    fitting = [lines for lines in breaks if max(map(_width, lines)) <= NAME_WIDTH]
    if fitting:
        return list(min(fitting, key=lambda lines: max(map(_width, lines))))
    first, rest = max(
        (lines for lines in breaks if _width(lines[0]) <= NAME_WIDTH), key=lambda lines: len(lines[0])
    )
    return [first, _cut(rest)]


def _cut(text: str) -> str:
    while _width(text) > NAME_WIDTH - 1:
        text = text[:-1]
    return text.rstrip(" ：:，,") + "…"


def _width(text: str) -> float:
    """About how wide it is, in the height of its letters: exact for Chinese, a mean for Latin letters."""
    return sum(map(_ems, text.rstrip()))


def _ems(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    return 0.68 if letter.isupper() else 0.3 if letter in " ilj.,:'" else 0.55

"""The six things that one does with a lesson, and how far each is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from teachllm.school.language import Both
from teachllm.school.lesson import RenderedLesson

NAMES = ("read", "moved", "ran", "wrote", "recalled", "asked")


@dataclass(frozen=True)
class Thing:
    """``sign`` is its Chinese character; English pages draw an icon."""

    name: str
    sign: str
    title: Both
    about: Both


THINGS = (
    Thing(
        "read",
        "读",
        Both("读", "Read"),
        Both("讲清来龙去脉的课文，代码直接来自实现", "a text with the real code in it"),
    ),
    Thing(
        "moved",
        "动",
        Both("动", "Move"),
        Both("先猜，再拖动图，看差多少", "predict, move the figure, see how far off you were"),
    ),
    Thing(
        "ran", "跑", Both("跑", "Run"), Both("在真实数据上跑一个小实验", "a small experiment on real data")
    ),
    Thing(
        "wrote",
        "写",
        Both("写", "Write"),
        Both("亲手写核心函数，错在哪会告诉你", "write the core function; the grader names the mistake"),
    ),
    Thing(
        "recalled",
        "记",
        Both("记", "Recall"),
        Both("面试卡片，快忘的时候回来", "interview cards that come back before you forget"),
    ),
    Thing("asked", "问", Both("问", "Ask"), Both("问这台电脑上的模型", "ask the model on this computer")),
)


@dataclass(frozen=True)
class ThingToDo:
    """A thing in one lesson: where it is on the page, and its size (``3 figures``)."""

    name: str
    sign: str
    text: Both
    detail: Both | None
    address: str


@dataclass(frozen=True)
class Six:
    """The six shares, each from 0 to 1."""

    shares: Mapping[str, float]

    @property
    def marks(self) -> dict[str, str]:
        """The classes of each thing: ``done`` or ``begun``, and ``now`` for the first that is not done."""
        found = {}
        now_is_free = True
        for name in NAMES:
            share = self.shares.get(name, 0.0)
            marks = ["done"] if share >= 0.999 else ["begun"] if share > 0 else []
            if share < 0.999 and now_is_free:
                marks.append("now")
                now_is_free = False
            found[name] = " ".join(marks)
        return found

    @property
    def next(self) -> str | None:
        """The first thing that is not done."""
        return next((name for name in NAMES if self.shares.get(name, 0.0) < 0.999), None)

    @property
    def begun(self) -> bool:
        return any(share > 0 for share in self.shares.values())


def things_of(lesson: RenderedLesson, cards: int) -> list[ThingToDo]:
    """The six things of a lesson's page, each with its place on it."""
    places = _places(lesson)
    figures = len(lesson.figures)
    labs = [float(island.data["seconds"]) for island in lesson.islands if island.kind == "lab"]
    details = {
        "moved": Both(f"{figures} 张图", f"{figures} figure{'s' * (figures != 1)}") if figures else None,
        "ran": _labs(labs) if labs else None,
        "recalled": Both(f"{cards} 张", f"{cards} card{'s' * (cards != 1)}") if cards else None,
    }
    texts = {
        "read": Both("读懂它", "Read it"),
        "moved": Both("动一动图", "Move the figures"),
        "ran": Both("跑起来", "Run the lab"),
        "wrote": Both("写核心函数", "Write the core"),
        "recalled": Both("记卡片", "Recall the cards"),
        "asked": Both("问一问", "Ask about it"),
    }
    addresses = {
        "read": "#main",
        "moved": places.get("figure", "#main"),
        "ran": places.get("lab", "#main"),
        "wrote": places.get("exercise", "#main"),
        "recalled": places.get("cards", "#main"),
        "asked": f"/chat?context={lesson.lesson.id}",
    }
    return [
        ThingToDo(thing.name, thing.sign, texts[thing.name], details.get(thing.name), addresses[thing.name])
        for thing in THINGS
    ]


_MARK = re.compile('<section id="([^"]*)" data-section|\ue001(\\d+)\ue001')


def _places(lesson: RenderedLesson) -> dict[str, str]:
    """The address of the first island of each kind: its own, or its section's."""
    places: dict[str, str] = {}
    section = "main"
    for found in _MARK.finditer(lesson.template):
        if found[1] is not None:
            section = found[1]
            continue
        island = lesson.islands[int(found[2])]
        place = f"{island.kind}-{island.name}" if island.name else section
        places.setdefault(island.kind, f"#{place}")
    return places


def _labs(seconds: list[float]) -> Both:
    """How long all of them take."""
    total = _duration(sum(seconds))
    if len(seconds) == 1:
        return total
    return Both(f"{len(seconds)} 个，{total.zh}", f"{len(seconds)} labs, {total.en}")


def _duration(seconds: float) -> Both:
    if seconds < 90:
        return Both(f"约 {seconds:.0f} 秒", f"about {seconds:.0f} s")
    minutes = round(seconds / 60)
    return Both(f"约 {minutes} 分钟", f"about {minutes} min")

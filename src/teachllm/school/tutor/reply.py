"""An answer of the tutor: what kind it is, its words, and the places of the course that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import quote

from teachllm.school.course import Course

Kind: TypeAlias = Literal["cited", "uncited", "passages", "refused", "hint"]
"""cited: written by a model, with its sources. uncited: written by a model that named none of them.
passages: the course's own words. refused: nothing supports an answer; the places are only the nearest.
"""
Parts: TypeAlias = list[tuple[str, bool]]
"""Text in pieces; what answers is True."""


@dataclass(frozen=True)
class Place:
    """``number`` is what the answer cites it by; ``parts`` are its words, of passages only."""

    number: int
    lesson: str | None
    anchor: str | None
    title: str
    section: str
    kind: str
    parts: Parts

    @property
    def address(self) -> str:
        if self.lesson is None:
            return f"/search?q={quote(self.title)}"
        return f"/lesson/{quote(self.lesson)}" + (f"#{quote(self.anchor)}" if self.anchor else "")

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "address": self.address}


@dataclass(frozen=True)
class Reply:
    kind: Kind
    text: str
    places: tuple[Place, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "places": [one.to_json() for one in self.places]}

    def to_kept(self) -> dict[str, Any]:
        """For the database. Addresses are not kept: they are made from lesson and anchor when shown."""
        return {"kind": self.kind, "places": [dict(vars(one)) for one in self.places]}


def from_kept(text: str, kept: Any, course: Course) -> Reply | None:
    """The reply behind a message; None for one without, or that an import from elsewhere spoiled.

    Places in lessons that the course has no longer are left out.
    """
    try:
        places = [_place(one) for one in kept["places"]]
        kind = kept["kind"]
    except (KeyError, TypeError, ValueError):
        return None
    if kind not in get_args(Kind):
        return None
    known = [one for one in places if one.lesson is None or one.lesson in course.lessons]
    return Reply(kind, text, tuple(known))


def _place(kept: dict[str, Any]) -> Place:
    words = {name: kept[name] for name in ("title", "section", "kind")}
    lesson, anchor = kept["lesson"], kept["anchor"]
    if not all(isinstance(one, str) for one in words.values()):
        raise ValueError("a title is no text")
    if not all(one is None or isinstance(one, str) for one in (lesson, anchor)):
        raise ValueError("a place is no text")
    parts = [(str(text), bool(answers)) for text, answers in kept["parts"]]
    return Place(int(kept["number"]), lesson, anchor, parts=parts, **words)

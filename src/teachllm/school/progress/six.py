"""How far the six things of a lesson are: read, moved, ran, wrote, recalled, asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set
from typing import Any

from sqlalchemy import Connection, Table, case, func, select

from teachllm.school.cards.deck import cards_known
from teachllm.school.course import Course, Lesson, load_course
from teachllm.school.progress import tables
from teachllm.school.progress.outline import outline
from teachllm.school.progress.reading import Position, Reading

THINGS = ("read", "moved", "ran", "wrote", "recalled", "asked")
_REVIEW = 2
"""The state of a card, in FSRS, that has left the steps of learning."""


class SixThings(Reading):
    def six(self, lesson: str) -> dict[str, float]:
        """The six shares, each from 0 to 1. Raises :class:`teachllm.school.course.UnknownLesson`."""
        return self._shares([load_course().lesson(lesson)])[lesson]

    def overview(self, course: Course | None = None) -> dict[str, dict[str, float]]:
        """The six shares of every lesson of the course, planned ones too."""
        return self._shares(list((course or load_course()).lessons.values()))

    def lesson_state(self, lesson: str) -> dict[str, Any]:
        """What the page of a lesson is given: ``{"read", "notes", "bookmarks", "six"}``."""
        return {
            "read": self.sections_read(lesson),
            "notes": [note.to_json() for note in self.notes(lesson)],
            "bookmarks": [mark.anchor for mark in self.bookmarks(lesson)],
            "six": self.six(lesson),
        }

    def continue_at(self, course: Course | None = None) -> Position | None:
        """Where one was reading last, if the course still has that lesson."""
        last = self.last_position()
        return last if last and last.lesson in (course or load_course()).lessons else None

    def _shares(self, lessons: list[Lesson]) -> dict[str, dict[str, float]]:
        only = lessons[0].id if len(lessons) == 1 else None
        with self.database.reading() as connection:

            def names(table: Table, name: str) -> dict[str, set[str]]:
                found: dict[str, set[str]] = defaultdict(set)
                statement = select(table.c.lesson, table.c[name])
                for lesson, value in _rows(connection, statement, table, only):
                    found[lesson].add(value)
                return found

            read = names(tables.sections_read, "anchor")
            moved = names(tables.figures_moved, "figure")
            ran = names(tables.lab_runs, "lab")
            asked = names(tables.asked, "lesson")
            made = tables.submissions
            best = func.max(case((made.c.passed, 2), else_=1))
            statement = select(made.c.lesson, best).group_by(made.c.lesson)
            wrote = dict(tuple(row) for row in _rows(connection, statement, made, only))
            kept = tables.cards
            statement = select(kept.c.lesson, kept.c.id, kept.c.state, kept.c.reviews)
            learned: dict[str, dict[str, float]] = defaultdict(dict)
            for lesson, card, state, reviews in _rows(connection, statement, kept, only):
                learned[lesson][card] = 1.0 if state == _REVIEW else 0.5 if reviews else 0.0
        shares = {}
        for lesson in lessons:
            there = outline(lesson)
            cards = cards_known(lesson)
            shares[lesson.id] = {
                "read": _share(read[lesson.id], there.sections),
                "moved": _share(moved[lesson.id], there.figures),
                "ran": _share(ran[lesson.id], there.labs),
                "wrote": wrote.get(lesson.id, 0) / 2,
                "recalled": _mean(learned[lesson.id].get(card.id, 0.0) for card in cards),
                "asked": float(lesson.id in asked),
            }
        return shares


def _rows(connection: Connection, statement: Any, table: Table, lesson: str | None) -> list[Any]:
    if lesson is not None:
        statement = statement.where(table.c.lesson == lesson)
    return list(connection.execute(statement))


def _share(done: Set[str], there: Set[str]) -> float:
    """What was done of what is there now: a section that the course no longer has does not count."""
    return len(done & there) / len(there) if there else 0.0


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0

"""Where the lessons stand: a column for how deep a lesson lies, a band of rows for each chapter.

The column of a lesson is the length of the longest chain of lessons that it needs, so every line leads to the
right (Sugiyama's layering). A chapter keeps its lessons together, because that is how one looks for them.
Within its band a lesson takes the row of the one that it goes on from, so that chains are straight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from teachllm.school.course import Chapter, Course

COLUMN = 100.0
ROW = 55.0
HEAD = 27.0
"""Height of a chapter's title above its rows."""
RADIUS = 12.0
MARGIN = 10.0


@dataclass(frozen=True)
class Node:
    """A lesson, by the centre of its ring. ``row`` counts within the band of its chapter."""

    lesson: str
    column: int
    row: int
    x: float
    y: float


@dataclass(frozen=True)
class Edge:
    """From a lesson to one that needs it; ``path`` is that of an SVG ``path``."""

    start: str
    end: str
    path: str
    same_chapter: bool


@dataclass(frozen=True)
class Band:
    """The rows of a chapter, from ``top`` down ``height``, its title included."""

    chapter: int
    top: float
    height: float


@dataclass(frozen=True)
class Layout:
    """All sizes are in the units of the drawing, which are pixels when it is drawn ``width`` wide."""

    width: float
    height: float
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    bands: tuple[Band, ...]


def layout(course: Course) -> Layout:
    """The same for the same course: nothing in it is drawn by chance."""
    columns = _columns(course)
    nodes: dict[str, Node] = {}
    bands: list[Band] = []
    top = 0.0
    for chapter in course.chapters:
        rows = _rows(chapter, columns)
        for lesson, row in rows.items():
            x = MARGIN + RADIUS + COLUMN * columns[lesson]
            y = top + HEAD + RADIUS + 3 + ROW * row
            nodes[lesson] = Node(lesson, columns[lesson], row, x, y)
        height = HEAD + ROW * (1 + max(rows.values())) + 4
        bands.append(Band(chapter.number, top, height))
        top += height
    width = 2 * MARGIN + COLUMN * (1 + max(columns.values()))
    return Layout(width, top, nodes, tuple(_edges(course, nodes)), tuple(bands))


def _columns(course: Course) -> dict[str, int]:
    columns: dict[str, int] = {}

    def column(lesson: str) -> int:
        if lesson not in columns:
            needs = course.lesson(lesson).prerequisites
            columns[lesson] = 1 + max((column(needed) for needed in needs), default=-1)
        return columns[lesson]

    for lesson in course.lessons:
        column(lesson)
    return columns


def _rows(chapter: Chapter, columns: Mapping[str, int]) -> dict[str, int]:
    """The row of each lesson in its chapter's band: the free one nearest to the lesson it goes on from."""
    taken: set[tuple[int, int]] = set()
    rows: dict[str, int] = {}
    for lesson in sorted(chapter.lessons, key=lambda one: columns[one.id]):
        column = columns[lesson.id]
        before = [needed for needed in lesson.prerequisites if needed in rows]
        origin = max(before, key=lambda needed: columns[needed], default=None)
        start, wanted = (columns[origin] + 1, rows[origin]) if origin else (column, 0)
        way = range(start, column + 1)
        free = [
            row for row in range(len(chapter.lessons)) if not any((row, passed) in taken for passed in way)
        ]
        row = min(free, key=lambda one: (abs(one - wanted), one))
        rows[lesson.id] = row
        taken.update((row, passed) for passed in (way if row == wanted else (column,)))
    return rows


def _edges(course: Course, nodes: Mapping[str, Node]) -> Iterator[Edge]:
    for lesson in course.lessons.values():
        for needed in lesson.prerequisites:
            start, end = nodes[needed], nodes[lesson.id]
            same = course.lesson(needed).chapter == lesson.chapter
            blocked = any(one.y == start.y == end.y and start.x < one.x < end.x for one in nodes.values())
            yield Edge(needed, lesson.id, _bow(start, end) if blocked else _line(start, end), same)


def _bow(start: Node, end: Node) -> str:
    """Over the rings that stand between two of a row."""
    x0, x1 = start.x + RADIUS * 0.7, end.x - RADIUS * 0.7
    y, over = start.y - RADIUS * 0.7 - 1, start.y - RADIUS * 2.4
    return f"M{x0:g} {y:g}C{x0 + 25:g} {over:g} {x1 - 25:g} {over:g} {x1:g} {y:g}"


def _line(start: Node, end: Node) -> str:
    """From the right of one ring to the left of the other; a curve that leaves and arrives level."""
    x0, x1 = start.x + RADIUS + 2, end.x - RADIUS - 2
    if start.y == end.y:
        return f"M{x0:g} {start.y:g}H{x1:g}"
    bend = min(70.0, (x1 - x0) * 0.6)
    return f"M{x0:g} {start.y:g}C{x0 + bend:g} {start.y:g} {x1 - bend:g} {end.y:g} {x1:g} {end.y:g}"

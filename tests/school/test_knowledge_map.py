"""The layout of the map, on the real course: lines lead to the right, and no two lessons share a place."""

from __future__ import annotations

import pytest

from teachllm.school.course import load_course
from teachllm.school.knowledge_map import layout, needed_by, opened_by
from teachllm.school.knowledge_map.layout import ROW
from teachllm.school.language import Both
from teachllm.school.mastery import Mastery, Part
from teachllm.school.web.pages.rings import GAP, ROUND, ring_of


def test_every_line_leads_to_the_right_and_no_ring_hides_another() -> None:
    course = load_course()
    drawn = layout(course)
    assert drawn.nodes.keys() == course.lessons.keys()
    assert len(drawn.edges) == sum(len(lesson.prerequisites) for lesson in course.lessons.values())
    for edge in drawn.edges:
        assert drawn.nodes[edge.start].column < drawn.nodes[edge.end].column
    places = {(node.x, node.y) for node in drawn.nodes.values()}
    assert len(places) == len(course.lessons)
    bands = {band.chapter: band for band in drawn.bands}
    for lesson, node in drawn.nodes.items():
        band = bands[course.lesson(lesson).chapter]
        assert band.top < node.y < band.top + band.height
    # A straight line runs through no ring in between.
    for edge in drawn.edges:
        start, end = drawn.nodes[edge.start], drawn.nodes[edge.end]
        if "H" in edge.path:
            assert start.y == end.y
            between = [n for n in drawn.nodes.values() if n.y == start.y and start.x < n.x < end.x]
            assert between == []
    rows = sum(1 + max(n.row for i, n in drawn.nodes.items() if course.lesson(i).chapter == b) for b in bands)
    assert rows <= 45, "chapters grew apart"
    assert drawn.height < rows * ROW + 13 * 40


def test_needs_and_what_a_lesson_opens_reach_as_far_as_they_go() -> None:
    course = load_course()
    assert needed_by(course, "1.1") == []
    assert needed_by(course, "1.4") == ["1.1", "1.2", "1.3"]
    assert "1.4" in opened_by(course, "1.1")
    for lesson in course.lessons:
        assert all(lesson in opened_by(course, needed) for needed in needed_by(course, lesson))


def test_a_ring_is_filled_as_far_as_mastery_goes_and_what_fades_is_drawn_apart() -> None:
    shares = {"read": (1.0, 0.25), "wrote": (0.5, 0.25), "recalled": (0.4, 0.5)}
    parts = tuple(Part(name, share, weight, Both("", "")) for name, (share, weight) in shares.items())
    ring = ring_of(Mastery(0.575, "learning", parts))
    assert ring is not None
    dashes = {
        name: [float(one) for one in getattr(ring, name).split()] for name in ("track", "kept", "recalled")
    }
    assert all(abs(sum(one) - ROUND) < 1e-6 for one in dashes.values())
    drawn = {name: one[::2] for name, one in dashes.items()}
    lengths = [ROUND * 0.25 - GAP, ROUND * 0.25 - GAP, ROUND * 0.5 - GAP]
    assert drawn["track"] == pytest.approx(lengths)
    assert drawn["kept"] == pytest.approx([lengths[0], lengths[1] * 0.5, 0])
    assert drawn["recalled"] == pytest.approx([0, 0, lengths[2] * 0.4])
    assert ring_of(Mastery(0.0, "untouched")) is None

"""Lesson 10.3: what its figures and values show is what its text says of them."""

from __future__ import annotations

import pytest

from teachllm.school.lesson import load_lesson


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("10.3")


def evaluate(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def said(lesson, figure: str, **arguments) -> str:
    charts = lesson.figures[figure].draw(arguments, "en")["charts"]
    return " ".join(chart["text"] for chart in charts if chart["kind"] == "text")


def test_the_table_by_hand(lesson) -> None:
    table = [evaluate(lesson, "hand_table", part=part, code=code) for part in (0, 1) for code in (0, 1, 2)]
    assert table == [1, 1, 1, 4, 0, 2]
    assert [evaluate(lesson, "hand_distance", row=row) for row in (0, 1, 2)] == [1, 3, 5]


def test_at_the_border_more_cells_find_what_one_misses(lesson) -> None:
    assert "a recall of 0.4" in said(lesson, "cells_probed", n_probe=1)
    assert "a recall of 1.0" in said(lesson, "cells_probed", n_probe=4)


def test_residuals_lose_less(lesson) -> None:
    for n_parts in (2, 4, 8):
        plain, residual = (
            evaluate(lesson, "code_error", n_parts=n_parts, residual=one) for one in (False, True)
        )
        assert residual < 0.8 * plain
    assert evaluate(lesson, "code_recall", n_parts=4, residual=True) > evaluate(
        lesson, "code_recall", n_parts=4
    )
    assert evaluate(lesson, "scalar_error") == pytest.approx(1, abs=0.1)


def test_the_walk_compares_with_few_of_the_400(lesson) -> None:
    assert evaluate(lesson, "walk_counts", what="distances") < 100
    assert "The walk is over" in said(lesson, "walk_through", step=40)
    assert "The walk is over" not in said(lesson, "walk_through")


def test_the_nearest_links_all_lead_into_the_cluster(lesson) -> None:
    assert "4 links, 4 into the cluster" in said(lesson, "neighbours_chosen", how="nearest")
    assert "3 links, 1 into the cluster" in said(lesson, "neighbours_chosen", how="diverse")

"""Lesson 10.4: what its figures and values show is what its text says of them."""

from __future__ import annotations

import pytest

from teachllm.school.lesson import load_lesson


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("10.4")


def sorted_by(lesson, way: str, both_orders: bool = True) -> float:
    return lesson.values["sorted_by"].evaluate({"way": way, "both_orders": both_orders})


def test_both_orders_save_all_pairs_and_do_little_for_sliding_passes(lesson) -> None:
    assert sorted_by(lesson, "all pairs") > sorted_by(lesson, "all pairs", both_orders=False) + 0.03
    assert sorted_by(lesson, "sliding 10") < sorted_by(lesson, "sliding 10", both_orders=False)
    assert sorted_by(lesson, "first") < sorted_by(lesson, "sliding 1") < sorted_by(lesson, "sliding 10")


@pytest.mark.parametrize("kind", ["right", "twice", "chatter"])
def test_the_best_travels_to_the_front(lesson, kind: str) -> None:
    (table,) = lesson.figures["window_walk"].draw({"kind": kind}, "en")["charts"]
    orders = [row[1].replace("【", "").replace("】", "").split() for row in table["rows"]]
    assert all(sorted(order, key=int) == [str(i) for i in range(1, 13)] for order in orders)
    assert orders[-1][0] == "1"
    assert any(row[2] for row in table["rows"]) == (kind != "right")


def test_a_trade_off_of_one_half_says_three_things(lesson) -> None:
    (near,), (diverse,) = (
        lesson.figures["diverse"].draw({"trade_off": one}, "en")["charts"] for one in (1.0, 0.5)
    )
    assert all("temperature" in row[0] for row in near["rows"])
    assert sum("temperature" in row[0] for row in diverse["rows"]) == 1
    assert any("seed" in row[0] for row in diverse["rows"])

"""Lesson 10.1: what its figures and values show is what its text says of them."""

from __future__ import annotations

import pytest

from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("10.1")


def evaluate(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def charts(lesson, name: str, **arguments) -> list[dict]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


def test_the_example_by_hand_multiplies_up(lesson) -> None:
    steps = {
        what: evaluate(lesson, "by_hand", what=what) for what in ("idf", "factor", "saturation", "score")
    }
    assert steps["factor"] == 1.375
    assert steps["score"] == pytest.approx(steps["idf"] * steps["saturation"])


def test_stems_find_and_other_words_do_not(lesson) -> None:
    same = [charts(lesson, "inverted", query=query)[1] for query in ("cache token", "cached tokens")]
    assert same[0] == same[1]
    assert charts(lesson, "inverted", query="less random answers")[1]["kind"] == "text"


def test_the_extremes_of_the_surface(lesson) -> None:
    rows = charts(lesson, "surface", k1=0.0, b=0.75)[0]["values"]
    assert all(cell == 1 for row in rows for cell in row)
    rows = charts(lesson, "surface", k1=1.5, b=0.0)[0]["values"]
    assert all(row == rows[0] for row in rows)
    rows = charts(lesson, "surface", k1=1.5, b=1.0)[0]["values"]  # twice the length is half the count
    assert rows[3][1] == pytest.approx(rows[2][0])


def test_the_wrong_number_looks_nearer_to_the_network(lesson) -> None:
    try:
        asset("all-minilm-l6-v2")
    except AssetMissing as missing:
        pytest.skip(str(missing))
    question = "What does E4021 mean"
    right, wrong = (evaluate(lesson, "cosine_of", question=question, fact=fact) for fact in (1, 2))
    assert wrong > right

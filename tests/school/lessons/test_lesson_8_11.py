"""Lesson 8.11: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import pytest

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("8.11")


@pytest.fixture(scope="module")
def real_model(lesson):
    try:
        asset(CHAT_MODEL)
    except AssetMissing as missing:
        pytest.skip(str(missing))


def evaluate(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def charts(lesson, name: str, **arguments) -> list[dict]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


def last_table(lesson, name: str, **arguments) -> list[list]:
    events = list(lesson.labs[name].run(arguments, "en"))
    assert events[-1]["event"] == "done"
    return next(e for e in reversed(events) if e["event"] == "show")["chart"]["rows"]


def test_where_the_next_token_is_read(lesson) -> None:
    orange = 1
    columns = {}
    for layout in ("left", "right", "packed"):
        rows = charts(lesson, "rectangle", layout=layout)[0]["rows"]
        columns[layout] = [[c for c, token in enumerate(row) if token["tone"] == orange] for row in rows]
    assert columns == {"left": [[4], [4], [4]], "right": [[3], [1], [4]], "packed": [[3, 5, 10]]}
    blocks = charts(lesson, "rectangle", layout="packed")[1]["values"]
    assert [sum(cell is not None for cell in row) for row in blocks] == [1, 2, 3, 4, 1, 2, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("real_model")
def test_what_the_text_says_of_the_real_model(lesson) -> None:
    def probability(setting: str, n_padding: int = 16) -> float:
        return evaluate(lesson, "right_token_probability", setting=setting, n_padding=n_padding)

    alone = probability("alone")
    assert alone > 70
    for right in ("left", "gathered", "no_positions"):
        assert evaluate(lesson, "furthest", setting=right) < 10  # millionths
    assert probability("naive") < 0.1
    assert alone > probability("no_mask", 1) > probability("no_mask", 4) > probability("no_mask", 16)
    assert charts(lesson, "next_after_padding")[0]["rows"][0][1] == " Paris"


def test_a_shift_moves_absolute_positions_and_not_rotation(lesson) -> None:
    for shift in (1, 16, 64):
        assert evaluate(lesson, "weights_moved", kind="rope", shift=shift) < 1e-3
        assert evaluate(lesson, "weights_moved", kind="absolute", shift=shift) > 5


def test_packing_wastes_least(lesson) -> None:
    as_they_come, by_length, packed = (
        evaluate(lesson, "padding_percent", how=how) for how in ("random", "sorted", "packed")
    )
    assert as_they_come > 70
    assert packed < 1 < by_length < 20
    assert charts(lesson, "waste", spread=0.0)[0]["series"][0]["values"][:2] == [0, 0]
    assert charts(lesson, "waste", batch=1)[0]["series"][0]["values"][:2] == [0, 0]


@pytest.mark.slow
@pytest.mark.usefixtures("real_model")
def test_only_right_layouts_write_what_each_prompt_writes_alone(lesson) -> None:
    same = [(row[1], row[2]) for row in last_table(lesson, "one_batch", n_tokens=4)]
    right, wrong = ("6 / 6", "6 / 6"), "1 / 6"
    assert [same[0], same[2], same[4]] == [right] * 3
    assert same[3] == (wrong, wrong)
    assert int(same[1][1][0]) < 6
    assert same[5][0] == "6 / 6"
    assert int(same[5][1][0]) < 6


@pytest.mark.slow
def test_a_model_that_never_sees_the_end_never_stops(lesson) -> None:
    by_mask, by_token = last_table(lesson, "learn_to_stop", steps=100)
    assert abs(float(by_mask[1]) - float(by_token[1])) < 0.3  # the loss does not tell
    assert float(by_mask[2]) > 0.5
    assert float(by_token[2]) < 0.02
    assert int(by_mask[4].split()[0]) > 40
    assert by_token[4] == "0 / 64"

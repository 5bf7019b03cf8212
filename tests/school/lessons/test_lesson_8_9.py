"""Lesson 8.9: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import json

import pytest

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("8.9")


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


def metrics(lesson, name: str, **arguments) -> dict[str, float]:
    """The last value of every metric that the lab gave."""
    events = list(lesson.labs[name].run(arguments, "en"))
    assert not [event for event in events if event["event"] == "error"]
    json.dumps(events)  # as they are sent to the page
    return {event["name"]: event["value"] for event in events if event["event"] == "metric"}


def test_the_table_by_hand_is_right(lesson) -> None:
    written = [evaluate(lesson, "by_hand", what="written", token=token) for token in range(3)]
    assert written == pytest.approx([0.5, 0.3, 0.2])
    naive = [evaluate(lesson, "by_hand", what="naive", token=token) for token in range(3)]
    assert naive == pytest.approx([0.35, 0.39, 0.26])
    assert evaluate(lesson, "by_hand", what="alpha") == pytest.approx(0.7)


def test_only_the_residual_gives_the_target_back(lesson) -> None:
    for wrong in (0.0, 0.4, 1.0):
        for again in ("residual", "target", "draft"):
            bars, _ = charts(lesson, "rule", wrong=wrong, again=again)
            target, _, accepted, written = (series["values"] for series in bars["series"])
            assert sum(written) == pytest.approx(1, abs=1e-6)
            assert (written == pytest.approx(target, abs=1e-6)) == (again == "residual" or wrong == 0.0)
            assert all(one <= other + 1e-6 for one, other in zip(accepted, target, strict=True))


def test_it_pays_if_and_only_if_alpha_exceeds_the_cost(lesson) -> None:
    (heatmap,) = charts(lesson, "worth_it")
    for row, alpha in zip(heatmap["values"], map(float, heatmap["y_labels"]), strict=True):
        for gain, cost in zip(row, map(float, heatmap["x_labels"]), strict=True):
            assert (gain > 1 + 1e-9) == (alpha > cost)


def test_a_large_batch_takes_the_gain_away(lesson) -> None:
    assert evaluate(lesson, "batch_gain", batch=1) > 2
    assert evaluate(lesson, "batch_gain", batch=512) < 1
    assert evaluate(lesson, "batch_gain", batch=512, length=4096) > 1.2


def test_the_lab_finds_out_the_wrong_rules_and_not_the_right_one(lesson) -> None:
    (right,) = metrics(lesson, "exactness", n=2_000).values()
    assert right > 1e-6
    for how in ("target", "likely"):
        (wrong,) = metrics(lesson, "exactness", n=2_000, how=how).values()
        assert wrong < 1e-6


def test_rewriting_is_guessed_and_early_exits_do_not_pay(lesson, real_model) -> None:
    assert evaluate(lesson, "exit_alpha", n_layers=27) < evaluate(lesson, "exit_cost", n_layers=27)
    found = metrics(lesson, "copy_or_free", n_tokens=16, question="Why is the sky blue?")
    assert found["rewriting: tokens a pass"] > 1.5 * found["free answer: tokens a pass"]

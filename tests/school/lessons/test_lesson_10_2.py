"""Lesson 10.2: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import json
import math

import pytest

from teachllm.school.lesson import load_lesson


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("10.2")


def evaluate(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def charts(lesson, name: str, **arguments) -> list[dict]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


def events_of(lesson, name: str, **arguments) -> list[dict]:
    events = list(lesson.labs[name].run(arguments, "en"))
    assert not [event for event in events if event["event"] == "error"]
    json.dumps(events)  # as they are sent to the page
    return events


def metrics(events: list[dict]) -> dict[str, float]:
    return {event["name"]: event["value"] for event in events if event["event"] == "metric"}


def test_the_shares_by_hand_are_right(lesson) -> None:
    terms = [math.exp(20 * one) for one in (0.80, 0.75, 0.45, 0.10, -0.05)]
    for i in range(5):
        share = evaluate(lesson, "by_hand", what="share", candidate=i)
        assert share == pytest.approx(terms[i] / sum(terms))
    assert sum(terms[2:]) / sum(terms) < 0.001  # which the text says
    assert evaluate(lesson, "by_hand", what="loss") == pytest.approx(-math.log(terms[0] / sum(terms)))
    assert evaluate(lesson, "by_hand", what="push", temperature=1.0, candidate=1) < 0.5


def test_only_the_suspicious_place_is_masked(lesson) -> None:
    assert evaluate(lesson, "excluded_pairs", margin=0.1) == 1
    _, forces, _ = charts(lesson, "batch_of_four")
    largest = max(max(row) for row in forces["values"])
    assert forces["values"][1][0] == largest == 1.0  # the right answer is pushed hardest
    _, forces, _ = charts(lesson, "batch_of_four", masks=True)
    assert forces["values"][1][0] == 0


def test_cosent_is_content_with_the_order_and_the_squared_error_is_not(lesson) -> None:
    assert evaluate(lesson, "ordered", what="cosent", cosine=0.95) < 0.05
    assert evaluate(lesson, "ordered", what="mse", cosine=0.95) > 0.05
    assert evaluate(lesson, "ordered", what="cosent", cosine=0.3) > 5


def test_the_decoder_never_sees_what_it_rebuilds(lesson) -> None:
    for seed in (0, 5):
        (enhanced,) = charts(lesson, "decoder_mask", seed=seed)
        assert all(row[i] == 0 for i, row in enumerate(enhanced["values"]))
        assert all(row[0] == 1 for row in enhanced["values"][1:])
    (basic,) = charts(lesson, "decoder_mask", decoding="basic")
    assert len({tuple(row) for row in basic["values"]}) == 1  # all rows see the same
    assert sum(basic["values"][0]) == 5


def test_the_vectors_are_small_beside_the_activations(lesson) -> None:
    assert evaluate(lesson, "batch_memory", what="activations") > 1000 * evaluate(
        lesson, "batch_memory", what="vectors"
    )


def test_training_with_the_stacks_own_loss_works(lesson) -> None:
    found = metrics(events_of(lesson, "your_info_nce", steps=100))
    assert found["before"] < 0.05
    assert found["after"] > 10 * found["before"]


@pytest.mark.slow
def test_the_labs_show_what_the_text_says(lesson) -> None:
    table = [event for event in events_of(lesson, "batch_sizes") if event["event"] == "show"][-1]["chart"]
    recalls = [row[-1] for row in table["rows"]]
    assert recalls == sorted(recalls)
    nested = [event for event in events_of(lesson, "nested") if event["event"] == "show"][-1]["chart"]
    plain, matryoshka = (series["y"] for series in nested["series"])
    assert matryoshka[0] > plain[0]
    alone, half, most = metrics(events_of(lesson, "retromae")).values()
    assert alone < min(half, most) - 0.1
    alone, half, most = metrics(events_of(lesson, "retromae", decoding="basic")).values()
    assert max(half, most) < alone + 0.1
    batch_only, once, exchanged = list(metrics(events_of(lesson, "hard_negatives")).values())[:3]
    assert batch_only < once < exchanged

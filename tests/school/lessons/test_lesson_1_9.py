"""Lesson 1.9: what its figures, values and lab show is what they claim to show."""

from __future__ import annotations

import pytest

from teachllm.school.lesson import load_lesson


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("1.9")


def value_of(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def test_rereading_grows_like_the_square_of_the_turns(lesson) -> None:
    assert value_of(lesson, "reread_ratio", turns=10) == pytest.approx(11 / 2)
    assert value_of(lesson, "reread_ratio", turns=1) == 1


def test_the_rank_story_of_the_text(lesson) -> None:
    """Full rank on paper, smaller singular values in numbers; the other way round for flat scores."""

    def both(name: str, **arguments) -> tuple[float, float]:
        causal, bidirectional = (value_of(lesson, name, causal=c, **arguments) for c in (True, False))
        return causal, bidirectional

    causal, bidirectional = both("smallest_singular")
    assert causal < bidirectional - 10
    causal, bidirectional = both("rank_in_float32")
    assert causal < bidirectional
    causal, bidirectional = both("rank_by_entropy")
    assert causal < bidirectional
    causal, bidirectional = both("rank_by_entropy", d=8, sharpness=0.5)
    assert causal > 1.5 * bidirectional
    assert value_of(lesson, "small_determinant") == pytest.approx(0.25)


def test_prefix_and_encoder_decoder_light_the_same_cells(lesson) -> None:
    def lit(architecture: str) -> list[list[bool]]:
        chart = lesson.figures["who_reads_whom"].draw({"architecture": architecture}, "en")["charts"][0]
        return [[cell is not None for cell in row] for row in chart["values"]]

    assert lit("prefix") == lit("encoder_decoder") != lit("causal")


def test_the_lab_compares_on_the_target_and_counts_its_losses(lesson) -> None:
    events = list(lesson.labs["three_architectures"].run({"task": "reverse", "steps": 120}, "en"))
    table = [event for event in events if event["event"] == "show"][-1]["chart"]["rows"]
    assert len(table) == 4
    causal, control, prefix, encoder_decoder = table
    assert (causal[2], control[2], prefix[2]) == (23, 12, 12)
    assert causal[1] == control[1] == prefix[1] < encoder_decoder[1]
    firsts = {event["name"]: event["y"] for event in reversed(events) if event["event"] == "sample"}
    assert len({round(first, 3) for name, first in firsts.items() if "only" in name}) == 1

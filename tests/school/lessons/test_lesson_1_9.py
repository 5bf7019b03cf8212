"""Lesson 1.9: what its figures, values and lab show is what they claim to show."""

from __future__ import annotations

from decimal import Decimal, localcontext
from statistics import fmean

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
    assert causal < bidirectional - 20
    causal, bidirectional = both("rank_in_float32")
    assert causal < bidirectional
    causal, bidirectional = both("rank_by_entropy")
    assert causal < bidirectional
    causal, bidirectional = both("rank_by_entropy", d=8, sharpness=0.5)
    assert causal > 1.5 * bidirectional
    assert value_of(lesson, "small_determinant") == pytest.approx(0.25)


def test_the_smallest_singular_value_is_no_rounding(lesson) -> None:
    """The text's power of ten, against inverse iteration in 60 digits on the same matrices."""
    given = {"length": 48, "d": 8, "sharpness": 2.0}
    weights = lesson.module.random_attention(True, **given)
    exact = [smallest_by_inverse_iteration(head) for head in weights.tolist()]
    assert min(exact) < -18, "a case that a decomposition in float64 gets right tests nothing"
    shown = value_of(lesson, "smallest_singular", causal=True, **given)
    assert shown == pytest.approx(fmean(exact), abs=1e-6)


def smallest_by_inverse_iteration(rows: list[list[float]], steps: int = 12) -> float:
    """log10 of the smallest singular value of a lower triangular matrix."""
    with localcontext(prec=60):
        a, n = [[Decimal(entry) for entry in row] for row in rows], len(rows)
        x, norm = [Decimal(1)] * n, Decimal(1)
        for _ in range(steps):
            for i in reversed(range(n)):
                x[i] = (x[i] - sum(a[j][i] * x[j] for j in range(i + 1, n))) / a[i][i]
            for i in range(n):
                x[i] = (x[i] - sum(a[i][j] * x[j] for j in range(i))) / a[i][i]
            norm = sum(entry * entry for entry in x).sqrt()
            x = [entry / norm for entry in x]
        return float(-norm.log10() / 2)


def test_the_curve_stops_where_rounding_begins(lesson) -> None:
    chart = lesson.figures["spectra"].draw({"length": 128, "d": 64, "sharpness": 4.0}, "en")["charts"][0]
    causal, bidirectional = chart["series"]
    assert len(causal["y"]) < 128 == len(bidirectional["y"])
    assert min(causal["y"]) > -14


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

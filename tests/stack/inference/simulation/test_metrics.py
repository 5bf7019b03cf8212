"""Objectives are kept request by request; goodput is the rate where too few keep them."""

from __future__ import annotations

import math

import pytest

from teachllm.stack.inference.simulation.metrics import goodput, percentile, slo_attainment


def test_a_trace_by_hand() -> None:
    arrivals = [0.0, 1.0, 2.0, 3.0, 4.0]
    first = [0.5, 1.25, 3.0, 3.25, 4.5]  # TTFT 0.5, 0.25, 1.0, 0.25, 0.5
    last = [1.5, 3.25, 3.5, 3.25, 4.75]  # over 4, 2, 2, 0 and 1 gaps: TPOT 0.25, 1.0, 0.25, none, 0.25
    tokens = [5, 3, 3, 1, 2]
    assert slo_attainment(arrivals, first, last, tokens, 0.5, 0.25) == pytest.approx(3 / 5)
    assert slo_attainment(arrivals, first, last, tokens, 1.0, 1.0) == 1
    assert slo_attainment(arrivals, first, last, tokens, 0.25, 0.25) == pytest.approx(1 / 5)
    assert slo_attainment(arrivals, first, last, tokens, 0.1, 9.0) == 0
    # Four tokens in 0.75 s after the first: three gaps of 0.25 s, not four of 0.19.
    assert slo_attainment([0.0], [1.0], [1.75], [4], 1.0, 0.25) == 1
    assert slo_attainment([0.0], [1.0], [1.75], [4], 1.0, 0.24) == 0


@pytest.mark.parametrize("never", [math.inf, math.nan])
def test_who_never_got_an_answer_keeps_nothing(never: float) -> None:
    assert slo_attainment([0, 0], [0.1, never], [0.2, never], [2, 1], 1, 1) == 0.5
    assert slo_attainment([0, 0], [0.1, 0.1], [0.2, never], [2, 2], 1, 1) == 0.5


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        slo_attainment([], [], [], [], 1, 1)
    with pytest.raises(ValueError, match="2, 1, 2, 2"):
        slo_attainment([0, 0], [1], [2, 2], [3, 3], 1, 1)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [0.9, 0.1, 0.5, 0.7, 0.3, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert percentile(values, 90) == 0.9
    assert percentile(values, 50) == 0.5
    assert percentile(values, 100) == 1.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 90)


def test_goodput_is_where_the_share_falls_below_the_target() -> None:
    asked = []

    def share(rate: float) -> float:
        asked.append(rate)
        return 1.0 if rate <= 3.0 else 0.5

    assert goodput(share, 0.9, highest=40) == pytest.approx(3.0, rel=0.012)
    assert len(asked) < 15
    assert goodput(lambda rate: 0.5, 0.9, highest=40) == 0
    assert goodput(lambda rate: 0.5, 0.5, highest=40) == pytest.approx(40, rel=0.012)

"""Curves of long runs: few points, nothing that stands out lost, and news that fit what was told before."""

from __future__ import annotations

import random
from typing import Any

import pytest

from teachllm.school.web.run_curves import MOST_POINTS, Curve, number, whole

Points = list[tuple[int, float]]


class Page:
    """What the page's script does with the news."""

    def __init__(self) -> None:
        self.points: Points = []

    def take(self, news: dict[str, Any] | None) -> None:
        if news is not None:
            self.points = [point for point in self.points if point[0] < news["from"]]
            self.points += zip(news["x"], news["y"], strict=True)


@pytest.mark.parametrize("steps", [1, 999, 1000, 1999, 30_000])
def test_few_points_with_every_extreme(steps: int) -> None:
    random_numbers = random.Random(steps)
    values = [float(f"{random_numbers.gauss(3, 0.1):.6g}") for _ in range(steps)]
    spike, dip = steps // 3, steps // 2
    values[spike], values[dip] = 50.0, -50.0
    curve = Curve()
    for step, value in enumerate(values):
        curve.add(step, value)
    page = Page()
    page.take(curve.news())
    assert len(page.points) <= MOST_POINTS
    assert [x for x, _ in page.points] == sorted({x for x, _ in page.points})
    assert (dip, -50.0) in page.points
    if spike != dip:
        assert (spike, 50.0) in page.points
    assert page.points[-1] == (steps - 1, values[-1])
    assert all(values[x] == y for x, y in page.points)
    if steps < 1000:
        assert len(page.points) == steps


@pytest.mark.parametrize("seed", range(5))
def test_news_add_up_to_the_whole(seed: int) -> None:
    """A page that follows sees what a new page sees, whenever it looks, however often the run goes back."""
    dice = random.Random(seed)
    followed, looked_at_once = Curve(most=50), Curve(most=50)
    following, late = Page(), Page()
    points: Points = []
    step = 0
    for _ in range(1500):
        step = dice.randrange(step + 1) if dice.random() < 0.01 else step + dice.choice([1, 1, 1, 7])
        value = round(dice.gauss(0, 1), 3)
        points = [*(point for point in points if point[0] < step), (step, value)]
        for curve in (followed, looked_at_once):
            curve.add(step, value)
        if dice.random() < 0.2:
            following.take(followed.news())
            assert len(following.points) <= 50
    following.take(followed.news())
    late.take(looked_at_once.news())
    assert following.points == late.points
    assert set(late.points) <= set(points)
    assert late.points[-1] == points[-1]
    assert followed.news() is None


def test_what_is_no_number_is_left_out() -> None:
    wrong: list[Any] = [None, "3", True, [], {}, float("nan"), float("inf"), 10**400]
    assert [number(value) for value in wrong] == [None] * 8
    assert [whole(value) for value in [*wrong, -1, 1.5, 2**60]] == [None] * 11
    assert (number(3), whole(3)) == (3.0, 3)

"""Curves of a long run in few points: nothing that stands out is lost, and news about them are small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

MOST_POINTS = 2_000
DIGITS = 6
"""Of a value; more cannot be seen in a chart."""
Point: TypeAlias = tuple[int, float]


@dataclass
class _Bucket:
    """The lowest and the highest of neighbouring points: a spike of one step stays visible."""

    low: Point
    high: Point

    def take(self, *points: Point) -> None:
        self.low = min(self.low, *points, key=lambda point: point[1])
        self.high = max(self.high, *points, key=lambda point: point[1])

    def points(self) -> list[Point]:
        return sorted({self.low, self.high})


class Curve:
    """Points in the order of their steps, at most `most`: the extremes of buckets of `stride` steps each.

    When there are too many buckets, two neighbours become one.
    """

    def __init__(self, most: int = MOST_POINTS) -> None:
        self._most_buckets = (most - 1) // 2  # two points each, and the newest
        self._buckets: dict[int, _Bucket] = {}
        self._stride = 1
        self._newest: Point | None = None
        self._changed_from: int | None = 0

    def add(self, step: int, value: float) -> None:
        """A run that went back to an earlier step replaces what it had there and behind."""
        if self._newest is not None and step <= self._newest[0]:
            self.cut(step)
        if self._newest is not None:  # it may have been shown without being an extreme of its bucket
            self._changed(self._newest[0] // self._stride * self._stride)
        point = step, float(f"{value:.{DIGITS}g}")
        index = step // self._stride
        if index in self._buckets:
            self._buckets[index].take(point)
        else:
            self._buckets[index] = _Bucket(point, point)
        self._newest = point
        self._changed(index * self._stride)
        if len(self._buckets) > self._most_buckets:
            self._merge()

    def cut(self, step: int) -> None:
        """Forget the points of this step and of all later ones."""
        if self._newest is None or self._newest[0] < step:
            return
        kept: dict[int, _Bucket] = {}
        for index, bucket in self._buckets.items():
            points = [point for point in bucket.points() if point[0] < step]
            if points:
                kept[index] = _Bucket(points[0], points[0])
                kept[index].take(*points)
        self._buckets = kept
        self._newest = max(kept[max(kept)].points()) if kept else None
        self._changed(step // self._stride * self._stride)

    def news(self) -> dict[str, Any] | None:
        """``{"from", "x", "y"}``: points in the place of all from step ``from`` on; None: no change."""
        if self._changed_from is None:
            return None
        begin, self._changed_from = self._changed_from, None
        points = [point for bucket in self._buckets.values() for point in bucket.points()]
        if self._newest is not None and points[-1] != self._newest:
            points.append(self._newest)
        points = [point for point in points if point[0] >= begin]
        return {"from": begin, "x": [x for x, _ in points], "y": [y for _, y in points]}

    def _changed(self, step: int) -> None:
        self._changed_from = step if self._changed_from is None else min(step, self._changed_from)

    def _merge(self) -> None:
        self._stride *= 2
        merged: dict[int, _Bucket] = {}
        for index, bucket in self._buckets.items():
            if index // 2 in merged:
                merged[index // 2].take(bucket.low, bucket.high)
            else:
                merged[index // 2] = bucket
        self._buckets = merged
        self._changed(0)


def number(value: object) -> float | None:
    """A finite number; None for anything else that a log may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def whole(value: object) -> int | None:
    """A step or a count; None for anything else that a log may hold."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None

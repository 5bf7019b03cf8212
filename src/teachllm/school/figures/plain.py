"""Numbers and texts as plain JSON values, whatever library they came from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from teachllm.school.language import Label, Lang, say

_NOT_FINITE: ContextVar[list[float] | None] = ContextVar("not_finite", default=None)


@contextmanager
def watching_not_finite() -> Iterator[list[float]]:
    """Collects the NaNs and infinities that become ``None`` meanwhile, for ``teachllm lint``."""
    found: list[float] = []
    token = _NOT_FINITE.set(found)
    try:
        yield found
    finally:
        _NOT_FINITE.reset(token)


def number(value: Any) -> float | int | bool | None:
    """A Python, NumPy or torch number as JSON; NaN and infinities become ``None``.

    Raises ``TypeError`` for anything that is not a number.
    """
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        found = _NOT_FINITE.get()
        if found is not None:
            found.append(value)
        return None
    raise TypeError(f"a chart needs a number here, not {type(value).__name__} {value!r}")


def numbers(values: Any) -> list[float | int | bool | None]:
    """A list, array or one-dimensional tensor of numbers as a JSON list."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    return [number(value) for value in values]


def optional_number(value: Any) -> float | int | bool | None:
    return None if value is None else number(value)


def optional_text(text: Label | None, lang: Lang) -> str | None:
    return None if text is None else say(text, lang)

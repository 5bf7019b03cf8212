"""Cleaning steps by the names that recipes call them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from teachllm.stack.data.pipeline import Step
from teachllm.stack.pretraining.recipe import CleaningStep, RecipeError

STEPS: dict[str, Callable[..., Step]] = {}


def cleaning_steps(chosen: Sequence[CleaningStep]) -> list[Step]:
    """The steps of a recipe, new ones for each corpus. Raises `RecipeError` for names and options unknown."""
    problems = []
    steps = []
    for one in chosen:
        if one.step not in STEPS:
            problems.append(f"there is no cleaning step {one.step!r}; there are {', '.join(STEPS)}")
            continue
        try:
            inspect.signature(STEPS[one.step]).bind(**one.options)
            steps.append(STEPS[one.step](**one.options))
        except (TypeError, ValueError) as problem:
            takes = ", ".join(inspect.signature(STEPS[one.step]).parameters) or "none"
            problems.append(f"cleaning step {one.step!r}: {problem}; its options: {takes}")
    if problems:
        raise RecipeError("the data cannot be cleaned like this:\n" + "\n".join(f"  - {p}" for p in problems))
    return steps

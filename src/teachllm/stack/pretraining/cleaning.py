"""Cleaning steps by the names that recipes call them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from functools import partial

from teachllm.stack.data.decontamination import Decontaminate
from teachllm.stack.data.deduplication import ExactDuplicates, NearDuplicates
from teachllm.stack.data.filters import length_problem, symbol_problem
from teachllm.stack.data.gopher import QualityLimits, quality_problem
from teachllm.stack.data.language import language_problem
from teachllm.stack.data.normalization import normalize
from teachllm.stack.data.pipeline import Filter, Rewrite, Step, Verdict
from teachllm.stack.data.redaction import redact
from teachllm.stack.data.repetition import repetition_problem
from teachllm.stack.evaluation.tasks import ChoiceTask, GenerationTask, PerplexityTask, Task, load_task
from teachllm.stack.pretraining.recipe import CleaningStep, RecipeError


def cleaning_steps(chosen: Sequence[CleaningStep]) -> list[Step]:
    """The steps of a recipe. Raises `RecipeError` for names and options that are not known."""
    problems: list[str] = []
    steps: list[Step] = []
    for one in chosen:
        if one.step not in STEPS:
            problems.append(f"there is no cleaning step {one.step!r}; there are {', '.join(STEPS)}")
            continue
        make, options = STEPS[one.step]
        if unknown := sorted(set(one.options) - set(options)):
            takes = ", ".join(options) or "none"
            problems.append(f"{one.step} has no option {', '.join(unknown)}; it has {takes}")
            continue
        try:
            steps.append(make(**one.options))
        except (TypeError, ValueError) as problem:
            problems.append(f"{one.step}: {problem}")
    if problems:
        raise RecipeError("the data cannot be cleaned like this:\n" + "\n".join(f"  - {p}" for p in problems))
    return steps


def _filter(name: str, problem: Callable[..., Verdict | None]) -> tuple[Callable[..., Step], list[str]]:
    """A filter whose options are the arguments of `problem` behind the text."""
    return lambda **options: Filter(name, partial(problem, **options)), list(
        inspect.signature(problem).parameters
    )[1:]


def _decontaminate(tasks: Sequence[str], n: int = 13, shortest: int = 8) -> Step:
    """Without the documents that hold items of these tasks; see `data.decontamination`."""
    texts = [text for name in tasks for text in _texts(load_task(name))]
    return Decontaminate(tests=texts, n=n, shortest=shortest)


def _texts(task: Task) -> list[str]:
    """The items of a task as they would stand in a text, with their right answers."""
    match task:
        case ChoiceTask():
            return [item.context + item.choices[item.answer] for item in task.items]
        case PerplexityTask():
            return list(task.items)
        case GenerationTask():
            return [f"{item.prompt} {item.answer}" for item in task.items]


def _fields(step: type) -> list[str]:
    return [field.name for field in dataclasses.fields(step) if field.name != "name"]


STEPS: dict[str, tuple[Callable[..., Step], list[str]]] = {
    "normalize": (lambda: Rewrite("normalize", normalize), []),
    "length": _filter("length", length_problem),
    "language": _filter("language", language_problem),
    "symbols": _filter("symbols", symbol_problem),
    "repetition": (lambda: Filter("repetition", repetition_problem), []),
    "quality": (
        lambda **limits: Filter("quality", partial(quality_problem, limits=QualityLimits(**limits))),
        _fields(QualityLimits),
    ),
    "redact": (lambda: Rewrite("redact", redact), []),
    "decontaminate": (_decontaminate, ["tasks", "n", "shortest"]),
    "exact-duplicates": (ExactDuplicates, []),
    "near-duplicates": (NearDuplicates, _fields(NearDuplicates)),
}
"""Each name with what makes the step, and the options it takes."""

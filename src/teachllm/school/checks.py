"""What a lesson's ``checks.py`` and ``mutants.py`` are written with.

``checks.py`` holds ordinary pytest tests of the fixture ``implementation``, a callable that stands for the
learner's function: it is called with plain values, arrays and tensors, runs in the learner's sandbox, and
offers

- ``implementation.mutated``: names of the arguments that the last call changed in place;
- ``implementation.last_seconds``: how long the last call took (coarse: for telling fast from slow
  algorithms).

It raises :class:`LearnerError` when the learner's code raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from teachllm.school.language import Both

Function = TypeVar("Function", bound=Callable[..., Any])
_DIAGNOSIS = "__teachllm_diagnosis__"
_CAUGHT_BY = "__teachllm_caught_by__"


class LearnerError(Exception):
    """The learner's code raised. ``kind`` is the name of the exception's type, ``line`` the learner's line.

    ``trace`` is the traceback limited to their code.
    """

    def __init__(self, kind: str, text: str, line: int | None = None, trace: str = "") -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind
        self.text = text
        self.line = line
        self.trace = trace


class Implementation(Protocol):
    """The type of the fixture ``implementation``."""

    mutated: list[str]
    last_seconds: float

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


def diagnosis(*, zh: str, en: str) -> Callable[[Function], Function]:
    """Says, in both languages, which mistake it is when this check fails: what is wrong and where to look."""
    text = Both(zh, en)
    if not zh.strip() or not en.strip():
        raise ValueError("a diagnosis needs a text in both languages")

    def decorate(function: Function) -> Function:
        setattr(function, _DIAGNOSIS, text)
        return function

    return decorate


def mutant(*checks: str) -> Callable[[Function], Function]:
    """Marks a wrong version of the symbol. The first check that fails on it must be one of ``checks``."""
    if not checks or not all(isinstance(name, str) and name.startswith("test_") for name in checks):
        raise ValueError(f'a mutant names the checks that catch it: @mutant("test_shape"), not {checks}')

    def decorate(function: Function) -> Function:
        setattr(function, _CAUGHT_BY, checks)
        return function

    return decorate


def diagnosis_of(function: Any) -> Both | None:
    """The text given with :func:`diagnosis`, or ``None``."""
    return getattr(function, _DIAGNOSIS, None)


def caught_by(function: Any) -> tuple[str, ...] | None:
    """The checks given with :func:`mutant`, or ``None``."""
    return getattr(function, _CAUGHT_BY, None)

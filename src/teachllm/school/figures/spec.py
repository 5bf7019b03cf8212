"""``@figure``, ``@lab`` and ``@value``: a plain function becomes something that a lesson can place.

The decorators return the function itself, so it can be called and unit-tested like any other; the
specification hangs on it and is found by :func:`specifications`.
"""

from __future__ import annotations

import functools
import inspect
import time
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

from teachllm.school.figures.charts import CHARTS, Chart
from teachllm.school.figures.controls import CONTROLS, Control, Parameter, check_arguments
from teachllm.school.figures.events import EVENTS
from teachllm.school.figures.failure import described
from teachllm.school.figures.predict import Predict
from teachllm.school.language import Both, Lang

Function = TypeVar("Function", bound=Callable[..., Any])
_ATTRIBUTE = "__teachllm_specification__"


class FigureDefinitionError(TypeError):
    """A figure, lab or value is declared wrongly; the message lists everything that is wrong with it."""


@dataclass(frozen=True)
class FigureSpec:
    """An interactive figure: ``draw`` computes its charts for given control values."""

    kind: ClassVar[str] = "figure"
    name: str
    function: Callable[..., Chart | list[Chart]]
    title: Both
    predict: Predict | None
    parameters: tuple[Parameter, ...]

    def controls(self, lang: Lang) -> list[dict[str, Any]]:
        return [parameter.to_json(lang) for parameter in self.parameters]

    def draw(self, args: Mapping[str, Any], lang: Lang) -> dict[str, Any]:
        """``{"charts": [chart JSON, …]}``; missing arguments take their defaults.

        Raises :class:`ControlError` for arguments that the controls do not allow.
        """
        return {"charts": [chart.to_json(lang) for chart in self.charts(args)]}

    def charts(self, args: Mapping[str, Any]) -> list[Chart]:
        result = self.function(**check_arguments(self.parameters, args))
        charts = list(result) if isinstance(result, (list, tuple)) else [result]
        for chart in charts:
            if not isinstance(chart, CHARTS):
                names = ", ".join(kind.__name__ for kind in CHARTS)
                raise TypeError(
                    f"figure {self.name} returned a {type(chart).__name__}; return {names} or a list of them"
                )
        return charts

    def prediction(self, lang: Lang) -> dict[str, Any] | None:
        """The question asked before the figure moves, without its answer; ``None`` if it asks nothing."""
        return None if self.predict is None else self.predict.to_json(lang)

    def judge(self, answer: Any, lang: Lang) -> dict[str, Any]:
        """``{"right", "answer", "answer_text", "off_by", "explain"}``: see :meth:`Predict.judge`."""
        if self.predict is None:
            raise LookupError(f"figure {self.name} asks for no prediction")
        return self.predict.judge(answer, lang)


@dataclass(frozen=True)
class LabSpec:
    """A longer run on real data: ``run`` yields JSON events. Always run it in a worker process."""

    kind: ClassVar[str] = "lab"
    name: str
    function: Callable[..., Iterator[Any]]
    title: Both
    summary: Both
    seconds: float
    parameters: tuple[Parameter, ...]

    def controls(self, lang: Lang) -> list[dict[str, Any]]:
        return [parameter.to_json(lang) for parameter in self.parameters]

    def run(self, args: Mapping[str, Any], lang: Lang) -> Iterator[dict[str, Any]]:
        """JSON events, ending with one ``done`` or one ``error``.

        Raises :class:`ControlError` at once for arguments that the controls do not allow.
        """
        checked = check_arguments(self.parameters, args)
        return self._events(checked, lang)

    def _events(self, checked: dict[str, Any], lang: Lang) -> Iterator[dict[str, Any]]:
        start = time.perf_counter()
        try:
            for event in self.function(**checked):
                if not isinstance(event, EVENTS):
                    names = ", ".join(kind.__name__ for kind in EVENTS)
                    raise TypeError(f"lab {self.name} yielded a {type(event).__name__}; yield {names}")
                yield event.to_json(lang)
        except Exception as error:
            message = described(error).get(lang)
            yield {"event": "error", "message": message, "traceback": traceback.format_exc(limit=-6)}
            return
        yield {"event": "done", "seconds": round(time.perf_counter() - start, 3)}


@dataclass(frozen=True)
class ValueSpec:
    """A number (or short text) in the prose: ``{value name argument=1 | .2f}``."""

    kind: ClassVar[str] = "value"
    name: str
    function: Callable[..., Any]

    def evaluate(self, args: Mapping[str, Any]) -> Any:
        """Calls the function. Raises ``TypeError`` with its signature if the arguments do not fit."""
        signature = inspect.signature(self.function)
        try:
            signature.bind(**args)
        except TypeError as error:
            raise TypeError(f"{error}; the function is {self.name}{signature}") from None
        return self.function(**args)


Specification = FigureSpec | LabSpec | ValueSpec


def figure(*, title: Both, predict: Predict | None = None) -> Callable[[Function], Function]:
    """Declares a figure. Every parameter needs a control and a default:
    ``n_heads: Annotated[int, Slider(1, 16)] = 8``.

    Raises :class:`FigureDefinitionError` naming every parameter that is declared wrongly.
    """

    def decorate(function: Function) -> Function:
        parameters = _parameters(function, "figure")
        if inspect.isgeneratorfunction(function):
            raise FigureDefinitionError(
                f"{function.__name__} is a generator: declare it with @lab, or return charts"
            )
        return _attach(function, FigureSpec(function.__name__, function, title, predict, parameters))

    return decorate


def lab(*, title: Both, seconds: float, summary: Both) -> Callable[[Function], Function]:
    """Declares a lab: a generator of events.

    ``seconds`` is what it takes with default controls on two CPU cores.
    """

    def decorate(function: Function) -> Function:
        parameters = _parameters(function, "lab")
        if not inspect.isgeneratorfunction(function):
            raise FigureDefinitionError(f"{function.__name__} is declared with @lab, so it must yield events")
        return _attach(function, LabSpec(function.__name__, function, title, summary, seconds, parameters))

    return decorate


def value(function: Function) -> Function:
    """Declares a computed value. It is computed once for given arguments while the lesson is unchanged."""
    return _attach(function, ValueSpec(function.__name__, functools.cache(function)))


def specifications(module: types.ModuleType) -> dict[str, Specification]:
    """All figures, labs and values declared in ``module``, in order of definition."""
    found = {}
    for item in vars(module).values():
        specification = getattr(item, _ATTRIBUTE, None)
        if specification is not None and getattr(item, "__module__", None) == module.__name__:
            found[specification.name] = specification
    return found


def _attach(function: Function, specification: Specification) -> Function:
    setattr(function, _ATTRIBUTE, specification)
    return function


def _parameters(function: Callable[..., Any], kind: str) -> tuple[Parameter, ...]:
    hints = typing.get_type_hints(function, include_extras=True)
    parameters, problems = [], []
    for name, parameter in inspect.signature(function).parameters.items():
        annotation, control = _control(hints.get(name))
        if control is None:
            problems.append(f"{name}: needs a control, as in `{name}: Annotated[float, Slider(0, 1)] = 0.5`")
            continue
        mistakes = control.definition_problems(annotation)
        if parameter.default is inspect.Parameter.empty:
            mistakes.append("give it a default; the figure is first drawn with it")
        elif not mistakes:
            checked = control.check(parameter.default, annotation)
            if isinstance(checked, Both):
                mistakes.append(f"its default {checked.en}")
        problems.extend(f"{name}: {mistake}" for mistake in mistakes)
        parameters.append(Parameter(name, annotation, control, parameter.default))
    if problems:
        raise FigureDefinitionError(f"{kind} {function.__name__}: " + "; ".join(problems))
    return tuple(parameters)


def _control(hint: Any) -> tuple[Any, Control | None]:
    if typing.get_origin(hint) is not typing.Annotated:
        return None, None
    annotation, *extras = typing.get_args(hint)
    control = next((extra for extra in extras if isinstance(extra, CONTROLS)), None)
    return annotation, cast("Control | None", control)

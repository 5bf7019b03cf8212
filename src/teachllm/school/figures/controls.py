"""Controls of a figure: what a parameter may be, declared in its type.

``temperature: Annotated[float, Slider(0.1, 2.0, step=0.1)] = 1.0``. The browser draws the control; the server
checks every value again, because a request need not come from the control.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from teachllm.school.language import Both, Label, Lang, say


class ControlError(ValueError):
    """Values that controls do not allow; ``messages`` has one text in both languages for each violation."""

    def __init__(self, messages: Sequence[Both]) -> None:
        self.messages = tuple(messages)
        super().__init__("; ".join(message.en for message in messages))

    def get(self, lang: Lang) -> str:
        return ("；" if lang == "zh" else "; ").join(message.get(lang) for message in self.messages)


@dataclass(frozen=True)
class Slider:
    """A number from ``low`` to ``high``; ``step=None`` is continuous (1 for an ``int`` parameter).

    JSON: ``{"name", "kind": "slider", "label", "default", "low", "high", "step", "integer", "log", "unit"}``.
    ``log=True`` spaces the track logarithmically.
    """

    kind: ClassVar[str] = "slider"
    low: float
    high: float
    step: float | None = None
    label: Label | None = None
    unit: Label | None = None
    log: bool = False

    def definition_problems(self, annotation: Any) -> list[str]:
        problems = []
        if annotation not in (int, float):
            problems.append(f"a Slider is for int or float, not {annotation}")
        if not self.low < self.high:
            problems.append(f"Slider: low ({self.low}) must be below high ({self.high})")
        if self.step is not None and self.step <= 0:
            problems.append(f"Slider: step must be positive, not {self.step}")
        if self.log and self.low <= 0:
            problems.append(f"Slider: a logarithmic track needs low above 0, not {self.low}")
        return problems

    def check(self, value: Any, annotation: Any) -> int | float | Both:
        """The value as the parameter's type, or the violation."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return Both(f"需要一个数，得到的是 {value!r}", f"needs a number, was given {value!r}")
        if not self.low <= value <= self.high:
            return Both(
                f"要在 {self.low:g} 和 {self.high:g} 之间，得到的是 {value:g}",
                f"must be between {self.low:g} and {self.high:g}, was given {value:g}",
            )
        if annotation is int:
            if value != int(value):
                return Both(f"需要整数，得到的是 {value:g}", f"needs a whole number, was given {value:g}")
            return int(value)
        return float(value)

    def extremes(self, annotation: Any) -> list[Any]:
        return [annotation(self.low), annotation(self.high)]

    def to_json(self, annotation: Any, lang: Lang) -> dict[str, Any]:
        integer = annotation is int
        return {
            "kind": self.kind,
            "low": self.low,
            "high": self.high,
            "step": 1 if integer and self.step is None else self.step,
            "integer": integer,
            "log": self.log,
            "unit": None if self.unit is None else say(self.unit, lang),
        }


ChoiceValue: TypeAlias = str | int | float


@dataclass(frozen=True)
class Choice:
    """One of several options: ``(value, label)`` pairs, or plain values that are their own label.

    JSON: ``{"name", "kind": "choice", "label", "default", "options": [{"value", "label"}]}``.
    """

    kind: ClassVar[str] = "choice"
    options: Sequence[tuple[ChoiceValue, Label] | ChoiceValue]
    label: Label | None = None

    def pairs(self) -> list[tuple[ChoiceValue, Label]]:
        return [option if isinstance(option, tuple) else (option, str(option)) for option in self.options]

    def definition_problems(self, annotation: Any) -> list[str]:
        values = [value for value, _ in self.pairs()]
        problems = []
        if len(values) < 2:
            problems.append("Choice: offer at least two options")
        if len(set(values)) != len(values):
            problems.append(f"Choice: options repeat: {values}")
        if annotation in (str, int, float) and not all(type(value) is annotation for value in values):
            problems.append(f"Choice: every option must be {annotation.__name__}, like the parameter")
        return problems

    def check(self, value: Any, annotation: Any) -> ChoiceValue | Both:
        for allowed, _ in self.pairs():
            if value == allowed and isinstance(value, bool) == isinstance(allowed, bool):
                return allowed
        options = ", ".join(str(allowed) for allowed, _ in self.pairs())
        return Both(
            f"只能是 {options} 之一，得到的是 {value!r}",
            f"must be one of {options}, was given {value!r}",
        )

    def extremes(self, annotation: Any) -> list[Any]:
        return [value for value, _ in self.pairs()]

    def to_json(self, annotation: Any, lang: Lang) -> dict[str, Any]:
        options = [{"value": value, "label": say(label, lang)} for value, label in self.pairs()]
        return {"kind": self.kind, "options": options}


@dataclass(frozen=True)
class Toggle:
    """On or off. JSON: ``{"name", "kind": "toggle", "label", "default"}``."""

    kind: ClassVar[str] = "toggle"
    label: Label | None = None

    def definition_problems(self, annotation: Any) -> list[str]:
        return [] if annotation is bool else [f"a Toggle is for bool, not {annotation}"]

    def check(self, value: Any, annotation: Any) -> bool | Both:
        if isinstance(value, bool):
            return value
        return Both(f"需要 true 或 false，得到的是 {value!r}", f"needs true or false, was given {value!r}")

    def extremes(self, annotation: Any) -> list[Any]:
        return [False, True]

    def to_json(self, annotation: Any, lang: Lang) -> dict[str, Any]:
        return {"kind": self.kind}


@dataclass(frozen=True)
class TextInput:
    """The reader's own text.

    JSON: ``{"name", "kind": "text", "label", "default", "max_length", "lines"}``.
    """

    kind: ClassVar[str] = "text"
    max_length: int = 200
    label: Label | None = None
    lines: int = 1

    def definition_problems(self, annotation: Any) -> list[str]:
        return [] if annotation is str else [f"a TextInput is for str, not {annotation}"]

    def check(self, value: Any, annotation: Any) -> str | Both:
        if not isinstance(value, str):
            return Both(f"需要一段文字，得到的是 {value!r}", f"needs text, was given {value!r}")
        if len(value) > self.max_length:
            return Both(
                f"最多 {self.max_length} 个字符，得到 {len(value)} 个",
                f"takes at most {self.max_length} characters, was given {len(value)}",
            )
        return value

    def extremes(self, annotation: Any) -> list[Any]:
        sample = "一二three 🙂 \n\t{}"
        return ["", (sample * self.max_length)[: self.max_length]]

    def to_json(self, annotation: Any, lang: Lang) -> dict[str, Any]:
        return {"kind": self.kind, "max_length": self.max_length, "lines": self.lines}


Control: TypeAlias = Slider | Choice | Toggle | TextInput
CONTROLS: tuple[type, ...] = (Slider, Choice, Toggle, TextInput)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a figure or lab with its control."""

    name: str
    annotation: Any
    control: Control
    default: Any

    def to_json(self, lang: Lang) -> dict[str, Any]:
        label = self.name if self.control.label is None else say(self.control.label, lang)
        control = self.control.to_json(self.annotation, lang)
        return {"name": self.name, "label": label, "default": self.default, **control}

    @property
    def shown_name(self) -> Both:
        label = self.control.label
        return Both.same(self.name) if label is None else Both.of(label)


def check_arguments(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Fills in defaults and checks what was given.

    Raises :class:`ControlError` with every violation at once, unknown names among them.
    """
    checked: dict[str, Any] = {}
    violations: list[Both] = []
    for parameter in parameters:
        if parameter.name not in given:
            checked[parameter.name] = parameter.default
            continue
        result = parameter.control.check(given[parameter.name], parameter.annotation)
        if isinstance(result, Both):
            name = parameter.shown_name
            violations.append(Both(f"{name.zh}：{result.zh}", f"{name.en} {result.en}"))
        else:
            checked[parameter.name] = result
    known = [parameter.name for parameter in parameters]
    for name in given:
        if name not in known:
            violations.append(
                Both(
                    f"没有叫 {name} 的控件，有的是：{'、'.join(known) or '（无）'}",
                    f"there is no control named {name}; there are: {', '.join(known) or 'none'}",
                )
            )
    if violations:
        raise ControlError(violations)
    return checked

"""What a lab tells while it runs. Each event becomes one JSON object of the event stream.

The stream ends with ``{"event": "done", "seconds"}`` or ``{"event": "error", "message", "traceback"}``, which
:meth:`teachllm.school.figures.LabSpec.run` adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from teachllm.school.figures.charts import CHARTS, Chart
from teachllm.school.figures.plain import number, optional_text
from teachllm.school.language import Label, Lang, say


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total``. JSON: ``{"event": "progress", "done", "total", "note"}``."""

    event: ClassVar[str] = "progress"
    done: float
    total: float
    note: Label | None = None

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {
            "event": self.event,
            "done": number(self.done),
            "total": number(self.total),
            "note": optional_text(self.note, lang),
        }


@dataclass(frozen=True)
class Metric:
    """A named number that a later one of the same name replaces.

    JSON: ``{"event": "metric", "name", "value", "unit"}``.
    """

    event: ClassVar[str] = "metric"
    name: Label
    value: float
    unit: Label | None = None

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {
            "event": self.event,
            "name": say(self.name, lang),
            "value": number(self.value),
            "unit": optional_text(self.unit, lang),
        }


@dataclass(frozen=True)
class Sample:
    """One more point of the live line ``name``.

    JSON: ``{"event": "sample", "name", "x", "y", "x_label", "y_label"}``. All lines of a lab share one live
    chart; the axis labels of the first sample that has them are used.
    """

    event: ClassVar[str] = "sample"
    name: Label
    x: float
    y: float
    x_label: Label | None = None
    y_label: Label | None = None

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {
            "event": self.event,
            "name": say(self.name, lang),
            "x": number(self.x),
            "y": number(self.y),
            "x_label": optional_text(self.x_label, lang),
            "y_label": optional_text(self.y_label, lang),
        }


@dataclass(frozen=True)
class Show:
    """A chart that replaces the earlier one of the same name.

    JSON: ``{"event": "show", "name", "chart": {…}}``.
    """

    event: ClassVar[str] = "show"
    name: str
    chart: Chart

    def __post_init__(self) -> None:
        if not isinstance(self.chart, CHARTS):
            raise TypeError(f"Show takes a name and a chart, not {type(self.chart).__name__}")
        if not isinstance(self.name, str):
            raise TypeError(f"Show: the name is {self.name!r}; give a str, and texts to the chart's title")

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {"event": self.event, "name": self.name, "chart": self.chart.to_json(lang)}


@dataclass(frozen=True)
class Say:
    """A sentence. JSON: ``{"event": "say", "text"}``."""

    event: ClassVar[str] = "say"
    text: Label

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {"event": self.event, "text": say(self.text, lang)}


Event: TypeAlias = Progress | Metric | Sample | Show | Say
EVENTS: tuple[type, ...] = (Progress, Metric, Sample, Show, Say)

"""Charts: frozen dataclasses that become JSON. The browser draws them; nothing here knows how.

Every number may be a Python, NumPy or torch number and every list a NumPy array or torch tensor. A NaN or an
infinity becomes ``null`` in the JSON (``teachllm lint`` complains about it). Every text may be a ``Both``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from teachllm.school.figures.plain import number, numbers, optional_number, optional_text
from teachllm.school.language import Both, Label, Lang, say

Json: TypeAlias = dict[str, Any]
Numbers: TypeAlias = Any
"""A sequence of numbers: a list, a NumPy array or a one-dimensional tensor."""


@dataclass(frozen=True)
class Bars:
    """Bars over categories: one series (``values``) or several, side by side (``series``: name → values).

    JSON: ``{"kind": "bars", "title", "labels": [str], "series": [{"name": str|null, "values":
    [number|null]}], "x_label", "y_label", "highlight": index|null, "y_max", "unit", "note"}``.
    """

    kind: ClassVar[str] = "bars"
    labels: Sequence[Label]
    values: Numbers | None = None
    series: Mapping[Label, Numbers] | None = None
    x_label: Label | None = None
    y_label: Label | None = None
    highlight: int | None = None
    y_max: float | None = None
    unit: Label | None = None
    note: Label | None = None
    title: Label | None = None

    def __post_init__(self) -> None:
        if (self.values is None) == (self.series is None):
            raise ValueError("Bars takes values (one series) or series (name → values): give exactly one")
        for name, values in self._series():
            if len(values) != len(self.labels):
                which = "values" if name is None else f"series {name}"
                raise ValueError(f"Bars: {len(self.labels)} labels but {len(values)} numbers in {which}")
        if self.highlight is not None and not 0 <= self.highlight < len(self.labels):
            raise ValueError(f"Bars: highlight is {self.highlight}, but there are {len(self.labels)} bars")

    def _series(self) -> list[tuple[Label | None, Numbers]]:
        return [(None, self.values)] if self.series is None else list(self.series.items())

    def to_json(self, lang: Lang) -> Json:
        return {
            "kind": self.kind,
            "title": optional_text(self.title, lang),
            "labels": [say(label, lang) for label in self.labels],
            "series": [
                {"name": optional_text(name, lang), "values": numbers(values)}
                for name, values in self._series()
            ],
            "x_label": optional_text(self.x_label, lang),
            "y_label": optional_text(self.y_label, lang),
            "highlight": self.highlight,
            "y_max": optional_number(self.y_max),
            "unit": optional_text(self.unit, lang),
            "note": optional_text(self.note, lang),
        }


@dataclass(frozen=True)
class Lines:
    """Curves: ``series`` maps a name to ``(xs, ys)``; ``marks`` are vertical lines ``(x, label)``.

    JSON: ``{"kind": "lines", "title", "series": [{"name", "x": [number], "y": [number|null]}], "x_label",
    "y_label", "x_log", "y_log", "y_range": [lo, hi]|null, "marks": [{"x", "label"}], "note"}``.
    """

    kind: ClassVar[str] = "lines"
    series: Mapping[Label, tuple[Numbers, Numbers]]
    x_label: Label | None = None
    y_label: Label | None = None
    x_log: bool = False
    y_log: bool = False
    y_range: tuple[float, float] | None = None
    marks: Sequence[tuple[float, Label]] = ()
    note: Label | None = None
    title: Label | None = None

    def __post_init__(self) -> None:
        for name, pair in self.series.items():
            if len(pair) != 2 or len(pair[0]) != len(pair[1]):
                raise ValueError(f"Lines: series {name} must be (xs, ys) with as many xs as ys")

    def to_json(self, lang: Lang) -> Json:
        return {
            "kind": self.kind,
            "title": optional_text(self.title, lang),
            "series": [
                {"name": say(name, lang), "x": numbers(xs), "y": numbers(ys)}
                for name, (xs, ys) in self.series.items()
            ],
            "x_label": optional_text(self.x_label, lang),
            "y_label": optional_text(self.y_label, lang),
            "x_log": bool(self.x_log),
            "y_log": bool(self.y_log),
            "y_range": None if self.y_range is None else numbers(self.y_range),
            "marks": [{"x": number(x), "label": say(label, lang)} for x, label in self.marks],
            "note": optional_text(self.note, lang),
        }


@dataclass(frozen=True)
class Points:
    """A scatter of ``(x, y, label, group)``; label and group may be ``None``.

    JSON: ``{"kind": "points", "title", "points": [{"x", "y", "label", "group"}], "x_label", "y_label",
    "note"}``.
    """

    kind: ClassVar[str] = "points"
    points: Sequence[tuple[float, float, Label | None, Label | None]]
    x_label: Label | None = None
    y_label: Label | None = None
    note: Label | None = None
    title: Label | None = None

    def __post_init__(self) -> None:
        _check_quadruples("Points", "points", self.points)

    def to_json(self, lang: Lang) -> Json:
        return {
            "kind": self.kind,
            "title": optional_text(self.title, lang),
            "points": [_quadruple(point, lang) for point in self.points],
            "x_label": optional_text(self.x_label, lang),
            "y_label": optional_text(self.y_label, lang),
            "note": optional_text(self.note, lang),
        }


@dataclass(frozen=True)
class Arrows:
    """Arrows from the origin to ``(x, y, label, group)``; ``radius`` draws a circle to compare with.

    JSON: ``{"kind": "arrows", "title", "vectors": [{"x", "y", "label", "group"}], "radius", "note"}``.
    """

    kind: ClassVar[str] = "arrows"
    vectors: Sequence[tuple[float, float, Label | None, Label | None]]
    radius: float | None = None
    note: Label | None = None
    title: Label | None = None

    def __post_init__(self) -> None:
        _check_quadruples("Arrows", "vectors", self.vectors)

    def to_json(self, lang: Lang) -> Json:
        return {
            "kind": self.kind,
            "title": optional_text(self.title, lang),
            "vectors": [_quadruple(vector, lang) for vector in self.vectors],
            "radius": optional_number(self.radius),
            "note": optional_text(self.note, lang),
        }


@dataclass(frozen=True)
class Heatmap:
    """A matrix as colours: ``values[row][column]``, ``y_labels`` name rows and ``x_labels`` columns.

    ``None`` in ``values`` is an empty cell (a masked position). JSON: ``{"kind": "heatmap", "title",
    "values": [[number|null]], "x_labels": [str]|null, "y_labels", "x_label", "y_label", "scale",
    "domain": [lo, hi]|null, "show_numbers", "note"}``.
    """

    kind: ClassVar[str] = "heatmap"
    values: Any
    x_labels: Sequence[Label] | None = None
    y_labels: Sequence[Label] | None = None
    scale: Literal["sequential", "diverging"] = "sequential"
    domain: tuple[float, float] | None = None
    show_numbers: bool = False
    note: Label | None = None
    x_label: Label | None = None
    y_label: Label | None = None
    title: Label | None = None

    def __post_init__(self) -> None:
        if self.scale not in ("sequential", "diverging"):
            raise ValueError(f"Heatmap: scale is sequential or diverging, not {self.scale!r}")
        widths = {len(row) for row in self.values}
        if len(widths) > 1:
            raise ValueError(f"Heatmap: rows have different lengths {sorted(widths)}")
        for name, labels, count in (
            ("y_labels", self.y_labels, len(self.values)),
            ("x_labels", self.x_labels, next(iter(widths), 0)),
        ):
            if labels is not None and len(labels) != count:
                raise ValueError(f"Heatmap: {len(labels)} {name} for {count} rows or columns")

    def to_json(self, lang: Lang) -> Json:
        return {
            "kind": self.kind,
            "title": optional_text(self.title, lang),
            "values": [numbers(row) for row in self.values],
            "x_labels": None if self.x_labels is None else [say(label, lang) for label in self.x_labels],
            "y_labels": None if self.y_labels is None else [say(label, lang) for label in self.y_labels],
            "x_label": optional_text(self.x_label, lang),
            "y_label": optional_text(self.y_label, lang),
            "scale": self.scale,
            "domain": None if self.domain is None else numbers(self.domain),
            "show_numbers": bool(self.show_numbers),
            "note": optional_text(self.note, lang),
        }


@dataclass(frozen=True)
class Token:
    """One coloured piece of a ``Tokens`` strip; ``tone`` 0–7 picks the colour (``None``: by position)."""

    text: str
    id: int | None = None
    tone: int | None = None
    note: Label | None = None

    def __post_init__(self) -> None:
        if self.tone is not None and not 0 <= self.tone <= 7:
            raise ValueError(f"Token: tone is 0 to 7 or None, not {self.tone}")


@dataclass(frozen=True)
class Tokens:
    """Rows of coloured pieces.

    JSON: ``{"kind": "tokens", "title", "rows": [[{"text", "id", "tone", "note"}]], "labels": [str]|null,
    "note"}``.
    """

    kind: ClassVar[str] = "tokens"
    rows: Sequence[Sequence[Token]]
    labels: Sequence[Label] | None = None
    note: Label | None = None
    title: Label | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.rows):
            raise ValueError(f"Tokens: {len(self.labels)} labels for {len(self.rows)} rows")

    def to_json(self, lang: Lang) -> Json:
        return {
            "kind": self.kind,
            "title": optional_text(self.title, lang),
            "rows": [
                [
                    {
                        "text": piece.text,
                        "id": None if piece.id is None else int(piece.id),
                        "tone": piece.tone,
                        "note": optional_text(piece.note, lang),
                    }
                    for piece in row
                ]
                for row in self.rows
            ],
            "labels": None if self.labels is None else [say(label, lang) for label in self.labels],
            "note": optional_text(self.note, lang),
        }


@dataclass(frozen=True)
class Table:
    """A table; a cell is a text or a number. JSON: ``{"kind": "table", "title", "columns": [str],
    "rows": [[str|number|null]], "highlight_row": index|null, "note"}``.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[Label]
    rows: Sequence[Sequence[Any]]
    note: Label | None = None
    highlight_row: int | None = None
    title: Label | None = None

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"Table: row {index} has {len(row)} cells for {len(self.columns)} columns")
        if self.highlight_row is not None and not 0 <= self.highlight_row < len(self.rows):
            raise ValueError(f"Table: highlight_row is {self.highlight_row} of {len(self.rows)} rows")

    def to_json(self, lang: Lang) -> Json:
        return {
            "kind": self.kind,
            "title": optional_text(self.title, lang),
            "columns": [say(column, lang) for column in self.columns],
            "rows": [[_cell(cell, lang) for cell in row] for row in self.rows],
            "highlight_row": self.highlight_row,
            "note": optional_text(self.note, lang),
        }


@dataclass(frozen=True)
class Text:
    """A sentence that depends on the controls. JSON: ``{"kind": "text", "title", "text"}``."""

    kind: ClassVar[str] = "text"
    text: Label
    title: Label | None = None

    def to_json(self, lang: Lang) -> Json:
        return {"kind": self.kind, "title": optional_text(self.title, lang), "text": say(self.text, lang)}


Chart: TypeAlias = Bars | Lines | Points | Arrows | Heatmap | Tokens | Table | Text
CHARTS: tuple[type, ...] = (Bars, Lines, Points, Arrows, Heatmap, Tokens, Table, Text)


def _check_quadruples(chart: str, name: str, items: Sequence[Sequence[Any]]) -> None:
    for item in items:
        if len(item) != 4:
            raise ValueError(f"{chart}: each of {name} is (x, y, label, group); label and group may be None")


def _quadruple(item: tuple[float, float, Label | None, Label | None], lang: Lang) -> Json:
    x, y, label, group = item
    return {
        "x": number(x),
        "y": number(y),
        "label": optional_text(label, lang),
        "group": optional_text(group, lang),
    }


def _cell(cell: Any, lang: Lang) -> str | float | int | None:
    if cell is None:
        return None
    return say(cell, lang) if isinstance(cell, (Both, str)) else number(cell)

"""What a lesson's ``figures.py`` is written with.

A figure is a plain typed function that returns charts; a lab is a generator that yields events; a value is a
function whose result appears in the prose. See ``docs/writing-lessons.md``.
"""

from teachllm.school.figures.charts import (
    Arrows,
    Bars,
    Chart,
    Heatmap,
    Lines,
    Points,
    Table,
    Text,
    Token,
    Tokens,
)
from teachllm.school.figures.controls import Choice, ControlError, Slider, TextInput, Toggle
from teachllm.school.figures.events import Event, Metric, Progress, Sample, Say, Show
from teachllm.school.figures.predict import Predict
from teachllm.school.figures.spec import (
    FigureDefinitionError,
    FigureSpec,
    LabSpec,
    ValueSpec,
    figure,
    lab,
    value,
)
from teachllm.school.language import Both

__all__ = [
    "Arrows",
    "Bars",
    "Both",
    "Chart",
    "Choice",
    "ControlError",
    "Event",
    "FigureDefinitionError",
    "FigureSpec",
    "Heatmap",
    "LabSpec",
    "Lines",
    "Metric",
    "Points",
    "Predict",
    "Progress",
    "Sample",
    "Say",
    "Show",
    "Slider",
    "Table",
    "Text",
    "TextInput",
    "Toggle",
    "Token",
    "Tokens",
    "ValueSpec",
    "figure",
    "lab",
    "value",
]

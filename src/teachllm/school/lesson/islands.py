"""Places for the interactive parts: plain HTML that says what belongs there, with JSON for the scripts."""

from __future__ import annotations

import dis
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from teachllm.school.figures.spec import FigureSpec, LabSpec
from teachllm.school.language import Both, Lang

_NEEDS_SCRIPT = Both("这里要用 JavaScript 才能动起来。", "This part needs JavaScript.")


@dataclass(frozen=True)
class Island:
    """One interactive part of a page: ``data`` goes into its ``<script type="application/json">``."""

    kind: str
    lesson: str
    name: str
    data: Mapping[str, Any]
    title: str

    def html(self, lang: Lang, more: Mapping[str, Any] | None = None) -> str:
        """The placeholder; ``more`` is added to the data (what this learner predicted)."""
        data = json.dumps({**self.data, **(more or {})}, ensure_ascii=False, allow_nan=False)
        safe = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        tag, css = _TAGS[self.kind]
        name = f' data-name="{escape(self.name)}" id="{self.kind}-{escape(self.name)}"' if self.name else ""
        return (
            f'<{tag} class="{css}" data-island="{self.kind}" data-lesson="{escape(self.lesson)}"{name}>'
            f'<p class="cap"><b>{escape(self.title)}</b></p>'
            f'<script type="application/json">{safe}</script>'
            f"<noscript><p>{_NEEDS_SCRIPT.get(lang)}</p></noscript></{tag}>\n"
        )


_TAGS = {
    "figure": ("figure", "fig"),
    "lab": ("section", "lab"),
    "exercise": ("section", "exercise"),
    "cards": ("section", "cards"),
}


def figure_island(lesson: str, spec: FigureSpec, lang: Lang, initial: Mapping[str, Any] | None) -> Island:
    """``{"title", "controls", "prediction", "initial": {"charts": […]}, "computed_by"}``.

    ``initial`` is what it draws with its defaults; ``None`` if it could not.
    """
    data = {
        "title": spec.title.get(lang),
        "controls": spec.controls(lang),
        "prediction": spec.prediction(lang),
        "initial": initial,
        "computed_by": computed_by(spec.function),
    }
    return Island("figure", lesson, spec.name, data, spec.title.get(lang))


def lab_island(lesson: str, spec: LabSpec, lang: Lang, mine: str | None) -> Island:
    """``{"title", "summary", "seconds", "controls", "mine"}``; ``mine``: the symbol a learner may replace."""
    data = {
        "title": spec.title.get(lang),
        "summary": spec.summary.get(lang),
        "seconds": spec.seconds,
        "controls": spec.controls(lang),
        "mine": mine,
    }
    return Island("lab", lesson, spec.name, data, spec.title.get(lang))


def computed_by(function: Callable[..., Any]) -> str | None:
    """The module of the stack whose code a figure runs, such as ``stack.nn.attention``, if it names one."""
    seen: set[Any] = set()

    def search(value: Any) -> str | None:
        value = getattr(value, "__wrapped__", value)
        code = getattr(value, "__code__", None)
        if code is None or value in seen:
            return None
        seen.add(value)
        namespace = value.__globals__
        found = [namespace[name] for name in _names(code) if name in namespace]
        for item in found:
            module = (
                item.__name__
                if isinstance(item, types.ModuleType)
                else getattr(item, "__module__", None) or ""
            )
            if module.startswith("teachllm.stack."):
                return module.removeprefix("teachllm.")
        here = [item for item in found if getattr(item, "__module__", None) == function.__module__]
        return next(filter(None, map(search, here)), None)

    return search(function)


def _names(code: types.CodeType) -> list[str]:
    names = [str(step.argval) for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return names

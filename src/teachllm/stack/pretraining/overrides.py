"""Flags such as `--steps 50`, one for every number and choice of a recipe, made from its dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import Parameter

from teachllm.stack.pretraining.recipe import Recipe

SECTIONS = ("data", "model", "batch", "training", "evaluation", "samples")


def overridable() -> Iterator[tuple[str, str, Any]]:
    """(section, key, type) of everything that a flag may change; section "" is the top of the recipe."""
    kinds = get_type_hints(Recipe)
    yield "", "seed", int
    for section in SECTIONS:
        hints = get_type_hints(kinds[section])
        for field in dataclasses.fields(kinds[section]):
            if not any(dataclasses.is_dataclass(inner) for inner in get_args(hints[field.name])):
                yield section, field.name, hints[field.name]


def changes(overrides: Any) -> dict[str, dict[str, Any]]:
    """What was given, for `read_recipe`: section → key → value."""
    given: dict[str, dict[str, Any]] = {}
    for section, key, _ in overridable():
        value = getattr(overrides, key, None)
        if value is not None:
            given.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    return given


Overrides: Any = dataclasses.make_dataclass(
    "Overrides",
    [
        (
            key,
            Annotated[kind | None, Parameter(help=f"{section}.{key}" if section else key)],
            dataclasses.field(default=None),
        )
        for section, key, kind in overridable()
    ],
    frozen=True,
    kw_only=True,
)
"""What the flags gave; None where a flag was not given."""
Overrides.__module__ = __name__  # cyclopts takes a class of the module `types`, as made here, for built in

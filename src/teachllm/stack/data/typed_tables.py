"""Tables of a TOML file as typed dataclasses, and back. Everything that is wrong is said at once."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def read_table_file(kind: type[T], path: Path, what: str) -> T:
    """The dataclass `kind` from a TOML file. ValueError naming the file and everything that is wrong with
    it; `what` says what it should have been, such as "recipe of a model".
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ValueError(f"{path} is not a TOML file that can be read: {problem}") from None
    value, problems = read_table(kind, table)
    if value is None or problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ValueError(f"{path} is no {what}:\n{listed}")
    return value


def read_table(kind: type[T], table: Mapping[str, Any], place: str = "") -> tuple[T | None, list[str]]:
    """The dataclass `kind` from a table, and all that is wrong with it; None if it cannot be made.

    Known types: bool, int, float (from whole numbers, too), str, Literal, dataclasses, `X | None`,
    `tuple[X, ...]`, `dict[str, X]`. Keys that no field has are wrong. A dataclass that refuses its values
    does so with ValueError. place: the name of the table, for the messages.
    """
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # pyright: ignore
    problems = [_unknown(key, fields, place) for key in table if key not in fields]
    values: dict[str, Any] = {}
    is_complete = True
    for name, field in fields.items():
        where = f"{place}.{name}" if place else name
        if name in table:
            value, wrong = _read(hints[name], table[name], where)
            problems += wrong
            if value is not None:
                values[name] = value
                continue
        elif not _has_default(field):
            problems.append(f"{where} is missing")
        # A field without a usable value has its default for now, so that the other values are looked at, too.
        is_complete = is_complete and _has_default(field)
    if not is_complete:
        return None, problems
    try:
        return kind(**values), problems
    except ValueError as refused:
        return None, [*problems, f"{place}: {refused}" if place else str(refused)]


def as_table(value: Any) -> dict[str, Any]:
    """A dataclass as a table that `read_table` reads back: without what is None."""
    return {
        field.name: _plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if getattr(value, field.name) is not None
    }


def write_toml(table: Mapping[str, Any]) -> str:
    """TOML of nested tables, lists, texts, numbers and truth values."""
    lines: list[str] = []
    _write(table, (), lines)
    return "\n".join(lines).strip() + "\n"


def _read(hint: Any, value: Any, where: str) -> tuple[Any, list[str]]:
    """The value as `hint` wants it, or None and what is wrong."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (present,) = (option for option in inner if option is not type(None))
        return _read(present, value, where)
    if origin is Literal:
        if value in inner:
            return value, []
        guess = _did_you_mean(value, [str(option) for option in inner])
        return _wrong(value, f"one of {', '.join(map(str, inner))}", where, guess)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return _wrong(value, "a list", where)
        read = [_read(inner[0], item, f"{where}[{number}]") for number, item in enumerate(value)]
        problems = [problem for _, wrong in read for problem in wrong]
        return (None if problems else tuple(item for item, _ in read)), problems
    if origin is dict:
        if not isinstance(value, Mapping):
            return _wrong(value, "a table", where)
        entries = {key: _read(inner[1], item, f"{where}.{key}") for key, item in value.items()}
        problems = [problem for _, wrong in entries.values() for problem in wrong]
        return (None if problems else {key: item for key, (item, _) in entries.items()}), problems
    if hint is Any:
        return value, []
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            return _wrong(value, "a table", where)
        return read_table(hint, value, where)  # pyright: ignore[reportArgumentType]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float:
        return (float(value), []) if is_number else _wrong(value, "a number", where)
    words = {int: "a whole number", str: "a text", bool: "true or false"}[hint]
    fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    return (value, []) if fits else _wrong(value, words, where)


def _wrong(value: Any, expected: str, where: str, hint: str = "") -> tuple[None, list[str]]:
    return None, [f"{where} is {_short(value)}; it must be {expected}{hint}"]


def _unknown(key: str, fields: Mapping[str, Any], place: str) -> str:
    guess = _did_you_mean(key, list(fields)) or f"; there are {', '.join(fields)}"
    return f"{f'[{place}]' if place else 'a recipe'} has no {key!r}{guess}"


def _did_you_mean(given: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(given), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return as_table(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _write(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    tables: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            tables[key] = value
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in tables.items():
        lines += ["", f"[{'.'.join(map(_key, (*path, key)))}]"]
        _write(value, (*path, key), lines)


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        if any(isinstance(item, Mapping) for item in value):
            return "[\n" + "".join(f"    {_value(item)},\n" for item in value) + "]"
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value).lower() if isinstance(value, bool) else repr(value)

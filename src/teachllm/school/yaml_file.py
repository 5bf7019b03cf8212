"""YAML read strictly: duplicate keys are errors, and every value knows the line that it stands on."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError

from teachllm.school.language import Both
from teachllm.school.problem import CourseFileError, Problem

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str | int, ...]

_WIDE = "\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef“”‘’…—"
_PUNCTUATION = "\u3001-\u3011\uff01-\uff5e"
_FOLD_IN_CHINESE = re.compile(f"(?<=[{_WIDE}]) (?=[{_WIDE}])|(?<=[{_PUNCTUATION}]) | (?=[{_PUNCTUATION}])")


@dataclass(frozen=True)
class YamlFile:
    """A file as plain Python values; ``lines`` maps a place such as ``(3, "title")`` to its line."""

    path: Path
    data: Any
    lines: dict[Place, int] = field(repr=False)

    def line(self, place: Place) -> int | None:
        """The line of the value at ``place``, or of the nearest thing around it that is in the file."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)

    def problem(self, place: Place, message: Both) -> Problem:
        return Problem(self.path, self.line(place), message)


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises :class:`CourseFileError` saying what is wrong with it and where."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        message = Both("文件不存在，请创建它", "the file does not exist; create it")
        raise CourseFileError([Problem(path, None, message)]) from None
    except OSError as error:
        message = Both(f"读不了这个文件：{error.strerror}", f"the file cannot be read: {error.strerror}")
        raise CourseFileError([Problem(path, None, message)]) from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        bad = content[error.start : error.start + 1].hex()
        message = Both(
            f"不是合法的 UTF-8：第 {column} 个字节是 0x{bad}；请用 UTF-8 重新保存这个文件",
            f"not valid UTF-8: byte {column} of the line is 0x{bad}; save the file as UTF-8",
        )
        raise CourseFileError([Problem(path, line, message)]) from None


def read_yaml(path: Path) -> YamlFile:
    """Reads a YAML file. Raises :class:`CourseFileError` for bad syntax, duplicate keys or an empty file."""
    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        message = Both(f"YAML 语法错误：{what}", f"YAML syntax error: {what}")
        raise CourseFileError([Problem(path, mark.line + 1 if mark else None, message)]) from None
    except yaml.YAMLError as error:
        raise CourseFileError(
            [Problem(path, None, Both(f"YAML 错误：{error}", f"YAML error: {error}"))]
        ) from None
    if node is None:
        raise CourseFileError([Problem(path, None, Both("文件是空的", "the file is empty"))])
    lines: dict[Place, int] = {}
    problems: list[Problem] = []
    data = _construct(path, node, (), lines, problems)
    if problems:
        raise CourseFileError(problems)
    return YamlFile(path, data, lines)


def _construct(
    path: Path, node: yaml.Node, place: Place, lines: dict[Place, int], problems: list[Problem]
) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(path, item, (*place, i), lines, problems) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            line = key_node.start_mark.line + 1
            if key in mapping:
                first = lines[(*place, key)]
                message = Both(
                    f"键 {key} 重复了，第一次出现在第 {first} 行",
                    f"key {key} appears twice; the first is on line {first}",
                )
                problems.append(Problem(path, line, message))
            lines[(*place, key)] = line
            mapping[key] = _construct(path, value_node, (*place, key), lines, problems)
        return mapping
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        message = Both(f"不认识的 YAML 值：{error}", f"unknown YAML value: {error}")
        problems.append(Problem(path, node.start_mark.line + 1, message))
        return None
    folded = isinstance(node, yaml.ScalarNode) and node.style != "|"
    if isinstance(value, str) and folded and node.end_mark.line > node.start_mark.line:
        # YAML folds a line break into a space; beside Chinese characters and punctuation it is none.
        value = _FOLD_IN_CHINESE.sub("", value)
    return value


class _Told(ValueError):
    """What is wrong, in the reader's language."""

    def __init__(self, why: Both) -> None:
        super().__init__(why.en)
        self.why = why


def _both(value: Any) -> Any:
    if isinstance(value, Both):
        return value
    if not isinstance(value, dict) or set(value) != {"zh", "en"}:
        raise _Told(Both("两种语言都要写：{zh: …, en: …}", "give both languages, as in {zh: …, en: …}"))
    for lang, text in value.items():
        if not isinstance(text, str) or not text.strip():
            raise _Told(Both(f"{lang} 是空的，或者不是文字", f"the {lang} text is empty or not a text"))
    return Both(value["zh"].strip(), value["en"].strip())


BothText = Annotated[Both, BeforeValidator(_both)]
"""A field that must be given in both languages."""


def validate(file: YamlFile, model: Any) -> Any:
    """The file's data as ``model`` (a pydantic model or any type).

    Raises :class:`CourseFileError` with every violation at once, each with its line.
    """
    try:
        return TypeAdapter(model).validate_python(file.data)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            place = tuple(item["loc"])
            shown = ".".join(str(part) for part in place) or "file"
            told = item.get("ctx", {}).get("error")
            what = (
                told.why if isinstance(told, _Told) else Both.same(item["msg"].removeprefix("Value error, "))
            )
            if item["type"] == "extra_forbidden":
                message = Both(
                    f"{shown}：不认识的键，请检查拼写", f"{shown}: unknown key; check its spelling"
                )
            elif item["type"] == "missing":
                message = Both(f"{shown}：缺少这个键", f"{shown}: this key is missing")
            elif item["type"] == "string_type":
                given = item["input"]
                message = Both(
                    f"{shown}：应是文字，得到 {given!r}；请加引号",
                    f"{shown}: must be text, was {given!r}; quote it",
                )
            elif item["type"] == "string_pattern_mismatch":
                pattern = item.get("ctx", {}).get("pattern")
                message = Both(
                    f"{shown}：{item['input']!r} 不符合格式 {pattern}",
                    f"{shown}: {item['input']!r} does not have the form {pattern}",
                )
            else:
                given = repr(item["input"])[:60]
                message = Both(f"{shown}：{what.zh}；现在是 {given}", f"{shown}: {what.en}; it was {given}")
            problems.append(file.problem(place, message))
        raise CourseFileError(problems) from None

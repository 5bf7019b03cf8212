"""Calls of tools in a model's text, in the form that Hermes and Qwen were trained on:

<tool_call>
{"name": "weather", "arguments": {"city": "Paris"}}
</tool_call>
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teachllm.stack.chat import Tool

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FORCED = OPEN + "\n"  # what the answer begins with where it must be a call


@dataclass(frozen=True, slots=True)
class CallWritten:
    """A call that the model wrote. `arguments` is JSON text, which max_tokens may have cut off."""

    name: str
    arguments: str


class ToolCallParser:
    """Separates calls from text as it comes. Text waits while it could be the beginning of a call.

    What stands between the marks and is no call of one of `names` stays text, so nothing is lost.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._waiting = ""

    def push(self, text: str) -> list[str | CallWritten]:
        """What is known now: pieces of text, none empty, and whole calls."""
        self._waiting += text
        found: list[str | CallWritten] = []
        while self._waiting:
            start = self._waiting.find(OPEN)
            if start < 0:
                shown = len(self._waiting) - _overlap(self._waiting, OPEN)
                found += [self._waiting[:shown]] if shown else []
                self._waiting = self._waiting[shown:]
                break
            end = self._waiting.find(CLOSE, start)
            if start:
                found.append(self._waiting[:start])
                self._waiting = self._waiting[start:]
            if end < 0:
                break
            end += len(CLOSE) - start
            whole, self._waiting = self._waiting[:end], self._waiting[end:]
            found.append(self._call(whole) or whole)
        return found

    def flush(self) -> list[str | CallWritten]:
        """The text is over. A last call may lack its closing mark."""
        rest, self._waiting = self._waiting, ""
        return [self._call(rest) or rest] if rest else []

    def _call(self, marked: str) -> CallWritten | None:
        """The call between the marks; None if it is none."""
        if not marked.startswith(OPEN):
            return None
        call = read_call(marked.removeprefix(OPEN).removesuffix(CLOSE))
        return call if call is not None and call.name in self._names else None


def read_call(text: str) -> CallWritten | None:
    """``{"name": …, "arguments": {…}}``; None if the text is not that."""
    try:
        written = json.loads(text)
    except ValueError:
        return None
    if not isinstance(written, dict) or not isinstance(written.get("name"), str):
        return None
    arguments = written.get("arguments", {})
    if not isinstance(arguments, dict):
        return None
    return CallWritten(written["name"], json.dumps(arguments, ensure_ascii=False))


def read_cut_off_call(text: str, names: Sequence[str]) -> CallWritten | None:
    """A call that must be one, but that max_tokens ended: its name, and its arguments as far as they go."""
    for name in names:
        beginning = '"arguments":'
        if f'"name":{json.dumps(name)}' in text.replace(" ", "") and beginning in text:
            return CallWritten(name, text.partition(beginning)[2].strip())
    return None


def schema_of_call(tools: Sequence[Tool]) -> dict[str, Any]:
    """The JSON Schema of a call of one of `tools`: its arguments always fit that tool's parameters."""
    one_of = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.name},
                "arguments": _moved(tool.parameters, f"#/anyOf/{position}/properties/arguments"),
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for position, tool in enumerate(tools)
    ]
    return {"anyOf": one_of}


def _moved(schema: Any, pointer: str) -> Any:
    """The schema as it must be written below `pointer`: its references ``#/…`` begin there."""
    if isinstance(schema, Mapping):
        return {
            key: pointer + value[1:]
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, pointer)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_moved(item, pointer) for item in schema]
    return schema


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` begin `mark`."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if mark.startswith(text[-n:])), 0)

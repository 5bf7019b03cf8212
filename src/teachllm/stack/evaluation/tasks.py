"""Tasks are data: a TOML file says what is asked, how it is put to a model and what is right."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, Literal, TypeAlias

from teachllm.stack.evaluation.verifiers import VERIFIERS

SHIPPED = Path(__file__).with_name("shipped")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of `choices` continues `context` best? `answer` is the index of the right one."""

    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Question:
    """The model writes on after `prompt`; a verifier compares with `answer`."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class ChoiceTask:
    """Multiple choice by log-likelihood."""

    name: str
    description: str
    items: tuple[Choice, ...]


@dataclass(frozen=True)
class PerplexityTask:
    """How well texts are predicted."""

    name: str
    description: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class GenerationTask:
    """Free answers, greedy, up to `max_tokens` or one of the `stop` texts, judged by a verifier."""

    name: str
    description: str
    items: tuple[Question, ...]
    verifier: str
    max_tokens: int
    stop: tuple[str, ...]

    @property
    def verify(self) -> Callable[[str, str], bool]:
        return VERIFIERS[self.verifier]


Task: TypeAlias = ChoiceTask | PerplexityTask | GenerationTask

_KEYS = {
    "choice": {"prompt", "choice"},
    "perplexity": set[str](),
    "generation": {"prompt", "verifier", "max_tokens", "stop"},
}
_COMMON = {"kind", "description", "items", "items_file"}


def shipped_tasks() -> dict[str, Path]:
    """The task files that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def load_task(source: str | Path) -> Task:
    """The task in a TOML file, or the shipped one of that name. ValueError names all that is wrong."""
    path = shipped_tasks().get(str(source), Path(source))
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{source} is neither a task file nor one of the tasks {', '.join(shipped_tasks())}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is not TOML: {problem}") from None
    reader = _Reader(path, content)
    task = reader.task()
    if reader.problems:
        raise ValueError(f"{path} is no task: " + "; ".join(reader.problems[:12]))
    assert task is not None
    return task


class _Reader:
    """Reads a task and notes everything that is wrong with it."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self.problems: list[str] = []

    def task(self) -> Task | None:
        kind = self.content.get("kind")
        if kind not in _KEYS:
            self.problems.append(f"kind is {kind!r}; it must be one of {', '.join(_KEYS)}")
            return None
        if unknown := sorted(set(self.content) - _COMMON - _KEYS[kind]):
            self.problems.append(f"a {kind} task has no {', '.join(unknown)}")
        description = self.text(self.content, "description", "the task")
        items = [self.item(kind, entry, f"item {number}") for number, entry in enumerate(self.entries(), 1)]
        read = tuple(item for item in items if item is not None)
        if not items:
            self.problems.append("there are no items")
        name = self.path.stem
        if kind == "choice":
            return ChoiceTask(name, description, tuple(i for i in read if isinstance(i, Choice)))
        if kind == "perplexity":
            return PerplexityTask(name, description, tuple(i for i in read if isinstance(i, str)))
        return self.generation(name, description, tuple(i for i in read if isinstance(i, Question)))

    def generation(self, name: str, description: str, items: tuple[Question, ...]) -> GenerationTask:
        verifier = self.content.get("verifier")
        if verifier not in VERIFIERS:
            self.problems.append(f"verifier is {verifier!r}; it must be one of {', '.join(VERIFIERS)}")
        max_tokens = self.content.get("max_tokens", 64)
        if not isinstance(max_tokens, int) or max_tokens < 1:
            self.problems.append(f"max_tokens is {max_tokens!r}; it must be a whole number above 0")
        stop = self.content.get("stop", ["\n"])
        if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
            self.problems.append(f"stop is {stop!r}; it must be a list of texts")
            stop = []
        return GenerationTask(name, description, items, str(verifier), max_tokens, tuple(stop))

    def entries(self) -> list[Any]:
        if "items_file" not in self.content:
            listed = self.content.get("items", [])
            return listed if isinstance(listed, list) else []
        file = self.path.parent / str(self.content["items_file"])
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            self.problems.append(f"items_file cannot be read: {problem}")
            return []
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                entries += [json.loads(line)] if line.strip() else []
            except json.JSONDecodeError as problem:
                self.problems.append(f"line {number} of {file.name} is not JSON: {problem}")
        return entries

    def item(
        self, kind: Literal["choice", "perplexity", "generation"], entry: Any, where: str
    ) -> Choice | Question | str | None:
        if not isinstance(entry, dict):
            self.problems.append(f"{where} is {str(entry)[:40]!r}, expected a table")
            return None
        if kind == "perplexity":
            return self.text(entry, "text", where)
        prompt = self.filled("prompt", "{prompt}", entry, where)
        if kind == "generation":
            return Question(prompt, self.text(entry, "answer", where))
        choices, answer = entry.get("choices"), entry.get("answer")
        if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) for c in choices):
            self.problems.append(f"{where} has choices {str(choices)[:40]}; they must be at least two texts")
            return None
        if not isinstance(answer, int) or not 0 <= answer < len(choices):
            self.problems.append(f"{where} has answer {answer!r}; it must be the number of a choice, from 0")
            return None
        filled = [self.filled("choice", " {choice}", entry | {"choice": one}, where) for one in choices]
        return Choice(prompt, tuple(filled), answer)

    def filled(self, key: str, usual: str, entry: dict[str, Any], where: str) -> str:
        """The task's template for `key` with the fields of an item in it."""
        template = self.content.get(key, usual)
        try:
            fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
        except (TypeError, ValueError) as problem:
            self.problems.append(f"the template {key} = {template!r} cannot be read: {problem}")
            return ""
        if missing := [field for field in fields if not isinstance(entry.get(field), str | int)]:
            self.problems.append(f"{where} has no {', '.join(missing)}, which {key} = {template!r} asks for")
            return ""
        # Fields are put in by name only: a template cannot reach into the objects that it is given.
        parts = [
            text + (str(entry[field]) if field is not None else "")
            for text, field, _, _ in Formatter().parse(template)
        ]
        return "".join(parts)

    def text(self, entry: dict[str, Any], key: str, where: str) -> str:
        value = entry.get(key)
        if not isinstance(value, str) or not value:
            self.problems.append(f"{where} has {key} = {value!r}; it must be a text")
            return ""
        return value

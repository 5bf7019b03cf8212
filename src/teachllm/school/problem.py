"""Something wrong in the course's files, said so that its author can mend it: where, what, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from teachllm.school.language import Both, Lang

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """``message`` says what is wrong and what to do; ``line`` counts from 1, ``None`` is the whole file."""

    file: Path
    line: int | None
    message: Both
    severity: Severity = "error"

    def where(self, below: Path | None = None) -> str:
        """``lesson.zh.md:12``, relative to ``below`` if the file lies under it."""
        inside = below is not None and self.file.is_relative_to(below)
        shown = self.file.relative_to(below) if inside and below is not None else self.file
        return f"{shown}:{self.line}" if self.line else str(shown)

    def get(self, lang: Lang) -> str:
        return f"{self.where()}: {self.message.get(lang)}"

    def __str__(self) -> str:
        return self.get("en")


class CourseFileError(Exception):
    """Files of the course cannot be used; ``problems`` lists everything found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def get(self, lang: Lang) -> str:
        return "\n".join(problem.get(lang) for problem in self.problems)


class CourseError(CourseFileError):
    """``course.yaml`` or ``glossary.yaml`` is wrong: there is no course to show."""


class LessonError(CourseFileError):
    """A lesson cannot be shown; the others can."""

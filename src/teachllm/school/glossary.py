"""The glossary: one Chinese and one English term for every concept, and other names people search for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from teachllm.school.language import Both
from teachllm.school.problem import CourseFileError, Problem
from teachllm.school.yaml_file import BothText, read_yaml, validate


@dataclass(frozen=True)
class Term:
    """A concept: its name and definition, other names (``aliases``), the lesson that teaches it."""

    id: str
    name: Both
    definition: Both
    aliases: tuple[str, ...] = ()
    lesson: str | None = None

    def names(self) -> tuple[str, ...]:
        """Every way to write it, the two standard terms first."""
        return tuple(dict.fromkeys((self.name.zh, self.name.en, *self.aliases)))


@dataclass(frozen=True)
class Glossary:
    terms: dict[str, Term]

    def __contains__(self, term_id: object) -> bool:
        return term_id in self.terms

    def __getitem__(self, term_id: str) -> Term:
        return self.terms[term_id]

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms.values())

    def __len__(self) -> int:
        return len(self.terms)


class _TermEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]
    zh: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]
    definition: BothText
    aliases: list[str] = []
    lesson: str | None = None


def load_glossary(path: Path, lessons: Set[str]) -> Glossary:
    """Reads ``glossary.yaml``; ``lessons`` are the ids that a term may point to.

    Raises :class:`CourseFileError` with every problem.
    """
    file = read_yaml(path)
    entries: list[_TermEntry] = validate(file, list[_TermEntry])
    problems: list[Problem] = []
    times = Counter(entry.id for entry in entries)
    for index, entry in enumerate(entries):
        if times[entry.id] > 1:
            message = Both(f"术语 {entry.id} 出现了不止一次", f"term {entry.id} is defined more than once")
            problems.append(file.problem((index, "id"), message))
        if entry.lesson is not None and entry.lesson not in lessons:
            message = Both(f"课程里没有 {entry.lesson} 课", f"there is no lesson {entry.lesson}")
            problems.append(file.problem((index, "lesson"), message))
    if problems:
        raise CourseFileError(problems)
    return Glossary(
        {
            entry.id: Term(
                entry.id, Both(entry.zh, entry.en), entry.definition, tuple(entry.aliases), entry.lesson
            )
            for entry in entries
        }
    )

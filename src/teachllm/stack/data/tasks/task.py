"""What a verifiable task is, and how an endless supply of them is split into training and test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

Split = Literal["train", "test"]
TEST_ONE_IN = 10  # prompts that belong to the test split


@dataclass(frozen=True, slots=True)
class Task:
    """A question whose answer a program can judge, with a worked solution to learn from."""

    kind: str
    """The name of the generator, which is also that of the verifier."""
    prompt: str
    solution: str
    """The steps, and the answer in the last line, behind `ANSWER`."""
    answer: str
    """An answer that is right; there may be others (see `TaskKind.verify`)."""

    @property
    def text(self) -> str:
        """The document that a model is trained on."""
        return f"{self.prompt}\n{self.solution}\n"


ANSWER = "Answer: "


@dataclass(frozen=True, slots=True)
class TaskKind:
    """A family of tasks.

    make(random, difficulty): a task; the higher the difficulty, from 1 on, the more steps it takes.
    is_right(task, answer): whether what someone answered is right.
    """

    name: str
    about: str
    make: Callable[[Random, int], Task]
    is_right: Callable[[Task, str], bool]


def tasks_of(kind: TaskKind, difficulty: int, *, seed: int, split: Split = "train") -> Iterator[Task]:
    """Tasks without end, the same for the same arguments.

    Which split a task belongs to is decided by a hash of its prompt: no prompt is in both, whatever the seeds
    and difficulties. Easy ones come more than once: there are only so many. ValueError for a difficulty
    below 1.
    """
    if difficulty < 1:
        raise ValueError(f"difficulty {difficulty}: the easiest is 1")
    return _endless(kind, difficulty, Random(f"{kind.name} {difficulty} {seed} {split}"), split)


def _endless(kind: TaskKind, difficulty: int, random: Random, split: Split) -> Iterator[Task]:
    while True:
        task = kind.make(random, difficulty)
        if split_of(task.prompt) == split:
            yield task


def split_of(prompt: str) -> Split:
    """One prompt in ten is for the test."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_ONE_IN == 0 else "train"


def final_answer(text: str) -> str | None:
    """What stands behind the last ``Answer:`` to the end of its line; None without one."""
    _, sign, after = text.rpartition(ANSWER.strip())
    if not sign:
        return None
    return after.strip().split("\n", 1)[0].strip() or None

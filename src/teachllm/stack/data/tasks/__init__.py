"""Tasks that a program makes and judges: text to train on, and questions whose answers are right or wrong.

`tasks("addition", difficulty=2, seed=0)` is an endless supply; `verify` judges what a model wrote.
"""

from __future__ import annotations

from collections.abc import Iterator

from teachllm.stack.data.tasks.arithmetic import ADDITION, MULTIPLICATION, SUBTRACTION
from teachllm.stack.data.tasks.countdown import COUNTDOWN
from teachllm.stack.data.tasks.sorting import SORTING
from teachllm.stack.data.tasks.spelling import SPELLING
from teachllm.stack.data.tasks.task import ANSWER, Split, Task, TaskKind, final_answer, tasks_of

__all__ = ["ANSWER", "KINDS", "Split", "Task", "TaskKind", "final_answer", "tasks", "verify"]

KINDS = {kind.name: kind for kind in (ADDITION, SUBTRACTION, MULTIPLICATION, COUNTDOWN, SORTING, SPELLING)}


def tasks(kind: str, difficulty: int, *, seed: int, split: Split = "train") -> Iterator[Task]:
    """Tasks without end; those of one split are in no other. ValueError for a kind that there is not."""
    if kind not in KINDS:
        raise ValueError(f"there are no tasks called {kind!r}; there are: {', '.join(KINDS)}")
    return tasks_of(KINDS[kind], difficulty, seed=seed, split=split)


def verify(task: Task, text: str) -> bool:
    """Whether the text that was written after the prompt ends in a right answer, behind ``Answer:``.

    The steps are not judged: a wrong way to a right answer is right.
    """
    answer = final_answer(text)
    return answer is not None and KINDS[task.kind].is_right(task, answer)

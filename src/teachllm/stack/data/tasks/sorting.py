"""Sorting numbers, by taking the smallest again and again."""

from __future__ import annotations

from random import Random

from teachllm.stack.data.tasks.task import ANSWER, Task, TaskKind


def sorting(random: Random, difficulty: int) -> Task:
    """`difficulty` + 2 numbers from 0 to 99; some may be equal."""
    numbers = [random.randrange(100) for _ in range(difficulty + 2)]
    answer = " ".join(map(str, sorted(numbers)))
    prompt = f"Sort: {' '.join(map(str, numbers))}"
    return Task("sorting", prompt, f"{selection_steps(numbers)}\n{ANSWER}{answer}", answer)


def selection_steps(numbers: list[int]) -> str:
    """Selection sort in words: a line for each smallest number, and what is left."""
    left, lines = list(numbers), []
    while left:
        smallest = min(left)
        left.remove(smallest)
        lines.append(f"smallest {smallest}, left {' '.join(map(str, left)) or 'nothing'}")
    return "\n".join(lines)


def is_right_order(task: Task, answer: str) -> bool:
    """The same numbers in the same order, with spaces or commas between them."""
    return answer.replace(",", " ").split() == task.answer.split()


SORTING = TaskKind("sorting", "numbers in order", sorting, is_right_order)

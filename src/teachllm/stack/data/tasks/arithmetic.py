"""Addition, subtraction and multiplication, written out as on paper: column by column, from the right."""

from __future__ import annotations

from random import Random

from teachllm.stack.data.tasks.task import ANSWER, Task, TaskKind


def addition(random: Random, difficulty: int) -> Task:
    """Two numbers of up to `difficulty` + 1 digits."""
    a, b = _number(random, difficulty + 1), _number(random, difficulty + 1)
    return Task("addition", f"{a} + {b} =", worked_addition(a, b), str(a + b))


def subtraction(random: Random, difficulty: int) -> Task:
    """The larger of two numbers of up to `difficulty` + 1 digits less the smaller."""
    a, b = sorted((_number(random, difficulty + 1), _number(random, difficulty + 1)), reverse=True)
    return Task("subtraction", f"{a} - {b} =", worked_subtraction(a, b), str(a - b))


def multiplication(random: Random, difficulty: int) -> Task:
    """A number of up to `difficulty` + 1 digits times one of up to `difficulty`."""
    a, b = _number(random, difficulty + 1), _number(random, difficulty)
    return Task("multiplication", f"{a} * {b} =", worked_multiplication(a, b), str(a * b))


def worked_addition(a: int, b: int) -> str:
    """A line a column: the two digits, what is carried into it, their sum, what is written and carried."""
    lines, carry = [], 0
    for x, y in _columns(a, b):
        total = x + y + carry
        lines.append(f"{x} + {y} + {carry} = {total}, write {total % 10}, carry {total // 10}")
        carry = total // 10
    if carry:
        lines.append(f"write {carry}")
    return "\n".join([*lines, f"{ANSWER}{a + b}"])


def worked_subtraction(a: int, b: int) -> str:
    """A line a column: the upper digit less the lower and what is borrowed, what is written and borrowed.

    ValueError when `b` is the larger.
    """
    if b > a:
        raise ValueError(f"{a} - {b} is below 0, which cannot be worked out in columns; swap the two")
    lines, borrow = [], 0
    for x, y in _columns(a, b):
        difference = x - y - borrow
        lines.append(
            f"{x} - {y} - {borrow} = {difference}, write {difference % 10}, borrow {int(difference < 0)}"
        )
        borrow = int(difference < 0)
    return "\n".join([*lines, f"{ANSWER}{a - b}"])


def worked_multiplication(a: int, b: int) -> str:
    """A line for each digit of `b`, from the right: `a` times it, at its place, and the sum so far."""
    lines, total = [], 0
    for place, digit in enumerate(reversed(str(b))):
        part = a * int(digit) * 10**place
        lines.append(f"{a} * {int(digit) * 10**place} = {part}, {total} + {part} = {total + part}")
        total += part
    return "\n".join([*lines, f"{ANSWER}{a * b}"])


def is_right_number(task: Task, answer: str) -> bool:
    """The number of the task's answer, with or without commas and zeros before it."""
    digits = answer.replace(",", "")
    return digits.isdecimal() and digits.lstrip("0") == task.answer.lstrip("0")


def _number(random: Random, most_digits: int) -> int:
    """Each number of digits is as likely as another: else nine in ten would have the most."""
    digits = random.randint(1, most_digits)
    return random.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def _columns(a: int, b: int) -> list[tuple[int, int]]:
    """The digits of both, from the right, with zeros before the shorter."""
    width = max(len(str(a)), len(str(b)))
    return [(int(x), int(y)) for x, y in zip(f"{a:0{width}}"[::-1], f"{b:0{width}}"[::-1], strict=True)]


ADDITION = TaskKind("addition", "two numbers, by columns", addition, is_right_number)
SUBTRACTION = TaskKind(
    "subtraction", "two numbers, subtracted column by column", subtraction, is_right_number
)
MULTIPLICATION = TaskKind(
    "multiplication", "two numbers, multiplied digit by digit", multiplication, is_right_number
)

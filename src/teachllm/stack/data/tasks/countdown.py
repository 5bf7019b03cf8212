"""Countdown: reach a number with + - * / from given numbers, each used once at most."""

from __future__ import annotations

import ast
from collections import Counter
from fractions import Fraction
from random import Random

from teachllm.stack.data.tasks.task import ANSWER, Task, TaskKind

LONGEST_EXPRESSION = 1000  # characters
LARGEST_PRODUCT = 999


def countdown(random: Random, difficulty: int) -> Task:
    """`difficulty` + 1 numbers, of which a solution uses all. The target is made from them."""
    while True:
        numbers = [random.choice([*range(1, 11), 25, 50, 75, 100]) for _ in range(difficulty + 1)]
        steps, expression, target = _combined(random, numbers)
        if target not in numbers:
            break
    prompt = f"Make {target} from {', '.join(map(str, sorted(numbers)))}."
    return Task("countdown", prompt, "\n".join([*steps, f"{ANSWER}{expression}"]), expression)


def is_right_expression(task: Task, answer: str) -> bool:
    """The answer is an expression of + - * / and brackets, uses the given numbers, each as often as it is
    given at most, and has exactly the target as its value.
    """
    value = evaluate(answer)
    if value is None:
        return False
    target, _, given = task.prompt.removeprefix("Make ").rstrip(".").partition(" from ")
    result, used = value
    return result == int(target) and not used - Counter(map(int, given.split(", ")))


def evaluate(expression: str) -> tuple[Fraction, Counter[int]] | None:
    """The exact value of an expression of whole numbers, and how often it uses each number; None if it is no
    such expression or divides by zero.
    """
    if len(expression) > LONGEST_EXPRESSION or not set(expression) <= set("0123456789+-*/() "):
        return None
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        used: Counter[int] = Counter()
        return _value(tree, used), used
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr, used: Counter[int]) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        used[node.value] += 1
        return Fraction(node.value)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, used), _value(node.right, used)
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
    raise ValueError("another kind of expression")


def _combined(random: Random, numbers: list[int]) -> tuple[list[str], str, int]:
    """Two at a time are replaced by a result, until one is left: steps, expression, value."""
    pool = [(number, str(number)) for number in numbers]
    steps = []
    while len(pool) > 1:
        two = [pool.pop(random.randrange(len(pool))) for _ in range(2)]
        (a, left), (b, right) = sorted(two, reverse=True)
        results = {"+": a + b}
        if a > b:
            results["-"] = a - b
        if b > 1 and a * b <= LARGEST_PRODUCT:
            results["*"] = a * b
        if b > 1 and a % b == 0:
            results["/"] = a // b
        sign, result = random.choice(list(results.items()))
        steps.append(f"{a} {sign} {b} = {result}")
        pool.append((result, f"({left} {sign} {right})"))
    value, expression = pool[0]
    return steps, expression.removeprefix("(").removesuffix(")"), value


COUNTDOWN = TaskKind("countdown", "a number from given ones, with + - * /", countdown, is_right_expression)

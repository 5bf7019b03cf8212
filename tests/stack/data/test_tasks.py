"""Tasks: endless, the same for a seed, split for good, with right solutions and verifiers that know."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from teachllm.stack.data.tasks import ANSWER, KINDS, Task, final_answer, tasks, verify
from teachllm.stack.data.tasks.arithmetic import worked_addition, worked_multiplication, worked_subtraction
from teachllm.stack.data.tasks.countdown import evaluate
from teachllm.stack.data.tasks.sorting import selection_steps
from teachllm.stack.data.tasks.spelling import counted_letters
from teachllm.stack.data.tasks.task import split_of

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def some(kind: str, difficulty: int = 3, n: int = 200, seed: int = 0, split: str = "train") -> list[Task]:
    return list(islice(tasks(kind, difficulty, seed=seed, split=split), n))  # type: ignore[arg-type]


@EVERY_KIND
@pytest.mark.parametrize("difficulty", [1, 2, 5])
def test_solutions_are_right(kind: str, difficulty: int) -> None:
    for task in some(kind, difficulty):
        assert task.kind == kind
        assert verify(task, task.solution)
        assert verify(task, f"{ANSWER}{task.answer}")
        assert task.text == f"{task.prompt}\n{task.solution}\n"


@EVERY_KIND
def test_the_same_for_a_seed(kind: str) -> None:
    assert some(kind) == some(kind)
    assert some(kind, seed=1) != some(kind, seed=2)


@EVERY_KIND
def test_no_prompt_is_in_both_splits(kind: str) -> None:
    for difficulty in (1, 2):
        train = {task.prompt for seed in range(3) for task in some(kind, difficulty, seed=seed)}
        test = {task.prompt for seed in range(3) for task in some(kind, difficulty, 50, seed, "test")}
        assert train
        assert test
        assert not train & test


def test_one_in_ten_is_for_the_test() -> None:
    prompts = [f"{a} + {b} =" for a in range(100) for b in range(100)]
    assert sum(split_of(prompt) == "test" for prompt in prompts) / len(prompts) == pytest.approx(
        0.1, abs=0.01
    )


@EVERY_KIND
def test_higher_difficulty_takes_longer_solutions(kind: str) -> None:
    lengths = [sum(len(task.solution) for task in some(kind, difficulty)) for difficulty in (1, 3, 6)]
    assert lengths == sorted(lengths)
    assert lengths[-1] > 1.5 * lengths[0]


@EVERY_KIND
@pytest.mark.parametrize("text", ["", "Answer:", "no", "Answer: nothing", "Answer: 1/0", "Answer: ((("])
def test_what_is_no_answer_is_wrong(kind: str, text: str) -> None:
    assert not verify(some(kind)[0], text)


def test_addition_on_paper() -> None:
    assert worked_addition(358, 74).split("\n") == [
        "8 + 4 + 0 = 12, write 2, carry 1",
        "5 + 7 + 1 = 13, write 3, carry 1",
        "3 + 0 + 1 = 4, write 4, carry 0",
        "Answer: 432",
    ]
    assert worked_addition(9, 8).split("\n")[1:] == ["write 1", "Answer: 17"]


def test_subtraction_and_multiplication_on_paper() -> None:
    assert worked_subtraction(302, 17).split("\n") == [
        "2 - 7 - 0 = -5, write 5, borrow 1",
        "0 - 1 - 1 = -2, write 8, borrow 1",
        "3 - 0 - 1 = 2, write 2, borrow 0",
        "Answer: 285",
    ]
    assert worked_multiplication(12, 34).split("\n") == [
        "12 * 4 = 48, 0 + 48 = 48",
        "12 * 30 = 360, 48 + 360 = 408",
        "Answer: 408",
    ]
    with pytest.raises(ValueError, match="swap"):
        worked_subtraction(1, 2)


def test_what_is_written_in_the_columns_is_the_answer() -> None:
    for task in some("addition", 5) + some("subtraction", 5):
        written = [line.partition("write ")[2].partition(",")[0] for line in task.solution.split("\n")[:-1]]
        assert int("".join(reversed(written))) == int(task.answer)


def test_numbers_are_judged_as_numbers() -> None:
    task = Task("addition", "1 + 1233 =", "", "1234")
    assert verify(task, "Answer: 1,234\nand more")
    assert verify(task, "Answer: 7\nwait\nAnswer: 01234"), "the last answer counts"
    assert not verify(task, "Answer: 12345")
    assert not verify(task, "Answer: " + "9" * 10_000), "longer than Python turns into a number"


def test_countdown_takes_every_right_expression_and_no_other() -> None:
    task = Task("countdown", "Make 24 from 2, 3, 4, 10.", "", "")
    for right in ("2 * 3 * 4", "(10-2)*3"):
        assert verify(task, f"Answer: {right}")
    for wrong in (
        "24",
        "2 * 3 * 4 * 1",
        "2 * 2 * 2 * 3",
        "3 * 4 + 10",
        "10 + 4 * 3 + 2.0",
        "2 ** 3 * 3",
        "-(-24)",
    ):
        assert not verify(task, f"Answer: {wrong}")
    thirds = Task("countdown", "Make 24 from 3, 3, 8, 8.", "", "")
    assert verify(thirds, "Answer: 8 / (3 - 8 / 3)"), "fractions are exact"


@pytest.mark.parametrize("text", ["__import__('os')", "1//2", "1,2", "(" * 300 + "1" + ")" * 300, "1" * 2000])
def test_only_arithmetic_is_evaluated(text: str) -> None:
    assert evaluate(text) is None


def test_sorting_and_spelling_by_hand() -> None:
    assert selection_steps([5, 1, 5]) == "smallest 1, left 5 5\nsmallest 5, left 5\nsmallest 5, left nothing"
    task = Task("sorting", "Sort: 5 1 5", "", "1 5 5")
    assert verify(task, "Answer: 1, 5, 5")
    assert not verify(task, "Answer: 1 5")
    assert counted_letters("banana", "a") == "b 0, a 1, n 1, a 2, n 2, a 3"
    assert verify(Task("spelling", "Spell bad.", "", "b-a-d"), "Answer: B-A-D.")


def test_answers_are_found() -> None:
    assert final_answer("x\nAnswer: 3\n") == "3"
    assert final_answer("Answer:3") == "3"
    assert final_answer("3") is None


def test_wrong_arguments_say_what_is_right() -> None:
    with pytest.raises(ValueError, match="easiest is 1"):
        tasks("addition", 0, seed=0)
    with pytest.raises(ValueError, match=r"'algebra'; there are: addition, "):
        tasks("algebra", 1, seed=0)


@EVERY_KIND
def test_a_wrong_answer_is_wrong(kind: str) -> None:
    first, *others = some(kind)
    other = next(task for task in others if task.answer != first.answer)
    assert not verify(first, replace(first, answer=other.answer).answer.join([ANSWER, ""]))

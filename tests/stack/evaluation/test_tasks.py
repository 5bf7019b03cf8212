"""Task files: what is read, and that everything wrong in one is named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from teachllm.stack.evaluation.tasks import (
    Choice,
    ChoiceTask,
    GenerationTask,
    PerplexityTask,
    Question,
    load_task,
    shipped_tasks,
)
from teachllm.stack.evaluation.verifiers import contains, same_number, same_text


def write(folder: Path, text: str) -> Path:
    path = folder / "task.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped_tasks())
def test_a_shipped_task_has_distinct_items_with_one_right_answer(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert len(set(task.items)) == len(task.items) >= 20
    for item in task.items:
        if isinstance(item, Choice):
            assert len(set(item.choices)) == len(item.choices)


def test_shipped_right_answers_stand_at_every_place() -> None:
    task = load_task("everyday")
    assert isinstance(task, ChoiceTask)
    places = [item.answer for item in task.items]
    assert {places.count(place) > 4 for place in range(4)} == {True}


def test_templates_are_filled_with_the_fields_of_an_item(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        kind = "choice"
        description = "sums"
        prompt = "{a} and {b} make"
        choice = " {choice}!"
        [[items]]
        a = 1
        b = "two {a}"
        choices = ["3", "{0.__class__}"]
        answer = 0
        """,
    )
    assert load_task(path) == ChoiceTask(
        "task", "sums", (Choice("1 and two {a} make", (" 3!", " {0.__class__}!"), 0),)
    )


def test_a_template_cannot_reach_into_an_object(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'kind = "generation"\ndescription = "d"\nverifier = "same_text"\nprompt = "{a.__class__}"\n'
        'items = [{ a = "x", answer = "y" }]',
    )
    with pytest.raises(ValueError, match=r"item 1 has no a\.__class__"):
        load_task(path)


def test_items_of_a_file_are_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"text": "one"}\n\n{"text": "二"}\n', encoding="utf-8")
    path = write(tmp_path, 'kind = "perplexity"\ndescription = "texts"\nitems_file = "items.jsonl"')
    assert load_task(path) == PerplexityTask("task", "texts", ("one", "二"))


def test_generation_has_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'kind = "generation"\ndescription = "d"\nverifier = "same_number"\n'
        'items = [{ prompt = "1+1=", answer = "2" }]',
    )
    assert load_task(path) == GenerationTask(
        "task", "d", (Question("1+1=", "2"),), "same_number", 64, ("\n",)
    )


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        kind = "choice"
        promt = "x"
        prompt = "{question}"
        [[items]]
        question = "?"
        choices = ["only one"]
        answer = 0
        [[items]]
        choices = ["a", "b"]
        answer = 2
        """,
    )
    with pytest.raises(ValueError, match="is no task") as caught:
        load_task(path)
    message = str(caught.value)
    for part in (
        "no promt",
        "description = None",
        "item 1 has choices",
        "item 2 has no question",
        "item 2 has answer 2",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind = ", "is not TOML"),
        ('kind = "quiz"', "kind is 'quiz'; it must be one of choice, perplexity, generation"),
        ('kind = "choice"\ndescription = "d"', "there are no items"),
        ('kind = "perplexity"\ndescription = "d"\nitems_file = "none.jsonl"', "items_file cannot be read"),
        ('kind = "perplexity"\ndescription = "d"\nitems = ["x"]', "item 1 is 'x', expected a table"),
        (
            'kind = "generation"\ndescription = "d"\nverifier = "eval"\nmax_tokens = 0\nstop = [1]\n'
            'items = [{ prompt = "p", answer = "a" }]',
            "verifier is 'eval'.*max_tokens is 0.*stop is",
        ),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_task(write(tmp_path, text))


def test_an_unknown_name_lists_the_tasks_there_are() -> None:
    with pytest.raises(ValueError, match="neither a task file nor one of the tasks capitals, everyday"):
        load_task("capitls")


def test_verifiers() -> None:
    assert same_text(" The  Answer. ", "the answer")
    assert same_text("４２。", "42")
    assert not same_text("the answers", "the answer")
    assert same_number("3 + 4 is 7, times 2 is 1,024.0", "1024")
    assert same_number("the result: −5", "-5")
    assert not same_number("first 7, then 8", "7")
    assert not same_number("none", "7")
    assert not same_number("12", "no number")
    assert contains("I think it is Paris, of course", "paris")
    assert not contains("London", "Paris")

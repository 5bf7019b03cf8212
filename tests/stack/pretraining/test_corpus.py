"""Corpora by name, and tasks that a program makes and judges."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest

from teachllm.stack.data.tasks import tasks
from teachllm.stack.pretraining import measure
from teachllm.stack.pretraining.corpus import fingerprint, read_corpus
from teachllm.stack.pretraining.recipe import CorpusShare, RecipeError
from teachllm.stack.tokenizer import Tokenizer


def test_tasks_are_a_corpus_that_must_be_limited() -> None:
    documents = list(islice(read_corpus(CorpusShare("addition:2", max_mb=1)), 3))
    expected = [task.text for task in islice(tasks("addition", 2, seed=0), 3)]
    assert [document.text for document in documents] == expected
    with pytest.raises(RecipeError, match="max_mb"):
        read_corpus(CorpusShare("addition:2"))


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    first = fingerprint(CorpusShare(str(tmp_path)))
    assert fingerprint(CorpusShare(str(tmp_path))) == first
    (tmp_path / "b.txt").write_text("two", encoding="utf-8")
    assert fingerprint(CorpusShare(str(tmp_path))) != first
    of_tasks = [fingerprint(CorpusShare(f"addition:{n}", max_mb=1)) for n in (1, 2)]
    assert of_tasks[0] != of_tasks[1]
    assert fingerprint(CorpusShare("course-zh")) == fingerprint(CorpusShare("course-zh", weight=2))


def test_the_share_of_solved_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.from_merges([], special_tokens=["<|endoftext|>"])
    solutions = {task.prompt: task.solution for task in islice(tasks("addition", 1, seed=0, split="test"), 8)}
    wrong = list(solutions)[3]

    def write(model, tokenizer, ids, **options):
        assert ids[0] == tokenizer.special_tokens["<|endoftext|>"]
        prompt = tokenizer.decode(ids[1:])
        assert prompt.endswith("=\n")
        return [SimpleNamespace(text="Answer: -1" if prompt.strip() == wrong else solutions[prompt.strip()])]

    monkeypatch.setattr(measure, "generate", write)
    loaded = SimpleNamespace(model=None, tokenizer=tokenizer, end_tokens=frozenset())
    n_wrong = sum(t.prompt == wrong for t in islice(tasks("addition", 1, seed=0, split="test"), 8))
    assert measure.solved_share(loaded, "addition", 1, 8) == (8 - n_wrong) / 8  # pyright: ignore

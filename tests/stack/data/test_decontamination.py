"""A document with a run of a test's words goes, whatever its case and punctuation; others stay."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.data.decontamination import Decontaminate, ngram_hashes, word_ngrams
from teachllm.stack.data.documents import Document
from teachllm.stack.data.pipeline import clean
from teachllm.stack.data.words import LETTERS, find_words

QUESTION = (
    "A farmer has 17 sheep, and all but nine of them die in a storm that comes over the hills at night. "
    "How many sheep are left?"
)
CHINESE = "一个农夫有十七只羊，除了九只以外，其余的都在夜里的暴风雨中死了。还剩几只羊？"
SHORT = "What is the capital of the north?"  # seven words
MIDDLE = "Which of these rivers is longer than the Rhine?"  # nine words


@pytest.fixture(scope="module")
def step() -> Decontaminate:
    return Decontaminate([QUESTION, CHINESE, SHORT, MIDDLE])


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        (f"Riddles. {QUESTION} Nine.", True),
        ("sheep AND all, but nine of: them DIE in a (storm) that comes", True),
        ("sheep and all but nine of them die in a storm that", False),  # twelve words
        ("谜语：除了九只，以外其余的都在夜里的暴风雨。", True),
        ("除了九只以外，其余的都在夜", False),
        (SHORT, False),
        (f"One more: {MIDDLE.upper()}", True),
        ("these rivers is longer than the rhine", False),
        ("", False),
    ],
)
def test_runs_of_a_test_are_found(step: Decontaminate, text: str, is_found: bool) -> None:
    assert (step.overlap(text) is not None) == is_found


def test_documents_go_with_what_was_found(step: Decontaminate) -> None:
    stream, (report,) = clean([Document("innocent", "a"), Document(f"So: {MIDDLE}", "b")], [step])
    assert [document.source for document in stream] == ["a"]
    assert report.dropped == {"in the test set": 1}
    (sample,) = report.samples["in the test set"]
    assert sample.detail == "which of these rivers is longer than the rhine"


def test_the_hashes_are_those_of_the_runs() -> None:
    text = "a b c a b c d " * 3
    hashes = ngram_hashes(find_words(text, LETTERS).hashes, 4)
    assert len(hashes) == 21 - 4 + 1
    assert len(np.unique(hashes)) == len(word_ngrams(text, 4))
    assert len(ngram_hashes(hashes[:2], 3)) == 0


def test_equal_hashes_are_not_enough(step: Decontaminate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(step.__dict__, "_texts", set())
    assert step.overlap(QUESTION) is None


def test_a_wrong_length_says_which_is_right() -> None:
    with pytest.raises(ValueError, match="from 1 to n, which is 5"):
        Decontaminate([], n=5)

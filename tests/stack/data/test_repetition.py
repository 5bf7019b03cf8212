"""The compiled counts agree with the readable ones; text that repeats itself is found in both languages."""

from __future__ import annotations

from random import Random

import pytest

from teachllm.stack.data.corpora import course_text
from teachllm.stack.data.repetition import (
    NgramCounter,
    most_common_share,
    repeated_ngram_share,
    repeated_shares,
    repetition_problem,
)
from teachllm.stack.data.words import find_words, split_words


def random_words(seed: int, n_different: int, n_words: int = 400) -> str:
    random = Random(seed)
    different = ["".join(random.choices("abcdefg好", k=random.randint(1, 9))) for _ in range(n_different)]
    return " ".join(random.choices(different, k=n_words))


@pytest.mark.parametrize("n_different", [2, 5, 40, 5_000])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 10])
def test_the_compiled_counts_agree_with_the_readable_ones(n_different: int, n: int) -> None:
    for seed in range(5):
        text = random_words(seed, n_different)
        words, counter = split_words(text), NgramCounter(find_words(text))
        assert counter.most_common_share(n) == most_common_share(words, n)
        assert counter.repeated_share(n) == repeated_ngram_share(words, n)
        assert counter.most_common_share(n) == most_common_share(words, n), "the table was emptied"


def test_shares_by_hand() -> None:
    words = ["to", "be", "or", "not", "to", "be"]
    assert most_common_share(words, 2) == 2 * 4 / 13
    assert most_common_share(words, 3) == 0
    assert repeated_ngram_share(words, 2) == 4 / 13
    assert repeated_ngram_share(["a"] * 6, 2) == 5 / 6, "each word counts once, the first two are new"
    assert repeated_shares(["ab", "c", "ab", "ab"]) == (1 / 2, 4 / 7)


@pytest.mark.parametrize("text", ["", "word", " ", "好"])
def test_texts_shorter_than_an_ngram(text: str) -> None:
    assert repetition_problem(text) is None
    for n in (1, 2, 10):
        assert NgramCounter(find_words(text)).most_common_share(n) == 0
        assert NgramCounter(find_words(text)).repeated_share(n) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Sign up now\n" * 6, "repeated lines"),
        ("One paragraph\nof two lines.\n\n" * 4, "repeated lines"),
        ("buy cheap shoes " * 30, "one phrase too often"),
        ("点击这里下载" * 30, "one phrase too often"),
    ],
)
def test_text_that_repeats_itself_is_found(text: str, reason: str) -> None:
    verdict = repetition_problem(text)
    assert verdict is not None
    assert verdict.reason == reason


def test_a_long_phrase_among_others_is_found() -> None:
    random = Random(0)
    phrase = "subscribe to our weekly letter for news about the things that matter"
    others = ["".join(random.choices("abcdefghij", k=7)) for _ in range(400)]
    pieces = [" ".join([*others[i : i + 25], phrase]) for i in range(0, 400, 25)]
    verdict = repetition_problem(" ".join(pieces))
    assert verdict is not None
    assert verdict.reason == "repeated phrases"
    assert repetition_problem(" ".join(others)) is None


def test_chinese_prose_passes() -> None:
    texts = list(course_text("zh"))
    assert [repetition_problem(text) for text in texts].count(None) == len(texts)

"""The compiled words are those of the readable expression, in any language."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachllm.stack.data.words import (
    IDEOGRAPH,
    LETTERS,
    NO_LETTER,
    SPACES,
    WITH_LETTER,
    Cut,
    find_words,
    split_words,
    word_hash,
)


def test_what_a_word_is() -> None:
    text = "Don't: 3 | 模型，a1很好……「OK」"
    assert split_words(text, SPACES) == ["Don't:", "3", "|", "模", "型", "a1", "很", "好", "OK"]
    assert split_words(text, LETTERS) == ["Don", "t", "3", "模", "型", "a1", "很", "好", "OK"]
    kinds = [
        WITH_LETTER,
        NO_LETTER,
        NO_LETTER,
        IDEOGRAPH,
        IDEOGRAPH,
        WITH_LETTER,
        IDEOGRAPH,
        IDEOGRAPH,
        WITH_LETTER,
    ]
    assert find_words(text).kinds.tolist() == kinds


@pytest.mark.parametrize("cut", [SPACES, LETTERS])
@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("ab ,.\n\t-'é模型カ한ж9②，。…“\U00020001\u0301😀\u3000")) | st.text())
def test_the_loop_agrees_with_the_expression(cut: Cut, text: str) -> None:
    words = find_words(text, cut)
    expected = split_words(text, cut)
    assert [text[a:b] for a, b in zip(words.starts, words.ends, strict=True)] == expected
    equal = [a == b for a in expected for b in expected]
    assert [a == b for a in words.hashes.tolist() for b in words.hashes.tolist()] == equal


def test_a_word_has_one_hash_wherever_it_stands() -> None:
    assert word_hash("model") == int(find_words("a big model trains").hashes[2])
    assert word_hash("模") == int(find_words("大模型").hashes[1])
    assert len({word_hash(word) for word in ("ab", "ba", "a", "b", "abab")}) == 5


def test_chinese_counts_in_words_of_its_own_length() -> None:
    text = "我们训练一个语言模型 with PyTorch"  # ten characters
    words = find_words(text)
    assert words.in_words() == pytest.approx(2 + 10 / 1.6)
    assert words.is_chinese()
    assert not find_words("模型 is the Chinese word for model").is_chinese()

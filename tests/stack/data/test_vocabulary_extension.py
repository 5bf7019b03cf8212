"""Tokens that an added word makes unreachable: found by their bytes, confirmed by cutting text."""

from __future__ import annotations

import pytest

from teachllm.stack.data.vocabulary_extension import made_unreachable
from teachllm.stack.tokenizer import Tokenizer

TEXT = "中华人民共和国万岁。中华人民共和国的人民。中华民族。" * 20


def test_unreachable_tokens_are_those_that_text_is_never_cut_into() -> None:
    before = Tokenizer.train([TEXT], vocab_size=300)
    tokens = before.vocabulary.tokens
    lost = made_unreachable(tokens, "人民")
    assert lost
    assert "中华人民共和国".encode() in {tokens[i] for i in lost}
    after = Tokenizer.from_merges(before.vocabulary.merges, special_tokens=("人民",))
    cut = {after.id_to_bytes(i) for i in after.encode(TEXT, special="all")}
    assert "人民".encode() in cut
    assert not cut & {tokens[i] for i in lost if tokens[i] != "人民".encode()}
    came_out = set(before.encode(TEXT))
    assert came_out & set(lost)


def test_an_empty_word_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        made_unreachable({0: b"a"}, "")

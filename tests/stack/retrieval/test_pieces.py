"""Documents are found by the best of their pieces."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.retrieval.hits import NO_DOCUMENT, Hits
from teachllm.stack.retrieval.pieces import best_piece, cut_between_sentences, cut_into_pieces


def test_pieces_hold_every_word_once() -> None:
    assert cut_into_pieces("a b  c\nd e", 2) == ["a b", "c\nd", "e"]
    assert cut_into_pieces("缓存 KV缓存，很大", 3) == ["缓存 KV", "缓存，", "很大"]
    assert cut_into_pieces("", 3) == [""]
    with pytest.raises(ValueError, match="at least one"):
        cut_into_pieces("a", 0)


def test_sentences_stay_whole() -> None:
    text = "One is short. Here are four words. And these are five words. Last one!\nEnd"
    assert cut_between_sentences(text, 8) == [
        "One is short. Here are four words.",
        "And these are five words. Last one! End",
    ]
    assert cut_between_sentences(text, 10)[1].startswith("Here are four words. And these are")
    assert cut_between_sentences("一二三。四五六七！八九", 10) == ["一二三。 四五六七！", "四五六七！ 八九"]
    assert cut_between_sentences("far too long a sentence", 2) == ["far too long a sentence"]
    assert cut_between_sentences("", 2) == [""]
    with pytest.raises(ValueError, match="at least one"):
        cut_between_sentences("a", 0)


def test_a_document_has_the_score_of_its_best_piece() -> None:
    hits = Hits(
        np.array([[4, 0, 3, 1, NO_DOCUMENT]]), np.array([[0.9, 0.8, 0.8, 0.1, -np.inf]], dtype=np.float32)
    )
    found = best_piece(hits, [7, 7, 5, 2, 7], k=3)
    assert found.ids.tolist() == [[7, 2, NO_DOCUMENT]]
    np.testing.assert_allclose(found.scores, np.array([[0.9, 0.8, -np.inf]]))

"""Rankings are fused by ranks, or by scores that were made comparable."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.retrieval.fusion import reciprocal_rank_fusion, score_fusion
from teachllm.stack.retrieval.hits import NO_DOCUMENT, Hits


def hits(*rows: list[int]) -> Hits:
    ids = np.array(rows, dtype=np.int64)
    return Hits(ids, np.where(ids == NO_DOCUMENT, -np.inf, 1e6).astype(np.float32))


def test_what_both_find_comes_before_what_one_finds_first() -> None:
    fused = reciprocal_rank_fusion([hits([7, 3, 1]), hits([5, 3, NO_DOCUMENT])], k=5)
    assert fused.ids.tolist() == [[3, 5, 7, 1, NO_DOCUMENT]]  # 5 and 7 are equal: the smaller id first
    expected = [2 / 62, 1 / 61, 1 / 61, 1 / 63, -np.inf]
    np.testing.assert_allclose(fused.scores[0], expected, rtol=1e-6)


def test_a_small_constant_lets_the_first_place_decide() -> None:
    first, second = hits([7, 9, 3]), hits([5, 8, 3])
    assert reciprocal_rank_fusion([first, second], k=1).ids.tolist() == [[3]]
    assert reciprocal_rank_fusion([first, second], k=1, constant=0.1).ids.tolist() == [[5]]


def test_rankings_of_different_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="the same"):
        reciprocal_rank_fusion([hits([1]), hits([1], [2])], k=1)
    with pytest.raises(ValueError, match="the same"):
        reciprocal_rank_fusion([], k=1)


def scored(*rows: dict[int, float]) -> Hits:
    width = max(map(len, rows))
    ids = np.full((len(rows), width), NO_DOCUMENT, dtype=np.int64)
    scores = np.full((len(rows), width), -np.inf, dtype=np.float32)
    for place, row in enumerate(rows):
        best = sorted(row, key=lambda one: -row[one])
        ids[place, : len(row)], scores[place, : len(row)] = best, [row[one] for one in best]
    return Hits(ids, scores)


WORDS = scored({1: 30.0, 2: 20.0, 3: 10.0}, {8: 1.0})
VECTORS = scored({3: 0.9, 4: 0.8, 1: 0.4}, {})


def test_scores_of_different_scales_are_put_between_0_and_1() -> None:
    fused = score_fusion([WORDS, VECTORS], k=5)
    assert fused.of(0) == [(1, 1.0), (3, 1.0), (4, pytest.approx(0.8)), (2, 0.5)]
    assert fused.of(1) == [(8, 0.0)], "a single score says nothing, and is kept"
    assert score_fusion([WORDS, VECTORS], k=1, weights=[1, 2]).of(0) == [(3, 2.0)]
    agreed = score_fusion([WORDS, VECTORS], k=5, rewarding_agreement=True)
    assert agreed.of(0) == [(1, 2.0), (3, 2.0), (4, pytest.approx(0.8)), (2, 0.5)]


def test_standard_scores_let_what_stands_out_count() -> None:
    fused = dict(score_fusion([WORDS, VECTORS], k=5, scale="z-score").of(0))
    words, vectors = np.array([30.0, 20, 10]), np.array([0.9, 0.8, 0.4])
    z_words, z_vectors = (words - words.mean()) / words.std(), (vectors - vectors.mean()) / vectors.std()
    assert fused[1] == pytest.approx(z_words[0] + z_vectors[2], rel=1e-6)
    assert fused[4] == pytest.approx(z_words[2] + z_vectors[1], rel=1e-6), "where it is missing: the lowest"
    raw = dict(score_fusion([WORDS, VECTORS], k=5, scale="as they are").of(0))
    assert raw[3] == pytest.approx(10.9)
    with pytest.raises(ValueError, match="can be negative"):  # twice a negative sum would be a punishment
        score_fusion([WORDS, VECTORS], k=5, scale="z-score", rewarding_agreement=True)


def test_weights_are_one_a_ranking() -> None:
    with pytest.raises(ValueError, match="1 weights for 2 rankings"):
        score_fusion([WORDS, VECTORS], k=1, weights=[1.0])

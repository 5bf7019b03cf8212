"""Rankings are fused by ranks alone."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.retrieval.fusion import reciprocal_rank_fusion
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

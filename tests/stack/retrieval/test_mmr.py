"""Maximal marginal relevance beside its definition."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.retrieval.mmr import maximal_marginal_relevance


def by_definition(relevance: np.ndarray, similarity: np.ndarray, k: int, trade_off: float) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < k:
        left = [i for i in range(len(relevance)) if i not in chosen]
        gain = [
            trade_off * relevance[i] - (1 - trade_off) * max((similarity[i, j] for j in chosen), default=0.0)
            for i in left
        ]
        chosen.append(left[int(np.argmax(gain))])
    return chosen


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.7, 1.0])
def test_the_definition(trade_off: float) -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance, similarity = vectors @ vectors[0], vectors @ vectors.T
    found = maximal_marginal_relevance(relevance, similarity, 7, trade_off)
    assert found.tolist() == by_definition(relevance, similarity, 7, trade_off)


def test_a_copy_comes_last_and_more_than_there_are_is_all() -> None:
    similarity = np.array([[1, 1, 0.1], [1, 1, 0.1], [0.1, 0.1, 1]])
    assert maximal_marginal_relevance(np.array([0.9, 0.89, 0.5]), similarity, 9, 0.5).tolist() == [0, 2, 1]
    with pytest.raises(ValueError, match="trade-off from 0 to 1"):
        maximal_marginal_relevance(np.ones(3), similarity, 2, 1.5)

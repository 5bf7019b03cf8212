"""Hard negatives: never the positive, not the suspicious ones, and exchanged by Conan's rule."""

from __future__ import annotations

import torch

from teachllm.stack.retrieval.embedding.mining import (
    NONE,
    DynamicNegatives,
    negatives_of_turn,
    outgrown,
    ranked_candidates,
    static_negatives,
)
from teachllm.stack.retrieval.embedding.pooling import normalize


def test_candidates_are_ranked_without_the_positive_and_what_is_too_similar() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    passages = normalize(torch.tensor([[1.0, 0.1], [1.0, 0.12], [1.0, 1.0], [0.1, 1.0], [-1.0, 0.5]]))
    positives = torch.tensor([0, 3])
    ids, scores = ranked_candidates(queries, passages, positives, depth=10)
    assert ids.tolist() == [[1, 2, 3, 4, NONE], [2, 4, 1, 0, NONE]]
    torch.testing.assert_close(scores[0, 0], queries[0] @ passages[1])
    assert scores[0, -1] == -torch.inf
    ids, _ = ranked_candidates(queries, passages, positives, depth=3, max_share=0.95)
    assert ids.tolist() == [[2, 3, 4], [2, 4, 1]]


def test_static_negatives_skip_the_first_ranks_and_do_not_repeat() -> None:
    candidates = torch.tensor([[9, 8, 7, 6, 5, 4], [1, 2, 3, NONE, NONE, NONE]])
    drawn = static_negatives(candidates, 3, first=2, generator=torch.Generator().manual_seed(0))
    assert set(drawn[0].tolist()) < {7, 6, 5, 4}
    assert len(set(drawn[0].tolist())) == 3
    assert drawn[1].tolist() == [3, NONE, NONE]
    assert static_negatives(candidates, 8, 2, torch.Generator()).shape == (2, 8)


def test_the_rule_of_outgrowing() -> None:
    initial = torch.tensor([0.5, 0.5, 0.99, -0.9])
    now = torch.tensor([0.44, 0.43, 0.85, -0.95])
    assert outgrown(initial, now).tolist() == [False, True, False, False]


def test_turns_take_the_next_ranks() -> None:
    candidates = torch.arange(100, 118).expand(3, -1)
    turn = torch.tensor([1, 2, 4])
    assert negatives_of_turn(candidates, turn, n=3).tolist() == [
        [110, 111, 112],
        [113, 114, 115],
        [NONE, NONE, NONE],
    ]


def test_dynamic_negatives_are_exchanged_once_they_are_easy() -> None:
    scores = torch.full((2, 30), 0.6)
    dynamic = DynamicNegatives.begin(torch.arange(30).expand(2, -1), 4, lambda ids: scores.gather(1, ids))
    assert dynamic.ids.tolist() == [[10, 11, 12, 13]] * 2
    assert dynamic.refresh(lambda ids: scores.gather(1, ids)) == 0
    scores[0, 10:14] = 0.5  # 1.15 · 0.5 < 0.6: the first query has outgrown its own
    scores[0, 14:18] = 0.7
    assert dynamic.refresh(lambda ids: scores.gather(1, ids)) == 1
    assert dynamic.ids.tolist() == [[14, 15, 16, 17], [10, 11, 12, 13]]
    assert [round(one, 4) for one in dynamic.initial.tolist()] == [0.7, 0.6]
    for fall in (0.3, 0.6, 0.9, 1.2, 1.5):
        dynamic.refresh(lambda ids, fall=fall: scores.gather(1, ids) - fall)
    assert (dynamic.ids != NONE).all()  # who has none left keeps the last

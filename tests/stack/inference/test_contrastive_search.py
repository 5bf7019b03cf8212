"""Contrastive search: the choice by its formula, greedy at alpha 0, less repetition above."""

from __future__ import annotations

import threading

import pytest
import torch

from teachllm.stack.inference import contrastive_search, generate_tokens
from teachllm.stack.inference.contrastive_search import contrastive_scores
from teachllm.stack.models.llama import Llama


def test_scores_weigh_probability_against_the_nearest_of_what_was_said() -> None:
    context = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    candidates = torch.tensor([[0.0, 2.0], [-3.0, 0.0], [1.0, 1.0]])
    scores = contrastive_scores(torch.tensor([0.5, 0.2, 0.1]), candidates, context, 0.6)
    expected = torch.tensor([0.4 * 0.5 - 0.6 * 1, 0.4 * 0.2 - 0.6 * 0, 0.4 * 0.1 - 0.6 * 0.5**0.5])
    torch.testing.assert_close(scores, expected)


def test_alpha_zero_and_a_single_candidate_are_greedy(tiny_llama: Llama) -> None:
    *greedy, reason = generate_tokens(tiny_llama, [3, 8], max_tokens=25)
    for options in ({"top_k": 5, "alpha": 0.0}, {"top_k": 1, "alpha": 0.9}):
        *ours, ended = contrastive_search(tiny_llama, [3, 8], max_tokens=25, **options)
        assert (ours, ended) == (greedy, reason)


def test_it_ends_at_an_end_token_a_limit_the_context_and_when_told(tiny_llama: Llama) -> None:
    *free, reason = contrastive_search(tiny_llama, [4], top_k=4, alpha=0.6, max_tokens=10)
    assert (len(free), reason) == (10, "length")
    end = free[5]
    *cut, reason = contrastive_search(tiny_llama, [4], top_k=4, alpha=0.6, max_tokens=10, end_tokens={end})
    assert (cut, reason) == (free[: free.index(end)], "stop")
    *filled, reason = contrastive_search(tiny_llama, [4] * 90, top_k=4, alpha=0.6)
    assert (len(filled), reason) == (6, "context")
    stop = threading.Event()
    tokens = contrastive_search(tiny_llama, [4], top_k=4, alpha=0.6, stop=stop)
    assert next(tokens) == free[0]
    stop.set()
    assert list(tokens) == ["cancelled"]


def test_everything_out_of_range_is_named(tiny_llama: Llama) -> None:
    with pytest.raises(ValueError, match=r"top_k is 0.*alpha is 1.5"):
        contrastive_search(tiny_llama, [4], top_k=0, alpha=1.5)

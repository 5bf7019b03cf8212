"""Softmax in pieces equals softmax as a whole: in any order, and with blocks that hide everything."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn.online_softmax import (
    SoftmaxState,
    empty_state,
    finish_softmax,
    merge_softmax,
    naive_softmax,
    online_softmax,
    safe_softmax,
    softmax_state,
    update_softmax,
)

HIDDEN = -math.inf


def normal(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers * spread


def pieces(spread: float) -> list[tuple[Tensor, Tensor]]:
    """Scores of 2 × 4 queries and the values, in blocks of 3, 1 and 5 keys."""
    scores, values = normal(2, 4, 9, spread=spread), normal(2, 9, 6, seed=1)
    return list(zip(scores.split([3, 1, 5], -1), values.split([3, 1, 5], -2), strict=True))


def whole(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp over all keys at once, by PyTorch."""
    scores = torch.cat([scores for scores, _ in parts], -1)
    values = torch.cat([values for _, values in parts], -2)
    return torch.softmax(scores, -1) @ values, torch.logsumexp(scores, -1)


def assert_same(got: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for x, y in zip(got, expected, strict=True):
        torch.testing.assert_close(x, y, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("spread", [0.1, 5.0, 1e4])
def test_blocks_one_after_another_are_attention_over_all_keys(spread: float) -> None:
    state = empty_state((2, 4), 6, torch.float64)
    for scores, values in pieces(spread):
        merged = merge_softmax(state, softmax_state(scores, values))
        state = update_softmax(state, scores, values)
        assert_same(state, merged)
    assert_same(finish_softmax(state), whole(pieces(spread)))


@pytest.mark.parametrize("spread", [0.1, 5.0, 1e4])
def test_merging_knows_neither_order_nor_grouping(spread: float) -> None:
    parts = pieces(spread)
    states = [softmax_state(scores, values) for scores, values in parts]
    for a, b, c in itertools.permutations(states):
        assert_same(finish_softmax(merge_softmax(merge_softmax(a, b), c)), whole(parts))
        assert_same(finish_softmax(merge_softmax(a, merge_softmax(b, c))), whole(parts))


def test_a_side_that_has_seen_nothing_changes_nothing() -> None:
    state = softmax_state(*pieces(3.0)[0])
    hidden = softmax_state(torch.full((2, 4, 3), HIDDEN, dtype=torch.float64), normal(2, 3, 6))
    assert_same(hidden, empty_state((2, 4), 6, torch.float64))
    assert_same(merge_softmax(state, hidden), state)
    assert_same(merge_softmax(hidden, state), state)
    assert_same(
        update_softmax(state, torch.full((2, 4, 3), HIDDEN, dtype=torch.float64), normal(2, 3, 6)), state
    )
    assert_same(merge_softmax(hidden, hidden), hidden)


def test_a_query_that_sees_no_key_gives_zero_and_minus_infinity() -> None:
    scores = normal(3, 5)
    scores[1] = HIDDEN
    output, logsumexp = finish_softmax(
        update_softmax(empty_state((3,), 6, torch.float64), scores, normal(5, 6))
    )
    assert output[1].eq(0).all()
    assert logsumexp[1] == HIDDEN
    assert_same((output[[0, 2]],), (torch.softmax(scores[[0, 2]], -1) @ normal(5, 6),))


def test_finished_results_can_still_be_merged() -> None:
    parts = pieces(5.0)
    finished = [finish_softmax(softmax_state(scores, values)) for scores, values in parts]
    states: list[SoftmaxState] = [(lse, torch.ones_like(lse), output) for output, lse in finished]
    merged = merge_softmax(merge_softmax(states[0], states[1]), states[2])
    assert_same(finish_softmax(merged), whole(parts))


def test_what_is_dropped_leaves_the_numerator_and_not_the_denominator() -> None:
    (scores, values), kept = pieces(1.0)[0], torch.tensor([0.0, 2.0, 2.0], dtype=torch.float64)
    output, logsumexp = finish_softmax(
        update_softmax(empty_state((2, 4), 6, torch.float64), scores, values, kept.expand_as(scores))
    )
    assert_same((output, logsumexp), (torch.softmax(scores, -1) * kept @ values, torch.logsumexp(scores, -1)))


@pytest.mark.parametrize("block", [1, 4, 64])
def test_the_three_softmaxes_agree_where_none_overflows(block: int) -> None:
    scores = normal(5, 33)
    scores[2, :7] = HIDDEN  # a first block that hides everything, with blocks of 1 and 4
    expected = torch.softmax(scores, -1)
    assert_same((naive_softmax(scores), safe_softmax(scores)), (expected, expected))
    assert_same((online_softmax(scores, block),), (expected,))


@pytest.mark.parametrize(
    ("dtype", "largest"), [(torch.float16, 11.0), (torch.bfloat16, 88.0), (torch.float32, 88.0)]
)
def test_the_naive_softmax_overflows_where_the_dtype_ends(dtype: torch.dtype, largest: float) -> None:
    below = torch.tensor([largest, 0.0], dtype=dtype)
    above = torch.tensor([largest + 1.5, 0.0], dtype=dtype)
    assert naive_softmax(below).isfinite().all()
    assert naive_softmax(above)[0].isnan()
    for softmax in (safe_softmax, online_softmax):
        assert softmax(above).tolist()[0] == pytest.approx(1.0, abs=2e-3)

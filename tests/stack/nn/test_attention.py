"""Attention: the readable function, the fused one, and the models' way of choosing between them."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn import attention
from teachllm.stack.nn.attention import (
    causal_attention,
    causal_mask,
    mean_pool_kv_heads,
    readable_attention,
    scaled_dot_product_attention,
    use_attention,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_three_tokens_by_hand() -> None:
    q = torch.tensor([[[[2.0, 0.0, 1.0, 1.0]]]])
    k = torch.tensor([[[[2.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0]]]])
    v = torch.tensor([[[[10.0, 0.0], [0.0, 10.0], [1.0, 1.0]]]])
    e2, e1, e0 = math.exp(2), math.exp(1), 1.0
    total = e2 + e1 + e0
    expected = torch.tensor([[[[(10 * e2 + e0) / total, (10 * e1 + e0) / total]]]])
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v), expected)


def test_a_query_that_sees_nothing_gets_zero_and_spoils_no_other() -> None:
    q, k, v = normal(1, 2, 3, 4), normal(1, 2, 5, 4, seed=1), normal(1, 2, 5, 4, seed=2)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1] = False
    got = scaled_dot_product_attention(q, k, v, mask)
    assert got[:, :, 1].eq(0).all()
    torch.testing.assert_close(got[:, :, [0, 2]], scaled_dot_product_attention(q[:, :, [0, 2]], k, v))


@pytest.mark.parametrize(("n_queries", "n_cached"), [(1, 0), (4, 0), (1, 6), (3, 2)])
def test_the_causal_mask_compares_absolute_positions(n_queries: int, n_cached: int) -> None:
    mask = causal_mask(n_queries, n_cached)
    expected = [[key <= n_cached + i for key in range(n_cached + n_queries)] for i in range(n_queries)]
    assert mask.tolist() == expected


@pytest.mark.parametrize("n_kv_heads", [6, 3, 2, 1])
@pytest.mark.parametrize(("n_queries", "n_keys"), [(1, 1), (1, 9), (7, 7), (4, 9)])
def test_the_fused_way_equals_the_readable_one(n_kv_heads: int, n_queries: int, n_keys: int) -> None:
    q = normal(2, 6, n_queries, 8)
    k, v = normal(2, n_kv_heads, n_keys, 8, seed=1), normal(2, n_kv_heads, n_keys, 8, seed=2)
    fused = causal_attention(q, k, v)
    with readable_attention():
        readable = causal_attention(q, k, v)
    torch.testing.assert_close(fused, readable, atol=1e-5, rtol=0)


def test_query_heads_share_the_keys_of_their_own_group() -> None:
    q, k, v = normal(1, 4, 3, 8), normal(1, 2, 3, 8, seed=1), normal(1, 2, 3, 8, seed=2)
    got = causal_attention(q, k, v)
    for head, group in enumerate([0, 0, 1, 1]):
        alone = causal_attention(q[:, [head]], k[:, [group]], v[:, [group]])
        torch.testing.assert_close(got[:, [head]], alone, atol=1e-5, rtol=0)


def test_a_function_put_in_place_of_the_readable_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = normal(1, 2, 3, 4), normal(1, 2, 3, 4, seed=1), normal(1, 2, 3, 4, seed=2)
    before = causal_attention(q, k, v)
    monkeypatch.setattr(
        attention, "scaled_dot_product_attention", lambda q, k, v, mask=None, scale=None: torch.zeros_like(q)
    )
    with readable_attention():
        assert causal_attention(q, k, v).eq(0).all()
    torch.testing.assert_close(causal_attention(q, k, v), before)  # and outside, the fused one again


def test_the_choice_is_undone_after_an_error_and_seen_by_no_other_thread() -> None:
    q = normal(1, 1, 2, 4)
    fused = causal_attention(q, q, q)
    elsewhere: list[Tensor] = []

    def interrupted() -> None:
        with use_attention(lambda q, k, v: q + 1):
            thread = threading.Thread(target=lambda: elsewhere.append(causal_attention(q, q, q)))
            thread.start()
            thread.join()
            torch.testing.assert_close(causal_attention(q, q, q), q + 1)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    torch.testing.assert_close(elsewhere[0], fused)
    torch.testing.assert_close(causal_attention(q, q, q), fused)


def test_pooled_keys_are_the_mean_of_their_group() -> None:
    weight = normal(4 * 3, 5)
    pooled = mean_pool_kv_heads(weight, n_heads=4, n_kv_heads=2)
    heads = weight.view(4, 3, 5)
    torch.testing.assert_close(pooled[:3], (heads[0] + heads[1]) / 2)
    torch.testing.assert_close(pooled[3:], (heads[2] + heads[3]) / 2)
    torch.testing.assert_close(mean_pool_kv_heads(weight, 4, 4), weight)


@pytest.mark.parametrize(("rows", "n_heads", "n_kv_heads"), [(12, 4, 3), (12, 4, 0), (10, 4, 2)])
def test_heads_that_cannot_be_pooled_are_refused(rows: int, n_heads: int, n_kv_heads: int) -> None:
    with pytest.raises(ValueError, match="n_kv_heads must divide"):
        mean_pool_kv_heads(normal(rows, 5), n_heads, n_kv_heads)

"""FlashAttention as readable code: exact, differentiable, and without a matrix of scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.attention import (
    causal_mask,
    repeat_kv_heads,
    scaled_dot_product_attention,
    use_attention,
)
from teachllm.stack.nn.flash_attention import (
    flash_attention,
    flash_backward,
    flash_causal_attention,
    flash_forward,
    flash_forward_v1,
)
from teachllm.stack.nn.flash_tiles import Tiles
from teachllm.stack.nn.philox import dropout_factors
from teachllm.stack.nn.tensor_memory import TensorMemory

FORWARDS = [flash_forward, flash_forward_v1]
Forward = Callable[..., tuple[Tensor, Tensor]]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def inputs(
    n_queries: int, n_keys: int, n_kv_heads: int = 4, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """2 texts, 4 query heads of 8 numbers, values of 6."""
    q, k = normal(2, 4, n_queries, 8, dtype=dtype), normal(2, n_kv_heads, n_keys, 8, seed=1, dtype=dtype)
    return q, k, normal(2, n_kv_heads, n_keys, 6, seed=2, dtype=dtype)


def reference(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp by writing down the whole matrix."""
    group = q.shape[1] // k.shape[1]
    k, v = repeat_kv_heads(k, group), repeat_kv_heads(v, group)
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scaled_dot_product_attention(q, k, v, mask, scale), torch.logsumexp(scores, -1)


def assert_same(got: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = 1e-12) -> None:
    for x, y in zip(got, expected, strict=True):
        torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


def padding() -> Tensor:
    """Text 0 is padded on the left by 3, text 1 on the right by 4; 13 keys."""
    mask = torch.ones(2, 13, dtype=torch.bool)
    mask[0, :3] = mask[1, -4:] = False
    return mask


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("n_kv_heads", [4, 2])
@pytest.mark.parametrize(("block_q", "block_k"), [(4, 3), (3, 5), (1, 1), (64, 64)])
@pytest.mark.parametrize(("n_queries", "n_keys"), [(13, 13), (7, 13), (1, 13), (13, 7)])
@pytest.mark.parametrize("causal", [False, True])
def test_every_tiling_equals_attention_as_a_whole(
    forward: Forward, n_kv_heads: int, block_q: int, block_k: int, n_queries: int, n_keys: int, causal: bool
) -> None:
    q, k, v = inputs(n_queries, n_keys, n_kv_heads)
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries) if causal else None
    got = forward(q, k, v, causal=causal, block_q=block_q, block_k=block_k)
    assert_same(got, reference(q, k, v, mask))


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("causal", [False, True])
def test_padding_is_never_seen_and_a_query_that_sees_no_key_gets_zero(forward: Forward, causal: bool) -> None:
    q, k, v = inputs(13, 13, 2)
    k[0, :, :3] = v[0, :, :3] = 1e3
    mask = padding()[:, None, None] & (causal_mask(13) if causal else torch.ones(13, 13, dtype=torch.bool))
    out, logsumexp = forward(q, k, v, causal=causal, key_mask=padding(), block_q=4, block_k=3)
    assert_same((out, logsumexp), reference(q, k, v, mask))
    if causal:
        assert out[0, :, :3].eq(0).all()
        assert logsumexp[0, :, :3].eq(-math.inf).all()


@pytest.mark.parametrize("forward", FORWARDS)
def test_scores_of_ten_thousand_do_not_overflow(forward: Forward) -> None:
    q, k, v = inputs(13, 13)
    assert_same(forward(q, k, v, scale=1e4, block_q=4, block_k=3), reference(q, k, v, scale=1e4))


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)])
def test_numbers_of_the_inputs_dtype_meet_in_float32(
    forward: Forward, dtype: torch.dtype, tolerance: float
) -> None:
    q, k, v = inputs(70, 70, 2, dtype)
    out, logsumexp = forward(q, k, v, causal=True, block_q=16, block_k=16)
    expected_out, expected_logsumexp = reference(q.double(), k.double(), v.double(), causal_mask(70))
    assert (out.dtype, logsumexp.dtype) == (dtype, torch.float32)
    # The output is rounded once: half a unit in the last place of the dtype, relative.
    torch.testing.assert_close(out.double(), expected_out, atol=1e-6, rtol=tolerance)
    torch.testing.assert_close(logsumexp.double(), expected_logsumexp, atol=2e-6, rtol=0)


def factors(seed: int, n: int) -> Tensor:
    """What dropout of 0.3 does to all weights of 2 texts with 4 heads."""
    return dropout_factors(
        0.3, seed, torch.arange(8).view(2, 4, 1, 1), torch.arange(n).unsqueeze(-1), torch.arange(n)
    )


def dropped(q: Tensor, k: Tensor, v: Tensor, kept: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = repeat_kv_heads(k, group), repeat_kv_heads(v, group)
    scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).masked_fill(
        ~causal_mask(q.shape[2]), -math.inf
    )
    return torch.softmax(scores, -1) * kept.to(q.dtype) @ v


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(("block_q", "block_k"), [(4, 3), (64, 64)])
def test_dropout_depends_on_the_seed_and_not_on_the_tiles(
    forward: Forward, block_q: int, block_k: int
) -> None:
    q, k, v = inputs(13, 13, 2)
    out, logsumexp = forward(q, k, v, causal=True, dropout=0.3, seed=5, block_q=block_q, block_k=block_k)
    assert_same((out,), (dropped(q, k, v, factors(5, 13)),), 1e-6)  # 1/0.7 is a float32
    assert_same((logsumexp,), (reference(q, k, v, causal_mask(13))[1],))
    assert not torch.equal(out, forward(q, k, v, causal=True, dropout=0.3, seed=6)[0])


# Gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("key_mask", [None, padding()], ids=["all", "padded"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("n_kv_heads", [4, 1])
def test_gradients_are_those_of_attention_as_a_whole(
    causal: bool, key_mask: Tensor | None, dropout: float, n_kv_heads: int
) -> None:
    q, k, v = (x.requires_grad_() for x in inputs(13, 13, n_kv_heads))
    mask = torch.ones(13, 13, dtype=torch.bool)
    mask = (causal_mask(13) if causal else mask) & (mask if key_mask is None else key_mask[:, None, None])
    scores = q @ repeat_kv_heads(k, 4 // n_kv_heads).transpose(-2, -1) / math.sqrt(8)
    weights = torch.softmax(scores.masked_fill(~mask, -1e9), -1).masked_fill(~mask, 0.0)
    kept = factors(5, 13).double() if dropout else torch.ones(())
    expected = weights * kept @ repeat_kv_heads(v, 4 // n_kv_heads)
    got = flash_attention(
        q, k, v, causal=causal, key_mask=key_mask, dropout=dropout, seed=5, block_q=4, block_k=3
    )
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    direction = normal(*got.shape, seed=3)
    gradients = torch.autograd.grad(got, (q, k, v), direction)
    assert_same(
        gradients, torch.autograd.grad(expected, (q, k, v), direction), 1e-12 if not dropout else 1e-6
    )


@pytest.mark.parametrize("dropout", [0.0, 0.25])  # 1/(1 − 0.25) too is rounded to a float32
def test_gradcheck(dropout: float) -> None:
    q, k, v = normal(1, 2, 5, 3), normal(1, 1, 7, 3, seed=1), normal(1, 1, 7, 2, seed=2)
    torch.autograd.gradcheck(
        lambda q, k, v: flash_attention(
            q, k, v, causal=True, dropout=dropout, seed=1, block_q=2, block_k=3, scale=0.7
        ),
        [x.requires_grad_() for x in (q, k, v)],
    )


def test_a_model_trains_and_speaks_the_same_with_it() -> None:
    model = Llama(LlamaConfig(50, 32, 2, 4, 2, 8, hidden=48, context_length=128)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(50, (2, 75), generator=torch.Generator().manual_seed(1))

    def logits_and_gradients() -> tuple[Tensor, ...]:
        logits = model(tokens)
        return logits.detach(), *torch.autograd.grad(logits.logsumexp(-1).sum(), list(model.parameters()))

    expected = logits_and_gradients()
    with use_attention(flash_causal_attention):
        assert_same(logits_and_gradients(), expected, 1e-9)


# Memory ------------------------------------------------------------------------------------------------


def test_nothing_is_as_large_as_the_matrix_of_scores() -> None:
    n = 300
    matrix = n * n * 8
    q, k, v = (normal(1, 1, n, 8, seed=seed).requires_grad_() for seed in range(3))
    with TensorMemory() as memory:
        flash_attention(q, k, v, causal=True, dropout=0.2, block_q=50, block_k=50).sum().backward()
    assert memory.largest_bytes == 50 * 50 * 8  # a tile
    assert memory.peak_bytes < matrix * 2 / 3
    with TensorMemory() as memory:
        flash_forward_v1(q.detach(), k.detach(), v.detach(), block_q=16, block_k=16)
    assert memory.largest_bytes == n * 8 * 8  # the output


def test_only_the_output_and_one_number_a_query_are_kept_for_the_backward_pass() -> None:
    q, k, v = (normal(1, 2, 40, 8, seed=seed).requires_grad_() for seed in range(3))
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(tuple(x.shape)) or x, lambda x: x):
        flash_attention(q, k, v, dropout=0.5)
    assert kept == [(1, 2, 40, 8)] * 4 + [(1, 2, 40)]


def test_a_causal_mask_spares_the_tiles_behind_the_diagonal() -> None:
    q, k, v = inputs(16, 16)
    tiles = Tiles.of(q, k, v, causal=True, block_q=4, block_k=2)
    assert [len(list(tiles.columns_seen(rows))) for rows in tiles.row_blocks()] == [2, 4, 6, 8]
    assert [len(list(tiles.rows_that_see(columns))) for columns in tiles.column_blocks()] == [
        4,
        4,
        3,
        3,
        2,
        2,
        1,
        1,
    ]


# Refusals ----------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_with_what_was_given() -> None:
    q, k, v = inputs(5, 7)
    with pytest.raises(ValueError, match=r"k \(2, 3, 7, 8\)"):
        flash_attention(q, k[:, :3], v[:, :3])
    with pytest.raises(ValueError, match="dropout from 0"):
        flash_attention(q, k, v, dropout=1.0)
    with pytest.raises(ValueError, match=r"float64 \(2, 7\).*True where a key may be seen"):
        flash_attention(q, k, v, key_mask=torch.ones(2, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match="blocks must be at least 1"):
        flash_backward(q, k, v, q, q, q, block_q=0)

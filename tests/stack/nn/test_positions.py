"""What each position encoding promises, and the conversion between RoPE's two layouts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn import positions
from teachllm.stack.nn.positions import (
    LearnedPositions,
    alibi_bias,
    alibi_slopes,
    apply_rope,
    apply_rope_complex,
    apply_rope_interleaved,
    half_split_to_interleaved,
    interleaved_to_half_split,
    relative_positions,
    rope_angles,
    rope_cos_sin,
    rope_frequencies,
    shaw_scores,
    sinusoidal_positions,
    t5_relative_bucket,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_sinusoids_follow_the_formula() -> None:
    table = sinusoidal_positions(50, 12)
    for p, i in ((0, 0), (7, 0), (49, 3), (20, 5)):
        angle = p / 10_000 ** (2 * i / 12)
        assert table[p, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[p, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_products_of_sinusoids_depend_on_the_distance_alone() -> None:
    table = sinusoidal_positions(64, 32).double()
    products = table @ table.T
    for distance in (1, 5, 20):
        assert products.diagonal(distance).std() < 1e-4


def test_learned_positions_end_where_their_table_ends() -> None:
    learned = LearnedPositions(8, 4)
    assert learned(3, 5).equal(learned.weight[3:8])
    with pytest.raises(ValueError, match="position 8 was asked for, but only positions 0 to 7"):
        learned(3, 6)


def test_relative_scores_look_up_the_clipped_distance() -> None:
    q, table = normal(2, 3, 4, 6), normal(5, 6, seed=1)  # distances -2 … 2
    scores = shaw_scores(q, relative_positions(4, n_cached=3), table)
    for i in range(4):
        for j in range(7):
            vector = table[min(max(j - (3 + i), -2), 2) + 2]
            torch.testing.assert_close(scores[:, :, i, j], q[:, :, i] @ vector)
    with pytest.raises(ValueError, match="4 vectors"):
        shaw_scores(q, relative_positions(4), table[:4])


def test_t5_buckets_are_exact_nearby_and_coarse_far_away() -> None:
    past = t5_relative_bucket(-torch.arange(500), bidirectional=False)
    assert past[:16].tolist() == list(range(16))
    assert past.diff().min() >= 0
    assert past[128:].eq(31).all()
    assert t5_relative_bucket(torch.arange(1, 50), bidirectional=False).eq(0).all()
    both = t5_relative_bucket(torch.tensor([-3, 0, 3, -1000, 1000]))
    assert both.tolist() == [3, 0, 19, 15, 31]


def test_alibi_slopes_of_the_paper() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-h for h in range(1, 9)]
    assert alibi_slopes(12)[:8].equal(alibi_slopes(8))
    assert alibi_slopes(12)[8:].tolist() == pytest.approx([2.0**-0.5, 2.0**-1.5, 2.0**-2.5, 2.0**-3.5])


def test_alibi_penalizes_distance_in_proportion() -> None:
    bias = alibi_bias(8, n_queries=3, n_cached=2)
    assert bias[0].tolist() == [
        [-1.0, -0.5, 0.0, 0.0, 0.0],
        [-1.5, -1.0, -0.5, 0.0, 0.0],
        [-2.0, -1.5, -1.0, -0.5, 0.0],
    ]
    torch.testing.assert_close(bias[3], bias[0] / 8)


@pytest.mark.parametrize("rotate", [apply_rope, apply_rope_interleaved])
def test_rotation_keeps_lengths_and_shows_only_distances(rotate) -> None:
    q, k = normal(1, 8), normal(1, 8, seed=1)

    def turned(x: Tensor, position: int) -> Tensor:
        return rotate(x.double(), *(part.double() for part in rope_cos_sin(torch.tensor([position]), 8)))

    assert turned(q, 0).equal(q.double())
    torch.testing.assert_close(turned(q, 77).norm(), q.double().norm())
    near = turned(q, 5) @ turned(k, 2).T
    torch.testing.assert_close(turned(q, 1005) @ turned(k, 1002).T, near, atol=1e-4, rtol=0)
    assert (turned(q, 5) @ turned(k, 3).T - near).abs() > 1e-3


def test_rotation_turns_the_pair_that_the_layout_names() -> None:
    cos, sin = rope_cos_sin(torch.tensor([1]), 4)  # angles 1 and 0.01
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(apply_rope(x, cos, sin), torch.tensor([[math.cos(1), 0.0, math.sin(1), 0.0]]))
    torch.testing.assert_close(
        apply_rope_interleaved(x, cos, sin), torch.tensor([[math.cos(1), math.sin(1), 0.0, 0.0]])
    )


def test_complex_numbers_rotate_alike() -> None:
    x, at = normal(2, 3, 5, 8), torch.arange(10, 15)
    torch.testing.assert_close(
        apply_rope_complex(x, rope_angles(at, 8)), apply_rope_interleaved(x, *rope_cos_sin(at, 8))
    )


def test_reordered_weights_with_the_other_rotation_give_the_same_scores() -> None:
    n_heads, dim, d_model = 3, 8, 10
    x, at = normal(6, d_model), torch.arange(6)
    wq, wk = normal(n_heads * dim, d_model, seed=1), normal(n_heads * dim, d_model, seed=2)

    def scores(wq: Tensor, wk: Tensor, rotate) -> Tensor:
        q, k = ((x @ w.T).view(6, n_heads, dim).transpose(0, 1) for w in (wq, wk))
        cos, sin = rope_cos_sin(at, dim)
        return rotate(q, cos, sin) @ rotate(k, cos, sin).transpose(1, 2)

    half_split = scores(wq, wk, apply_rope)
    moved = (half_split_to_interleaved(w, n_heads) for w in (wq, wk))
    torch.testing.assert_close(scores(*moved, apply_rope_interleaved), half_split, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(scores(wq, wk, apply_rope_interleaved), half_split, atol=0.1)
    assert interleaved_to_half_split(half_split_to_interleaved(wq, n_heads), n_heads).equal(wq)
    bias = normal(n_heads * dim)
    as_column = half_split_to_interleaved(bias[:, None], n_heads)
    assert half_split_to_interleaved(bias, n_heads).equal(as_column[:, 0])


def test_the_function_to_read_is_the_function_that_models_use() -> None:
    x, at = normal(2, 3, 5, 8), torch.arange(100, 105)
    torch.testing.assert_close(positions.rope(x, at, 500.0), apply_rope(x, *rope_cos_sin(at, 8, 500.0)))


def test_odd_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="dim is 7"):
        rope_frequencies(7)
    with pytest.raises(ValueError, match="10 rows are not 3 heads"):
        half_split_to_interleaved(normal(10, 2), 3)

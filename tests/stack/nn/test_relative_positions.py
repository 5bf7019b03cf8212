"""Relative positions beside the loops that their papers write down."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn.positions import relative_positions, rope, sinusoidal_positions
from teachllm.stack.nn.relative_positions import (
    deberta_distance,
    deberta_scores,
    relative_shift,
    transformer_xl_scores,
    xpos,
    xpos_decay,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n_queries", [1, 2, 5, 7])
def test_the_shift_puts_every_distance_at_its_key(n_queries: int) -> None:
    n_keys = 7
    by_distance = normal(2, 3, n_queries, n_keys)
    shifted = relative_shift(by_distance)
    for i in range(n_queries):
        for j in range(n_keys):
            distance = (n_keys - n_queries + i) - j
            if distance >= 0:
                assert shifted[:, :, i, j].equal(by_distance[:, :, i, n_keys - 1 - distance])


@pytest.mark.parametrize("n_cached", [0, 4])
def test_transformer_xl_has_all_four_terms(n_cached: int) -> None:
    n_queries, d = 5, 6
    n_keys = n_cached + n_queries
    q, k = normal(2, 3, n_queries, d), normal(2, 3, n_keys, d, seed=1)
    table = sinusoidal_positions(n_keys, d).double()
    r = torch.einsum("nd,hde->hne", table, normal(3, d, d, seed=2))  # r[:, distance]
    u, v = normal(3, d, seed=3), normal(3, d, seed=4)
    scores = transformer_xl_scores(q, k, r.flip(1), u, v)
    for head in range(3):
        for i in range(n_queries):
            for j in range(n_cached + i + 1):
                far = r[head, n_cached + i - j]
                for row in range(2):
                    a, b = q[row, head, i], k[row, head, j]
                    expected = a @ b + a @ far + u[head] @ b + v[head] @ far
                    torch.testing.assert_close(scores[row, head, i, j], expected)


@pytest.mark.parametrize("n_cached", [0, 2])
def test_deberta_has_three_terms(n_cached: int) -> None:
    n_queries, d, span = 7, 4, 3
    q, k = normal(2, 2, n_queries, d), normal(2, 2, n_cached + n_queries, d, seed=1)
    position_q, position_k = normal(2, 2 * span, d, seed=2), normal(2, 2 * span, d, seed=3)
    scores = deberta_scores(q, k, position_q, position_k, relative_positions(n_queries, n_cached))

    def delta(i: int, j: int) -> int:
        """Equation 3 as it is written."""
        if i - j <= -span:
            return 0
        return 2 * span - 1 if i - j >= span else i - j + span

    for head in range(2):
        for query in range(n_queries):
            i = n_cached + query
            for j in range(n_cached + n_queries):
                a, b = q[:, head, query], k[:, head, j]
                expected = (a * b).sum(-1) + a @ position_k[head, delta(i, j)]
                expected = expected + b @ position_q[head, delta(j, i)]
                torch.testing.assert_close(scores[:, head, query, j], expected)


def test_deberta_keeps_the_nearest_distances_apart() -> None:
    rows = deberta_distance(torch.arange(-6, 7), k=3)
    assert rows.tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 5, 5]


def test_xpos_is_rope_times_a_decay_of_each_pair() -> None:
    dim, scale_base = 8, 20.0
    zeta = xpos_decay(dim).double()
    torch.testing.assert_close(zeta, torch.tensor([(2 * i / dim + 0.4) / 1.4 for i in range(4)]).double())
    positions = torch.arange(10, 30)
    for pair in range(dim // 2):
        q, k = torch.zeros(1, 20, dim).double(), torch.zeros(1, 20, dim).double()
        q[..., pair], k[..., pair + dim // 2] = 1.0, 1.0
        turned_q, turned_k = xpos(q, k, positions, scale_base=scale_base)
        scores = (turned_q @ turned_k.transpose(1, 2))[0]
        plain = (rope(q, positions) @ rope(k, positions).transpose(1, 2))[0]
        for m, n in ((0, 0), (7, 2), (19, 0), (5, 5)):
            expected = plain[m, n] * zeta[pair] ** ((m - n) / scale_base)
            torch.testing.assert_close(scores[m, n], expected, atol=1e-6, rtol=1e-5)


def test_xpos_does_not_see_where_a_text_begins() -> None:
    q, k = normal(1, 40, 16), normal(1, 40, 16, seed=1)
    near, far = (xpos(q, k, torch.arange(40) + start) for start in (0, 3000))
    seen = torch.ones(40, 40, dtype=torch.bool).tril()
    difference = (near[0] @ near[1].transpose(1, 2) - far[0] @ far[1].transpose(1, 2))[0][seen]
    assert difference.abs().max() < 2e-2  # angles of 3000 radians, in float32


def test_centring_keeps_xpos_finite_twice_as_far() -> None:
    length, scale_base = 100_000, 1000.0
    assert (xpos_decay(4)[0] ** torch.tensor(-length / scale_base)).isinf()  # what an uncentred key would get
    ones = torch.ones(1, length, 4)
    for part in xpos(ones, ones, torch.arange(length), scale_base=scale_base):
        assert part.isfinite().all()
        assert part.any(-1).all()

"""Random bits from a counter: the published ones, and dropout of the right share."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.nn.philox import dropout_factors, philox

ALL_ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("seed", "counter", "bits"),
    # The first words of the known answers of Random123, with a fourth counter of 0.
    [(0, (0, 0, 0), 0x6627E8D5)],
)
def test_the_published_bits(seed: int, counter: tuple[int, int, int], bits: int) -> None:
    assert philox(seed, *(torch.tensor(c) for c in counter)).item() == bits


def test_every_part_of_seed_and_counter_matters_and_bits_stay_in_range() -> None:
    numbers = torch.tensor(ALL_ONES)
    seen = {
        philox(seed, *(torch.tensor(c) for c in counter)).item()
        for seed, counter in [
            (0, (0, 0, 0)),
            (1, (0, 0, 0)),
            (1 << 32, (0, 0, 0)),
            (0, (1, 0, 0)),
            (0, (0, 1, 0)),
            (0, (0, 0, 1)),
        ]
    }
    assert len(seen) == 6
    assert 0 <= philox((1 << 64) - 1, numbers, numbers, numbers).item() <= ALL_ONES


def test_the_share_that_is_dropped_is_the_probability_and_the_mean_stays() -> None:
    n = 500
    kept = dropout_factors(0.3, 7, torch.tensor(3), torch.arange(n).unsqueeze(-1), torch.arange(n))
    dropped = (kept == 0).float()
    # Within five standard deviations of the share; the draws are always the same, so it holds or it does not.
    assert abs(dropped.mean().item() - 0.3) < 5 * (0.3 * 0.7 / n**2) ** 0.5
    assert kept.max().item() == pytest.approx(1 / 0.7)
    for lines in (dropped.mean(0), dropped.mean(1)):  # no row or column of its own
        assert (lines - 0.3).abs().max().item() < 5 * (0.3 * 0.7 / n) ** 0.5


def test_any_piece_is_the_same_piece() -> None:
    head, whole = torch.tensor(1), torch.arange(40)
    kept = dropout_factors(0.5, 9, head, whole.unsqueeze(-1), whole)
    piece = dropout_factors(0.5, 9, head, torch.arange(10, 17).unsqueeze(-1), torch.arange(3, 30))
    assert torch.equal(piece, kept[10:17, 3:30])


def test_heads_drop_weights_of_their_own() -> None:
    positions = torch.arange(40)
    kept = dropout_factors(0.5, 9, torch.arange(2).view(2, 1, 1), positions.unsqueeze(-1), positions)
    assert 0.4 < (kept[0] == kept[1]).float().mean().item() < 0.6

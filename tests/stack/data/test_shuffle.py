"""The computed permutation: every index once, no two seeds alike, no visible order."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.data.shuffle import mix, shuffled


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 255, 1000])
def test_every_index_comes_once(n: int) -> None:
    for seed in (0, 1, 1 << 70):
        assert sorted(shuffled(i, n, seed) for i in range(n)) == list(range(n))


def test_orders_of_different_seeds_are_independent() -> None:
    n, seeds = 500, 40
    orders = np.array([[shuffled(i, n, seed) for i in range(n)] for seed in range(seeds)])
    correlations = np.corrcoef(np.vstack([np.arange(n), orders]))
    off_diagonal = correlations[np.triu_indices(seeds + 1, 1)]
    assert abs(off_diagonal.mean()) < 0.01
    assert 0.8 < off_diagonal.std() * n**0.5 < 1.2  # as of independent orders: 1/√n


def test_each_index_goes_everywhere_equally_often() -> None:
    n, seeds = 6, 3000
    counts = np.zeros((n, n))
    for seed in range(seeds):
        for i in range(n):
            counts[i, shuffled(i, n, seed)] += 1
    expected = seeds / n
    assert ((counts - expected) ** 2 / expected).sum() < 60  # χ² with 25 degrees of freedom: mean 25, sd 7


def test_outside_is_an_error() -> None:
    for index in (-1, 10):
        with pytest.raises(IndexError, match=f"index {index} of a permutation of 10"):
            shuffled(index, 10, 0)


def test_mix_spreads_neighbours() -> None:
    bits = np.array([[mix(x) >> bit & 1 for bit in range(64)] for x in range(1000)])
    assert (abs(bits.mean(axis=0) - 0.5) < 0.07).all()
    flips = (bits[1:] != bits[:-1]).mean(axis=0)
    assert (abs(flips - 0.5) < 0.07).all()

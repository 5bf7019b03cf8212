"""Sampling: each filter by its definition, the draw by its frequencies, the options by their limits."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.inference import (
    Sampling,
    choose_token,
    min_p,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
    typical_p,
)
from teachllm.stack.inference.sampling import distribution, draw

NOTHING = torch.tensor([], dtype=torch.long)


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).log()


def kept(logits: torch.Tensor) -> list[int]:
    return logits.isfinite().nonzero().flatten().tolist()


def test_temperature_sharpens_and_flattens() -> None:
    logits = logits_of(0.5, 0.3, 0.2)
    assert torch.allclose(temperature(logits, 0.5).softmax(-1), torch.tensor([0.25, 0.09, 0.04]) / 0.38)
    assert temperature(logits, 2.0).softmax(-1)[0] < 0.5


def test_top_k_keeps_k() -> None:
    logits = logits_of(0.1, 0.4, 0.2, 0.3)
    assert kept(top_k(logits, 2)) == [1, 3]
    assert kept(top_k(logits, 99)) == [0, 1, 2, 3]
    assert kept(top_k(logits_of(0.25, 0.25, 0.4, 0.1), 2)) == [0, 1, 2]  # the tie stays


@pytest.mark.parametrize(
    ("p", "tokens"),
    [(0.01, [1]), (0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.71, [1, 2, 3]), (1.0, [0, 1, 2, 3])],
)
def test_top_p_keeps_the_fewest_that_reach_p(p: float, tokens: list[int]) -> None:
    logits = logits_of(0.1, 0.4, 0.2, 0.3)
    assert kept(top_p(logits, p)) == tokens
    assert torch.equal(top_p(logits, p)[tokens], logits[tokens])


def test_top_p_of_a_flat_distribution_keeps_that_share() -> None:
    assert len(kept(top_p(torch.zeros(1000), 0.5))) == pytest.approx(500, abs=1)


def test_min_p_is_relative_to_the_most_probable() -> None:
    logits = logits_of(0.5, 0.3, 0.15, 0.05)
    assert kept(min_p(logits, 0.2)) == [0, 1, 2]
    assert kept(min_p(logits, 1.0)) == [0]
    assert kept(min_p(logits, 0.0)) == [0, 1, 2, 3]


def test_typical_keeps_what_is_neither_too_sure_nor_too_rare() -> None:
    # The entropy is 1.11 nats. Surprises: 0.51, 1.61, 2.30, 2.30; distances from it: 0.60, 0.50, 1.19, 1.19.
    logits = logits_of(0.6, 0.2, 0.1, 0.1)
    assert kept(typical_p(logits, 0.1)) == [1]  # not the most probable one
    assert kept(typical_p(logits, 0.19)) == [1]
    assert kept(typical_p(logits, 0.21)) == [0, 1]
    assert kept(typical_p(logits, 0.79)) == [0, 1]
    assert len(kept(typical_p(logits, 0.85))) == 3
    assert torch.equal(typical_p(logits, 1.0), logits)
    assert torch.equal(typical_p(logits, 0.5)[:2], logits[:2])
    after_a_filter = top_k(logits_of(0.5, 0.25, 0.15, 0.1), 2)
    assert kept(typical_p(after_a_filter, 0.99)) == [0, 1]  # what was removed stays removed, without NaN


def test_repetition_penalty_makes_seen_tokens_less_likely_whatever_their_sign() -> None:
    logits = torch.tensor([2.0, -2.0, 2.0, -2.0])
    seen = torch.tensor([0, 1, 1])
    assert repetition_penalty(logits, seen, 2.0).tolist() == [1.0, -4.0, 2.0, -2.0]
    assert torch.equal(repetition_penalty(logits, NOTHING, 2.0), logits)


def test_filters_work_on_batches_and_leave_their_input() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    before = logits.clone()
    filters = (top_k(logits, 5), top_p(logits, 0.6), min_p(logits, 0.1), typical_p(logits, 0.6))
    for filtered in (*filters, temperature(logits, 0.3)):
        assert filtered.shape == logits.shape
    for row in range(3):
        assert torch.equal(top_p(logits, 0.6)[row], top_p(logits[row], 0.6))
        assert torch.equal(min_p(logits, 0.1)[row], min_p(logits[row], 0.1))
        assert torch.equal(typical_p(logits, 0.6)[row], typical_p(logits[row], 0.6))
    assert torch.equal(logits, before)


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    generator = torch.Generator().manual_seed(0)
    drawn = [draw(probabilities, generator) for _ in range(4000)]
    frequencies = torch.bincount(torch.tensor(drawn), minlength=6) / 4000
    assert frequencies[probabilities == 0].sum() == 0
    assert torch.allclose(frequencies, probabilities, atol=0.03)  # 4 standard deviations


def test_greedy_takes_the_most_probable_and_needs_no_chance() -> None:
    logits = torch.randn(100, generator=torch.Generator().manual_seed(2)).bfloat16()
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert choose_token(logits, NOTHING, Sampling(0.0, top_p=0.5), generator) == int(logits.float().argmax())
    assert torch.equal(generator.get_state(), state)


def test_filters_act_in_the_given_order() -> None:
    logits = torch.tensor([3.0, 2.9, 0.0, -1.0])
    sampling = Sampling(temperature=1.0, top_k=1, repetition_penalty=2.0)
    token = choose_token(logits, torch.tensor([0]), sampling, torch.Generator().manual_seed(0))
    assert token == 1  # the penalty comes before top-k
    cold = Sampling(temperature=0.01, top_p=0.9)
    drawn = {choose_token(logits, NOTHING, cold, torch.Generator().manual_seed(seed)) for seed in range(50)}
    assert drawn == {0}  # so does the temperature before top-p
    typical = Sampling(temperature=1.0, top_k=3, typical_p=0.1)
    wide = torch.tensor([0.6, 0.2, 0.1, 0.1]).log()
    drawn = {choose_token(wide, NOTHING, typical, torch.Generator().manual_seed(seed)) for seed in range(50)}
    assert drawn == {1}


def test_a_seed_decides_and_no_seed_varies() -> None:
    logits = torch.zeros(1_000)

    def drawn(sampling: Sampling) -> list[int]:
        generator = sampling.generator()
        return [choose_token(logits, NOTHING, sampling, generator) for _ in range(5)]

    assert drawn(Sampling(1.0, seed=4)) == drawn(Sampling(1.0, seed=4)) != drawn(Sampling(1.0, seed=5))
    assert drawn(Sampling(1.0)) != drawn(Sampling(1.0))


def test_everything_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="temperature is -1") as refused:
        Sampling(temperature=-1, top_k=0, top_p=0, min_p=2, typical_p=0, repetition_penalty=0)
    for name in ("top_k is 0", "top_p is 0", "min_p is 2", "typical_p is 0", "repetition_penalty is 0"):
        assert name in str(refused.value)
    with pytest.raises(ValueError, match="temperature is nan"):
        Sampling(temperature=float("nan"))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, top_k=6, top_p=0.8, repetition_penalty=1.3)])
def test_the_distribution_is_what_tokens_are_drawn_from(sampling: Sampling) -> None:
    logits, seen = torch.randn(12, generator=torch.Generator().manual_seed(4)), torch.tensor([3, 3, 5])
    probabilities = distribution(logits, seen, sampling)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([choose_token(logits, seen, sampling, generator) for _ in range(4000)])
    shares = drawn.bincount(minlength=12) / 4000
    assert set(drawn.tolist()) == set(probabilities.nonzero()[:, 0].tolist())
    torch.testing.assert_close(shares, probabilities, atol=0.03, rtol=0)

"""The rule of acceptance: its distribution is the target's, and rules that are nearly it are caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from teachllm.stack.inference.sampling import draw, token_at
from teachllm.stack.inference.speculation import (
    Verdict,
    acceptance_rate,
    best_k,
    expected_tokens,
    residual,
    speed_up,
    verify,
    verify_greedy,
)
from teachllm.stack.inference.speculation.acceptance import point_masses

Rule = Callable[[Tensor, Tensor, Sequence[int], Tensor], Verdict]
PValue = Callable[[Tensor, Tensor], float]

# The target and the draft of the statistical tests: first-order Markov chains over four tokens.
TARGET = torch.tensor(
    [[0.50, 0.30, 0.15, 0.05], [0.05, 0.05, 0.40, 0.50], [0.25, 0.25, 0.25, 0.25], [0.70, 0.00, 0.10, 0.20]]
)
DRAFT = torch.tensor(
    [[0.25, 0.25, 0.25, 0.25], [0.10, 0.60, 0.10, 0.20], [0.40, 0.30, 0.20, 0.10], [0.50, 0.20, 0.20, 0.10]]
)
ALARM = 1e-6  # a right rule fails a test with another seed once in a million times


def p_value_of_pairs(rule: Rule, draft: Tensor, p_value: PValue, n: int, seed: int = 0) -> float:
    """χ² of `n` pairs of tokens behind token 0, written by `rule` with two drafted tokens a pass."""
    generator = torch.Generator().manual_seed(seed)
    firsts = torch.multinomial(draft[0], n, replacement=True, generator=generator)
    seconds = torch.multinomial(draft[firsts], 1, generator=generator)[:, 0]
    targets = [TARGET[[0, first, second]] for first in range(4) for second in range(4)]
    drafts = [draft[[0, first]] for first in range(4)]
    counts = torch.zeros(4, 4)
    uniform = torch.rand(n, 4, dtype=torch.float64, generator=generator)
    for first, second, chance in zip(firsts.tolist(), seconds.tolist(), uniform, strict=True):
        n_accepted, token = rule(targets[4 * first + second], drafts[first], [first, second], chance[:3])
        if n_accepted == 0:  # one token is written, the next pass begins behind it
            pair = token, rule(TARGET[token : token + 1], draft[:0], [], chance[3:]).token
        else:
            pair = first, token if n_accepted == 1 else second
        counts[pair] += 1
    expected = n * TARGET[0][:, None] * TARGET
    return p_value(counts.flatten(), expected.flatten())


def test_what_is_written_has_the_distribution_of_the_target(p_value: PValue) -> None:
    """50,000 tokens, in pairs."""
    assert p_value_of_pairs(verify, DRAFT, p_value, 25_000) > ALARM
    certain = point_masses(torch.tensor([1, 3, 0, 2]), 4)  # a draft without chance
    assert p_value_of_pairs(verify, certain, p_value, 2_000) > ALARM


def wrong(resample: Callable[[Tensor, Tensor], Tensor], accept: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    def rule(target: Tensor, draft: Tensor, drafted: Sequence[int], uniform: Tensor) -> Verdict:
        for place, token in enumerate(drafted):
            p, q = target[place], draft[place]
            if uniform[place] >= accept(p, q)[token]:
                return Verdict(place, token_at(resample(p, q), uniform[-1]))
        return Verdict(len(drafted), token_at(target[-1], uniform[-1]))

    return rule


@pytest.mark.parametrize(
    ("resample", "accept"),
    [
        (lambda p, q: p, lambda p, q: p / q),  # from the target instead of the residual
        (lambda p, q: q, lambda p, q: p / q),
        (residual, lambda p, q: q / p),
        (residual, lambda p, q: p),
    ],
)
def test_rules_that_are_nearly_right_are_caught(
    resample: Callable[[Tensor, Tensor], Tensor], accept: Callable[[Tensor, Tensor], Tensor], p_value: PValue
) -> None:
    assert p_value_of_pairs(wrong(resample, accept), DRAFT, p_value, 2_000) < ALARM


def test_the_rule_as_the_paper_writes_it_is_not_caught(p_value: PValue) -> None:
    by_the_paper = wrong(residual, lambda p, q: p / q)  # here with nothing wrong
    assert p_value_of_pairs(by_the_paper, DRAFT, p_value, 2_000) > ALARM


def chance(n: int, seed: int) -> Tensor:
    return torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_equal_distributions_accept_all_and_disjoint_ones_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.rand(6, 30, generator=generator).softmax(-1)
    for seed in range(50):
        drafted = [draw(row, generator) for row in rows[:5]]
        assert verify(rows, rows[:5], drafted, chance(6, seed)).n_accepted == 5
    left, right = point_masses(torch.tensor([0, 0]), 4), point_masses(torch.tensor([3]), 4)
    assert verify(left, right, [3], chance(2, 0)) == Verdict(0, 0)
    assert verify(left, right, [3], torch.zeros(2)) == Verdict(0, 0)  # p = 0, although the number is 0 too


def test_the_bonus_token_comes_from_the_last_row() -> None:
    rows = point_masses(torch.tensor([2, 1, 3]), 4)
    assert verify(rows, rows[:2], [2, 1], chance(3, 0)) == Verdict(2, 3)
    assert verify(rows[2:], rows[:0], [], chance(1, 0)) == Verdict(0, 3)


@pytest.mark.parametrize(
    ("uniform", "verdict"),
    [
        ((0.74, 0.39, 0.9), (2, 1)),  # p/q are 0.3/0.4 = 0.75 and 0.2/0.5 = 0.4
        ((0.76, 0.39, 0.9), (0, 0)),  # max(0, p - q) is (0.1, 0, 0)
        ((0.74, 0.41, 0.1), (1, 2)),  # (0, 0, 0.4)
    ],
)
def test_the_numbers_decide(uniform: tuple[float, ...], verdict: tuple[int, int]) -> None:
    target = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.0, 1.0, 0.0]])
    draft = torch.tensor([[0.4, 0.4, 0.2], [0.5, 0.3, 0.2]])
    assert verify(target, draft, [1, 0], torch.tensor(uniform)) == verdict


def test_greedy_is_the_same_rule_with_point_masses() -> None:
    generator = torch.Generator().manual_seed(2)
    for seed in range(200):
        best = torch.randint(3, (5,), generator=generator)
        drafted = torch.randint(3, (4,), generator=generator)
        by_rule = verify(point_masses(best, 3), point_masses(drafted, 3), drafted.tolist(), chance(5, seed))
        assert verify_greedy(best.tolist(), drafted.tolist()) == by_rule


def test_rows_that_do_not_fit_and_impossible_drafts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 tokens .* \(3, 4\) and the draft's \(1, 4\).* 3 and 2"):
        verify(TARGET[:3], DRAFT[:1], [0, 1], chance(3, 0))
    with pytest.raises(ValueError, match="of one vocabulary"):
        verify(TARGET[:2], DRAFT[:1, :3], [1], chance(2, 0))
    with pytest.raises(ValueError, match=r"its own tokens \[1\] q = \[0.0\]"):
        verify(TARGET[:2], point_masses(torch.tensor([0]), 4), [1], chance(2, 0))


def test_the_residual_is_what_the_accepted_part_does_not_give() -> None:
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.5, 0.3])
    torch.testing.assert_close(residual(p, q), torch.tensor([1.0, 0.0, 0.0]))
    accepted = torch.minimum(p, q)
    torch.testing.assert_close(accepted + (1 - accepted.sum()) * residual(p, q), p)
    assert residual(p, p).equal(p)


def test_the_acceptance_rate_is_one_minus_the_total_variation_and_what_happens() -> None:
    rates = acceptance_rate(TARGET, DRAFT)
    torch.testing.assert_close(rates, 1 - (TARGET - DRAFT).abs().sum(-1) / 2)
    generator = torch.Generator().manual_seed(6)
    hits = 0
    tokens = torch.multinomial(DRAFT[1], 2_000, replacement=True, generator=generator).tolist()
    for token, uniform in zip(tokens, torch.rand(2_000, 2, generator=generator), strict=True):
        hits += verify(TARGET[[1, token]], DRAFT[[1]], [token], uniform).n_accepted
    assert abs(hits / 2_000 - rates[1]) < 0.05  # 4.6 standard deviations


def test_expected_tokens_are_those_of_independent_trials() -> None:
    assert expected_tokens(0.8, 4) == pytest.approx((1 - 0.8**5) / 0.2)
    assert (expected_tokens(0, 7), expected_tokens(1, 7), expected_tokens(0.5, 0)) == (1, 8, 1)
    generator = torch.Generator().manual_seed(8)
    accepted = torch.rand(100_000, 4, generator=generator) < 0.8
    mean = 1 + accepted.long().cumprod(-1).sum(-1).double().mean()
    assert abs(mean - expected_tokens(0.8, 4)) < 0.03


def test_the_speed_up_follows_the_paper_and_best_k_is_its_maximum() -> None:
    assert speed_up(0.8, 4, 0.05) == pytest.approx((1 - 0.8**5) / (0.2 * (4 * 0.05 + 1)))
    assert speed_up(0.8, 4, 0.0, verify_cost=3.0) == pytest.approx(expected_tokens(0.8, 4) / 3)
    for alpha, cost in ((0.9, 0.05), (0.6, 0.2), (0.3, 0.01)):
        k = best_k(alpha, cost)
        assert 0 < k < 16
        assert speed_up(alpha, k, cost) >= max(speed_up(alpha, k - 1, cost), speed_up(alpha, k + 1, cost))
    assert best_k(0.4, 0.9) == 0  # a draft that takes longer than it saves
    for wrong_options in ((1.2, 3, 0.1), (0.5, -1, 0.1), (0.5, 3, -0.1)):
        with pytest.raises(ValueError, match="must be"):
            speed_up(*wrong_options)

"""Checks of exercise 8.9. They run in the order in which they stand; the first that fails is the diagnosis."""

import pytest
import torch

from teachllm.school.checks import LearnerError, diagnosis

# Ratios p/q of the drafted tokens 1 and 0: 0.3/0.4 = 0.75 and 0.2/0.5 = 0.4.
TARGET = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.7, 0.2]])
DRAFT = torch.tensor([[0.4, 0.4, 0.2], [0.5, 0.3, 0.2]])


def chance(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def verdict(implementation, target, draft, drafted, uniform):
    got = implementation(target, draft, drafted, uniform)
    assert isinstance(got, (tuple, list))
    assert len(got) == 2
    return int(got[0]), int(got[1])


@diagnosis(
    zh="没有猜（k = 0）的时候也要能用：留下 0 个，后面的 token 用 token_at(target[-1], uniform[-1]) 抽。返回值是一对整数 (留下几个, 后面的 token)。",
    en="It must work without a guess (k = 0): 0 stay, and the token is token_at(target[-1], uniform[-1]). Return a pair of integers, how many stay and the token behind.",
)
def test_without_a_draft_the_target_writes(implementation):
    for number, token in ((0.05, 0), (0.45, 1), (0.95, 2)):
        assert verdict(implementation, TARGET[2:], DRAFT[:0], [], chance(number)) == (0, token)


@diagnosis(
    zh="目标给的概率不比草稿小（p ≥ q）的 token，无论随机数是多少都要留下。",
    en="A token to which the target gives at least as much as the draft (p ≥ q) stays whatever the random number is.",
)
def test_what_the_target_likes_better_stays(implementation):
    for number in (0.0, 0.5, 0.999):
        n_accepted, _ = verdict(implementation, TARGET[:2], DRAFT[:1], [0], chance(number, 0.5))
        assert n_accepted == 1
        n_accepted, _ = verdict(implementation, TARGET[:2], TARGET[:1], [2], chance(number, 0.5))
        assert n_accepted == 1


@diagnosis(
    zh="留下的概率不对。应该是 uniform[i] < p/q 时留下，p 是目标给这个 token 的概率，q 是草稿给的：0.3 和 0.4，0.74 留，0.76 不留。不是 q/p，也不是光看 p。",
    en="The probability of staying is wrong. A token stays if uniform[i] < p/q, with p what the target gives it and q what the draft gives it: for 0.3 and 0.4, 0.74 stays "
    "and 0.76 does not. It is neither q/p nor p alone.",
)
def test_a_token_stays_with_probability_p_over_q(implementation):
    for number, stays in ((0.02, 1), (0.45, 1), (0.74, 1), (0.76, 0), (0.9, 0)):
        n_accepted, _ = verdict(implementation, TARGET[:2], DRAFT[:1], [1], chance(number, 0.5))
        assert n_accepted == stays


@diagnosis(
    zh="目标给 0 概率的 token 也被留下了。p = 0 时，哪怕随机数正好是 0 也不能留：要用 <，不是 ≤。",
    en="A token to which the target gives 0 was kept. With p = 0 it must go even if the random number is exactly 0: compare with <, not ≤.",
)
def test_what_the_target_never_writes_never_stays(implementation):
    target = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    draft = torch.tensor([[0.5, 0.5]])
    assert verdict(implementation, target, draft, [1], chance(0.0, 0.1)) == (0, 0)


@diagnosis(
    zh="前面的被拒绝了，后面的就不能再算：它们接在一个错误的 token 后面。要数的是从左边起连续留下几个，不是一共通过几个。",
    en="Once a token is rejected, those behind it do not count: they follow a wrong token. Count how many stay in a row from the left, not how many pass.",
)
def test_nothing_stays_behind_a_rejected_token(implementation):
    assert verdict(implementation, TARGET, DRAFT, [1, 0], chance(0.9, 0.1, 0.5))[0] == 0
    assert verdict(implementation, TARGET, DRAFT, [1, 0], chance(0.1, 0.9, 0.5))[0] == 1
    assert verdict(implementation, TARGET, DRAFT, [1, 0], chance(0.1, 0.1, 0.5))[0] == 2


@diagnosis(
    zh="拒绝以后不是从残差里抽的。这里 p = (0.5, 0.3, 0.2)、q = (0.4, 0.4, 0.2)，残差只剩第 0 个 token。从 p 或 q 整行里重抽，写出来的分布就不是目标的了。",
    en="After a rejection the token was not drawn from the residual. Here p = (0.5, 0.3, 0.2) and q = (0.4, 0.4, 0.2), and the residual is token 0 alone. Drawing from the whole of p or q changes "
    "the distribution.",
)
def test_a_rejected_token_is_replaced_from_the_residual(implementation):
    for number in (0.1, 0.6, 0.95):
        assert verdict(implementation, TARGET[:2], DRAFT[:1], [1], chance(0.9, number)) == (0, 0)


@diagnosis(
    zh="残差用错了行。在哪个位置被拒绝，就用哪个位置的 p 和 q：第一个留下、第二个被拒绝，要用第二行。",
    en="The residual is of the wrong row. Use p and q at the place of the rejection: if the first stays and the second is rejected, that is the second row.",
)
def test_the_residual_is_that_of_the_rejected_place(implementation):
    for number in (0.1, 0.6, 0.95):
        assert verdict(implementation, TARGET, DRAFT, [1, 0], chance(0.5, 0.9, number)) == (1, 2)


@diagnosis(
    zh="全部留下时，还有一个 token 是白送的：从目标的最后一行抽，不用减草稿，因为那个位置没有草稿。抽签用 uniform[-1]。",
    en="If all stay, one more token comes for free: draw it from the target's last row, with nothing subtracted, since there is no draft at that place. Draw with uniform[-1].",
)
def test_the_bonus_token_comes_from_the_last_row(implementation):
    for number, token in ((0.05, 0), (0.45, 1), (0.95, 2)):
        assert verdict(implementation, TARGET, DRAFT, [1, 0], chance(0.5, 0.1, number)) == (2, token)


@diagnosis(
    zh="草稿没有随机性（例如 n-gram，q 是 1）的时候不对：token 以概率 p 留下；被拒绝，就从去掉它的 p 里抽，绝不能又抽到它。",
    en="It is wrong for a draft without chance (n-grams, q = 1): the token stays with probability p; if it is rejected, draw from p without it, and never get it again.",
)
def test_a_draft_without_chance(implementation):
    certain = torch.tensor([[0.0, 1.0, 0.0]])
    assert verdict(implementation, TARGET[:2], certain, [1], chance(0.29, 0.1)) == (1, 0)
    for number in (0.0, 0.3, 0.5, 0.7, 0.72, 0.99):
        n_accepted, token = verdict(implementation, TARGET[:2], certain, [1], chance(0.31, number))
        assert n_accepted == 0
        assert token == (0 if number < 0.5 / 0.7 else 2)


@diagnosis(
    zh="写出来的第一个 token 不是目标的分布。两个随机数各管各的：uniform[0] 决定留不留，uniform[-1] 抽后面的 token。",
    en="The first token written does not have the target's distribution. Each random number has its own task: uniform[0] decides whether the guess stays, uniform[-1] draws the token behind.",
)
def test_the_distribution_is_that_of_the_target(implementation):
    grid = [(i + 0.5) / 12 for i in range(12)]
    p, q = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.6, 0.1, 0.3])
    shares = torch.zeros(3)
    for drafted in range(3):
        for first in grid:
            for second in grid:
                rows = torch.stack([p, torch.tensor([0.0, 0.0, 1.0])])
                n_accepted, token = verdict(implementation, rows, q[None], [drafted], chance(first, second))
                shares[drafted if n_accepted else token] += q[drafted] / 144
    torch.testing.assert_close(shares, p, atol=0.03, rtol=0)


@diagnosis(
    zh="草稿给自己猜的 token 概率 0，这不可能：说明传错了。要抛出 ValueError，不能悄悄算下去。",
    en="The draft gives its own guess probability 0, which cannot be: the caller is wrong. Raise ValueError instead of going on in silence.",
)
def test_an_impossible_draft_is_refused(implementation):
    with pytest.raises(LearnerError) as raised:
        implementation(TARGET[:2], torch.tensor([[0.5, 0.0, 0.5]]), [1], chance(0.5, 0.5))
    assert raised.value.kind == "ValueError"


@diagnosis(
    zh="传进来的张量被你改动了。引擎还要用这些概率。",
    en="You changed the tensors that were passed in. The engine still needs these probabilities.",
)
def test_the_arguments_stay_as_they_were(implementation):
    implementation(TARGET, DRAFT, [1, 0], chance(0.5, 0.9, 0.5))
    assert implementation.mutated == []

"""Checks of exercise 1.8. They run in the order in which they stand; the first that fails is the diagnosis."""

import math

import pytest

from teachllm.school.checks import LearnerError, diagnosis

# Two laws whose constants have little in common, so that a mixed-up letter shows.
LAWS = ((406.4, 410.7, 0.34, 0.28), (3.0, 90.0, 0.5, 0.2), (500.0, 2.0, 0.15, 0.45))


def close(one: float, other: float, rel: float = 1e-6) -> bool:
    return math.isclose(one, other, rel_tol=rel)


def loss(n: float, flops: float, law: tuple[float, float, float, float]) -> float:
    A, B, alpha, beta = law
    return A / n**alpha + B / (flops / (6 * n)) ** beta


@diagnosis(
    zh="要返回两个大于 0 的数：参数量 N 和 token 数 D。",
    en="Return two numbers above 0: the parameters N and the tokens D.",
)
def test_two_numbers_come_back(implementation):
    n, d = implementation(1e21, 406.4, 410.7, 0.34, 0.28)
    assert n > 0
    assert d > 0


@diagnosis(
    zh="6·N·D 不等于 flops，而是差了常数倍。训练里每个参数对每个 token 要 6 次运算：前向 2 次，反向 4 次。",
    en="6·N·D is not flops but off by a factor. Training does 6 operations for each parameter and token: 2 forward, 4 backward.",
)
def test_the_budget_is_spent(implementation):
    for flops in (1e18, 1e24):
        n, d = implementation(flops, 406.4, 410.7, 0.34, 0.28)
        assert close(6 * n * d, flops)


@diagnosis(
    zh="完全对称的情形（A = B，α = β）下，N 和 D 应当一样大，都是 √(flops/6)。",
    en="In the symmetric case (A = B, α = β) N and D must be equal: √(flops/6) both.",
)
def test_the_symmetric_case(implementation):
    n, d = implementation(6e20, 100.0, 100.0, 0.3, 0.3)
    assert close(n, 1e10)
    assert close(d, 1e10)


@diagnosis(
    zh="指数换位了。N 随算力的 β/(α+β) 次方增长，不是 α/(α+β)：α 越大，说明参数那一项掉得越快，反而不用加那么多参数。",
    en="The exponents are swapped. N grows as compute to the power β/(α+β), not α/(α+β): a larger α means that the parameters' term falls faster, so that fewer are needed.",
)
def test_parameters_grow_with_the_exponent_of_the_tokens(implementation):
    for A, B, alpha, beta in LAWS:
        (n, _), (n_more, _) = (implementation(flops, A, B, alpha, beta) for flops in (1e20, 1e22))
        assert close(math.log(n_more / n) / math.log(100), beta / (alpha + beta))


@diagnosis(
    zh="A 变大（参数不够的代价变大）时，N 应当变大；B 变大时，N 应当变小。比值可能写倒了。",
    en="When A grows (too few parameters cost more), N must grow; when B grows, N must shrink. The ratio may be upside down.",
)
def test_a_dearer_term_gets_more(implementation):
    n, _ = implementation(1e21, 100.0, 100.0, 0.3, 0.4)
    more_a, _ = implementation(1e21, 200.0, 100.0, 0.3, 0.4)
    more_b, _ = implementation(1e21, 100.0, 200.0, 0.3, 0.4)
    assert more_b < n < more_a


@diagnosis(
    zh="形状对了，前面的系数 G 不对：这个 N 往旁边挪一点，损失还会更低。G = (αA / (βB)) 的 1/(α+β) 次方；求导时落下来的 α 和 β 不能丢。",
    en="The shape is right, the factor G is not: a little to one side the loss is lower still. G is (αA / (βB)) to the power 1/(α+β); the α and β that the derivative brings down must stay.",
)
def test_no_neighbour_is_better(implementation):
    for law in LAWS:
        for flops in (1e15, 1e21, 1e27):
            n, _ = implementation(flops, *law)
            here = loss(n, flops, law)
            assert here <= loss(n * 1.01, flops, law)
            assert here <= loss(n / 1.01, flops, law)


@diagnosis(
    zh="和稠密的网格搜索比，还差一点点。应当用闭式解，误差只在浮点数的末位。",
    en="Against a dense search it is still off a little. Use the closed form; the error is then in the last digits only.",
)
def test_it_is_the_stationary_point(implementation):
    for A, B, alpha, beta in LAWS:
        n, d = implementation(3e22, A, B, alpha, beta)
        assert close(alpha * A / n**alpha, beta * B / d**beta, rel=1e-9)


@diagnosis(
    zh="算力或常数不大于 0 时，没有最优可言，应当抛出 ValueError，不要返回 0 或 NaN。",
    en="With a budget or a constant that is not above 0 there is no optimum: raise ValueError, and return neither 0 nor NaN.",
)
def test_what_is_not_above_zero_is_refused(implementation):
    for wrong in range(5):
        arguments = [1e21, 400.0, 400.0, 0.3, 0.3]
        arguments[wrong] = 0.0
        with pytest.raises(LearnerError) as raised:
            implementation(*arguments)
        assert raised.value.kind == "ValueError"

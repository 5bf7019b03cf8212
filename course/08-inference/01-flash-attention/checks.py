"""Checks of exercise 8.1. They run in the order in which they stand; the first that fails is the diagnosis."""

import math

import torch

from teachllm.school.checks import diagnosis


def normal(*shape, seed, spread=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread


def state(scores, values):
    """(m, total, acc) of one block, by the definition."""
    m = scores.amax(-1)
    weights = torch.exp(scores - torch.where(m == -math.inf, 0.0, m).unsqueeze(-1))
    return m, weights.sum(-1), weights @ values


def empty(*queries, d_v):
    return (
        torch.full(queries, -math.inf, dtype=torch.float64),
        torch.zeros(queries, dtype=torch.float64),
        torch.zeros(*queries, d_v, dtype=torch.float64),
    )


def blocks(sizes, seed=0, spread=2.0, queries=4, d_v=3):
    """Blocks of keys for 2 × `queries` queries, and the state of all of them together."""
    scores, values = (
        normal(2, queries, sum(sizes), seed=seed, spread=spread),
        normal(2, sum(sizes), d_v, seed=seed + 1),
    )
    parts = zip(scores.split(sizes, -1), values.split(sizes, -2), strict=True)
    return [state(s, v) for s, v in parts], state(scores, values)


def close(got, expected):
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)


def single(m, total, acc):
    """One query and values of one number."""
    return (
        torch.tensor([float(m)], dtype=torch.float64),
        torch.tensor([float(total)], dtype=torch.float64),
        torch.tensor([[float(acc)]], dtype=torch.float64),
    )


@diagnosis(
    zh="要返回三样东西 (m, total, acc)，形状和传进来的一样：m 和 total 每个 query 一个数，acc 每个 query 一个向量。",
    en="Return three things, (m, total, acc), with the shapes of what was given: m and total have one number for each query, acc one vector.",
)
def test_the_result_is_a_state_again(implementation):
    (a, b), _ = blocks([3, 5])
    got = implementation(a, b)
    assert len(got) == 3
    assert [tuple(x.shape) for x in got] == [(2, 4), (2, 4), (2, 4, 3)]


@diagnosis(
    zh="新的最大值不对。每个 query 各取两边里大的那个：逐元素的 torch.maximum，不是把所有 query 放在一起取一个最大值。",
    en="The new maximum is wrong. Each query takes the larger of its two: torch.maximum element by element, not one maximum over all queries.",
)
def test_each_query_has_its_own_maximum(implementation):
    (a, b), whole = blocks([3, 5])
    close(implementation(a, b)[0], whole[0])


@diagnosis(
    zh="最大值变了，旧的和没有跟着换算。a 的每一项是 e^(s − m_a)，要变成 e^(s − m)，就得乘 e^(m_a − m)；b 同理。直接相加，加的是相对于不同基准的数。",
    en="The maximum has changed and the sums were not converted. Each term of a is e^(s − m_a); to become e^(s − m) it is multiplied by e^(m_a − m), and likewise for b. Adding them as they are adds numbers with different reference points.",
)
def test_the_denominator_is_relative_to_the_new_maximum(implementation):
    # One key with a score of 0 and one with a score of 2: e^-2 + 1.
    close(
        implementation(single(0, 1, 0), single(2, 1, 0))[1],
        torch.tensor([math.exp(-2) + 1], dtype=torch.float64),
    )


@diagnosis(
    zh="只有最大值在 b 那一边时才对。最大值也可能在 a 那一边，那时要缩小的是 b。两边各乘各的 e^(m_边 − m)，其中一个自然是 1。",
    en="It is right only when b has the maximum. It may stand in a as well, and then b is what shrinks. Multiply each side by its own e^(m_side − m); one of the two factors is 1 by itself.",
)
def test_the_maximum_may_stand_on_either_side(implementation):
    expected = torch.tensor([math.exp(-2) + 1], dtype=torch.float64)
    close(implementation(single(2, 1, 0), single(0, 1, 0))[1], expected)


@diagnosis(
    zh="分母对了，分子 acc 不对。它和分母相对于同一个最大值，要乘同样的数，而且不要在这里除以分母：除法留到最后做一次。",
    en="The denominator is right, the numerator acc is not. It is relative to the same maximum, so it takes the same factors. Do not divide by the denominator here: that is done once, at the end.",
)
def test_the_numerator_is_rescaled_like_the_denominator(implementation):
    (a, b), whole = blocks([3, 5])
    close(implementation(a, b)[2], whole[2])


@diagnosis(
    zh="query 的个数恰好等于 d_v 时，结果错了：乘数的形状是 (…, query)，acc 是 (…, query, d_v)，不补一维就会沿着错的方向广播。用 unsqueeze(-1)。",
    en="It is wrong when there are as many queries as d_v: the factor is (…, query) and acc is (…, query, d_v), and without one more dimension it broadcasts the wrong way. Use unsqueeze(-1).",
)
def test_as_many_queries_as_dimensions(implementation):
    (a, b), whole = blocks([3, 5], queries=4, d_v=4)
    close(implementation(a, b)[2], whole[2])


@diagnosis(
    zh="分数到了一万，指数就溢出了。不要单独算 e^m：乘数 e^(m_a − m) 的指数从不大于 0。",
    en="With scores of ten thousand an exponential overflows. Do not compute e^m by itself: in the factor e^(m_a − m) the exponent is never above 0.",
)
def test_large_scores_do_not_overflow(implementation):
    (a, b), whole = blocks([3, 5], spread=1e4)
    for got, expected in zip(implementation(a, b), whole, strict=True):
        close(got, expected)


@diagnosis(
    zh="换个次序或者换个分组合并，结果变了。合并要满足交换律和结合律：不管先并哪两块，都等于把所有 key 放在一起。",
    en="Another order or grouping gives another result. Merging is commutative and associative: whichever two come first, it equals all keys taken together.",
)
def test_order_and_grouping_do_not_matter(implementation):
    (a, b, c), whole = blocks([2, 4, 3], seed=5, spread=6.0)
    for first, second, third in ((a, b, c), (c, a, b), (b, c, a)):
        left = implementation(implementation(first, second), third)
        right = implementation(first, implementation(second, third))
        for got, other, expected in zip(left, right, whole, strict=True):
            close(got, expected)
            close(other, expected)


@diagnosis(
    zh="和一个没看到任何 key 的状态 (−∞, 0, 0) 合并，应当什么都不变。",
    en="Merging a state that has seen no key, (−∞, 0, 0), should change nothing.",
)
def test_a_side_without_keys_changes_nothing(implementation):
    (a,), _ = blocks([5])
    for got in (implementation(a, empty(2, 4, d_v=3)), implementation(empty(2, 4, d_v=3), a)):
        for x, expected in zip(got, a, strict=True):
            close(x, expected)


@diagnosis(
    zh="两边都没看到 key 时，应当还是 (−∞, 0, 0)。−∞ − (−∞) 是 NaN：减之前把 m 里的 −∞ 换成 0；返回的 m 仍然是 −∞，否则以后的负分数会被当成比它小。",
    en="When neither side has seen a key, the result is (−∞, 0, 0) again. −∞ − (−∞) is NaN: replace −∞ by 0 in the m that you subtract. The m that you return stays −∞, or later scores below 0 would count as smaller.",
)
def test_two_sides_without_keys_stay_without(implementation):
    got = implementation(empty(2, 4, d_v=3), empty(2, 4, d_v=3))
    for x, expected in zip(got, empty(2, 4, d_v=3), strict=True):
        assert torch.equal(x, expected)


@diagnosis(
    zh="传进来的张量被你改动了（例如用了 *= 这样的原地操作）。调用的人还要用它们。",
    en="You changed a tensor that was passed in (by an in-place operation such as *=). The caller still needs it.",
)
def test_the_arguments_stay_as_they_were(implementation):
    (a, b), _ = blocks([3, 5])
    implementation(a, b)
    assert implementation.mutated == []

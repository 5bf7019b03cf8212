"""Checks of exercise 8.7. They run in the order in which they stand; the first that fails is the diagnosis."""

import math
import random

import pytest

from teachllm.school.checks import LearnerError, diagnosis


@diagnosis(
    zh="返回的不是 0 到 1 之间的比例。是不是返回了个数、百分数，或者列表？要的是做到的请求数除以全部请求数。",
    en="It is not a share from 0 to 1. Did you return a number of requests, per cent, or a list? Divide the requests that kept both by all requests.",
)
def test_it_is_a_share(implementation):
    share = implementation([0.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 9.0], [0.5] * 3 + [99.0], [5] * 4, 1.0, 0.2)
    assert isinstance(share, float | int)
    assert share == pytest.approx(0.75)


@diagnosis(
    zh="两个目标要由同一个请求都做到。你是不是做到一个就算，或者把两个目标的比例分开算，再取小的或者相乘？",
    en="One and the same request must keep both. Do you count a request that kept either, or compute a share for each objective and take the smaller, or their product?",
)
def test_both_by_the_same_request(implementation):
    arrivals = [0.0] * 4
    first, last = [0.1, 0.1, 0.9, 0.9], [2.1, 0.2, 1.0, 2.9]
    # TTFT kept by the first two, TPOT by the two in the middle: one keeps both
    assert implementation(arrivals, first, last, [2] * 4, 0.5, 0.5) == pytest.approx(0.25)
    # TTFT by three of four, TPOT by three of four, both by two: neither 3/4 nor 9/16
    assert implementation(arrivals, [0.1, 0.1, 0.1, 0.9], [2.1, 0.2, 0.2, 1.0], [2] * 4, 0.5, 0.5) == 0.5


@diagnosis(
    zh="首 token 的延迟没有从到达算起。第一个请求不一定在 0 秒到达；TTFT 是首 token 的时刻减去它自己的到达时刻，排队也算。",
    en="The first token's delay is not counted from the arrival. Requests do not all arrive at 0 s: subtract each one's own arrival. Waiting in line counts.",
)
def test_ttft_counts_from_the_arrival(implementation):
    assert implementation([100.0, 200.0], [100.4, 200.4], [100.8, 200.8], [3, 3], 0.5, 1.0) == 1
    assert implementation([0.0, 0.0], [0.4, 3.0], [0.6, 9.0], [3, 3], 0.5, 0.5) == 0.5


@diagnosis(
    zh="TPOT 除错了数。n 个 token 之间有 n − 1 段，第一个 token 属于 TTFT，不在这里面。除以 n 会让每个请求看起来都快一点。",
    en="TPOT is divided by the wrong number. Between n tokens there are n − 1 gaps; the first token belongs to TTFT. Dividing by n makes every request look a little faster.",
)
def test_tpot_is_the_time_of_a_gap(implementation):
    # 0.75 s for 3 gaps: 0.25 a gap, 0.1875 if divided by 4
    assert implementation([1.0], [1.0], [1.75], [4], 2.0, 0.3) == 1
    assert implementation([1.0], [1.0], [1.75], [4], 2.0, 0.2) == 0


@diagnosis(
    zh="TPOT 是从第一个 token 量到最后一个，不是从到达量起。排队久的请求，开始以后可以写得很快。",
    en="TPOT is measured from the first token to the last, not from the arrival. A request that waited long may be written fast once it has begun.",
)
def test_waiting_is_no_part_of_tpot(implementation):
    assert implementation([0.0], [5.0], [5.5], [6], 9.0, 0.15) == 1


@diagnosis(
    zh="只有一个 token 的回答出了问题。它没有 TPOT（除以 n − 1 就是除以 0），这个目标算做到，只看 TTFT。",
    en="An answer of one token goes wrong. It has no TPOT (n − 1 is zero) and keeps that objective; only TTFT counts.",
)
def test_one_token_has_no_tpot(implementation):
    assert implementation([0.0, 0.0], [0.2, 0.9], [0.2, 0.9], [1, 1], 0.5, 0.01) == 0.5


@diagnosis(
    zh="正好踩在目标上的请求，算做到：用 <=，不是 <。",
    en="A request that is exactly in time has kept its objective: use <=, not <.",
)
def test_exactly_in_time_is_in_time(implementation):
    assert implementation([1.0], [1.5], [2.0], [3], 0.5, 0.25) == 1


@diagnosis(
    zh="一直没等到首 token 的请求，从统计里消失了，或者被算成做到了。它的时刻是 inf 或 nan：没做到，但要留在分母里，不然系统越过载，数字越好看。",
    en="Requests that never got a first token vanish from the count, or count as kept. Their times are inf or nan: they kept nothing and stay among all requests. Otherwise numbers look better the worse the overload.",
)
def test_who_never_got_a_token_is_counted_and_kept_nothing(implementation):
    for never in (math.inf, math.nan):
        assert (
            implementation([0.0] * 4, [0.1, never, 0.1, never], [0.2, never, 0.2, never], [2] * 4, 1, 1)
            == 0.5
        )
        assert implementation([0.0], [never], [never], [1], 1.0, 1.0) == 0


@diagnosis(
    zh="有的请求首 token 来了，后面的却一直没来（末 token 的时刻是 inf 或 nan）。它没做到，哪怕它只要一个 token。",
    en="Some requests got their first token and never the rest (the last token's time is inf or nan). They kept nothing, even if they wanted a single token.",
)
def test_an_answer_that_never_ended_kept_nothing(implementation):
    for never in (math.inf, math.nan):
        assert implementation([0.0, 0.0], [0.1, 0.1], [0.2, never], [2, 2], 1.0, 1.0) == 0.5
        assert implementation([0.0, 0.0], [0.1, 0.1], [0.1, never], [1, 1], 1.0, 1.0) == 0.5


@diagnosis(
    zh="长一点的随机记录算得不对。再对照一遍：TTFT 从到达算起，TPOT 除以 n − 1，两样同时做到。",
    en="A longer random trace comes out wrong. Compare again: TTFT from the arrival, TPOT over n − 1, both at once.",
)
def test_a_random_trace(implementation):
    draw = random.Random(0)
    for _ in range(20):
        n = draw.randint(1, 60)
        arrivals = [draw.uniform(0, 50) for _ in range(n)]
        first = [a + draw.uniform(0, 1) for a in arrivals]
        tokens = [draw.randint(1, 20) for _ in range(n)]
        last = [f + draw.uniform(0, 0.1) * (k - 1) for f, k in zip(first, tokens, strict=True)]
        good = sum(
            f - a <= 0.6 and (k == 1 or (z - f) / (k - 1) <= 0.05)
            for a, f, z, k in zip(arrivals, first, last, tokens, strict=True)
        )
        assert implementation(arrivals, first, last, tokens, 0.6, 0.05) == pytest.approx(good / n)


@diagnosis(
    zh="一个请求也没有，或者四个列表不一样长时，应当抛出 ValueError：零个请求没有比例，缺了数的请求也判不了。",
    en="With no request at all, or lists of different length, raise ValueError: there is no share of nothing, and a request with a number missing cannot be judged.",
)
def test_a_share_of_nothing_is_refused(implementation):
    for arguments in (
        ([], [], [], []),
        ([0.0, 1.0], [0.1], [0.2, 1.2], [2, 2]),
        ([0.0], [0.1], [0.2], [2, 2]),
    ):
        with pytest.raises(LearnerError) as raised:
            implementation(*arguments, 1.0, 1.0)
        assert raised.value.kind == "ValueError"

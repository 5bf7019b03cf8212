"""Checks of exercise 8.5. They run in the order in which they stand; the first that fails is the diagnosis."""

import random

from teachllm.school.checks import diagnosis


@diagnosis(
    zh="大家都只想要 1 个、预算也够时，每人应当得到 1 个；不想要的得 0。返回的列表和 wanted 一样长。",
    en="When everyone wants 1 and the budget suffices, everyone gets 1, and who wants nothing gets 0. The result is as long as wanted.",
)
def test_everyone_gets_the_next_token(implementation):
    assert list(implementation([1, 1, 1], 8)) == [1, 1, 1]
    assert list(implementation([1, 0, 1], 2)) == [1, 0, 1]
    assert list(implementation([], 4)) == []


@diagnosis(
    zh="提示太长时没有切开：预算不够读完一段提示，就先读预算那么多，剩下的以后再读。",
    en="A long prompt is not cut: when the budget does not suffice for all of it, as much as the budget allows is read now, and the rest later.",
)
def test_a_long_prompt_is_read_in_part(implementation):
    assert list(implementation([700], 512)) == [512]
    assert list(implementation([300, 500], 512)) == [300, 212]


@diagnosis(
    zh="正在写的人被长提示挡住了：只想要 1 个的请求要先拿，哪怕它排在长提示后面。",
    en="A long prompt stalls someone who is being answered: who wants 1 gets it first, also from behind a long prompt.",
)
def test_the_next_token_is_not_stalled_by_a_prompt(implementation):
    shares = list(implementation([700, 1, 1], 512))
    assert shares[1:] == [1, 1]


@diagnosis(
    zh="超出了预算：先拿走的那些 1 个，也要从预算里减掉；连它们都不够分时，先到的先拿。",
    en="The budget is exceeded: the single tokens come out of it too, and if it does not even suffice for those, the first in order get them.",
)
def test_the_sum_is_within_the_budget(implementation):
    assert sum(implementation([700, 1, 1], 512)) == 512
    assert list(implementation([1, 1, 1, 1], 2)) == [1, 1, 0, 0]


@diagnosis(
    zh="长提示之间没有按先后分：排在前面的想要多少给多少，再轮到下一个。平均分会让谁都读不完。",
    en="Prompts are not served in order: the first gets all that it wants, then the next. Equal parts would mean that nobody's prompt is read soon.",
)
def test_prompts_are_served_in_order(implementation):
    assert list(implementation([9, 1, 9, 1, 2], 12)) == [9, 1, 1, 1, 0]
    assert list(implementation([30, 4], 20)) == [20, 0]


@diagnosis(
    zh="和定义不一致：还有人想要时预算没有用完，或者有人多拿了，或者改动了 wanted。",
    en="Not as defined: some of the budget is left while somebody wants more, or somebody gets more than wanted, or wanted was changed.",
)
def test_all_of_it_is_used_and_nobody_gets_too_much(implementation):
    rng = random.Random(5)
    for _ in range(300):
        wanted = [rng.choice((0, 1, 1, 1, 2, 5, 40)) for _ in range(rng.randint(0, 12))]
        budget = rng.randint(0, 60)
        given = list(wanted)
        shares = list(implementation(given, budget))
        assert given == wanted
        assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
        assert sum(shares) == min(budget, sum(wanted))
        ones = [share for share, want in zip(shares, wanted, strict=True) if want == 1]
        assert sum(ones) == min(budget, len(ones))
        # In order: after the first who did not get all, nobody of the same kind gets anything.
        for kind in (True, False):
            pairs = [(s, w) for s, w in zip(shares, wanted, strict=True) if (w == 1) is kind and w > 0]
            short = next((i for i, (s, w) in enumerate(pairs) if s < w), len(pairs))
            assert all(s == 0 for s, _ in pairs[short + 1 :])

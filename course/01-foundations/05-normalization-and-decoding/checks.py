"""Checks of exercise 1.5. They run in the order in which they stand; the first that fails is the diagnosis."""

import torch

from teachllm.school.checks import diagnosis

# Their running sums are 0.664, 0.863, 0.968, 1.
LESSON = torch.tensor([0.664, 0.199, 0.105, 0.032]).log()
SHUFFLED = torch.tensor([0.105, 0.032, 0.664, 0.199]).log()


def kept(logits: torch.Tensor) -> list[int]:
    return torch.isfinite(logits).nonzero().flatten().tolist()


def normal(*shape: int, seed: int, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


@diagnosis(
    zh="返回的不是同样形状的 logits。留下的 token 保持原来的 logit，去掉的是 −∞：不是 0，不是 NaN，也不要换成概率，归一化留给后面的 softmax。",
    en="This is not the same logits in the same shape. What stays keeps its logit and what goes is −∞: not 0, not NaN, and no probabilities "
    "either, since the softmax that follows renormalizes.",
)
def test_what_stays_keeps_its_logit_and_the_rest_is_minus_infinity(implementation):
    got = implementation(LESSON + 5, 0.7)
    assert got.shape == LESSON.shape
    assert got[0] == LESSON[0] + 5
    assert got[3] == -torch.inf
    assert torch.all((got == LESSON + 5) | (got == -torch.inf))


@diagnosis(
    zh="累计的是 logits，不是概率。先 softmax：所有 logits 加上同一个数，概率不变，核也不该变。",
    en="The running sum is one of logits and not of probabilities. Take the softmax first: adding one number to all logits changes no probability, so "
    "it must not change the nucleus.",
)
def test_only_probabilities_decide(implementation):
    for shift in (-20.0, 0.0, 20.0):
        assert 0 in kept(implementation(LESSON + shift, 0.7))
        assert 3 not in kept(implementation(LESSON + shift, 0.7))


@diagnosis(
    zh="跨过 p 的那个 token 被丢掉了。核是概率之和**达到** p 的最小一组：0.664、0.199、0.105、0.032，p = 0.9 要留三个（0.968），留两个只有 0.863，没有达到。p 很小时也至少要留下一个。",
    en="The token with which the sum reaches p was dropped. The nucleus is the smallest set that **reaches** p: of 0.664, 0.199, 0.105, 0.032 and p = 0.9 "
    "three stay (0.968); two are only 0.863. However small p is, one token stays.",
)
def test_the_token_that_reaches_p_stays(implementation):
    assert set(kept(implementation(LESSON, 0.9))) >= {0, 1, 2}
    assert set(kept(implementation(LESSON, 0.7))) >= {0, 1}
    assert 0 in kept(implementation(LESSON, 0.05))


@diagnosis(
    zh="留得太多。前面的概率已经够 p 了，后面的就该去掉：p = 0.5 时，第一个 token 的 0.664 已经够了，只留它一个。",
    en="Too many stay. Once those before it reach p, a token goes: with p = 0.5 the first token's 0.664 is enough, and it alone remains.",
)
def test_no_more_than_needed_stay(implementation):
    assert len(kept(implementation(LESSON, 0.5))) == 1
    assert len(kept(implementation(LESSON, 0.7))) == 2
    assert len(kept(implementation(LESSON, 0.9))) == 3
    assert len(kept(implementation(LESSON, 0.98))) == 4


@diagnosis(
    zh="留下的不是对的 token：排序以后没有放回词表原来的位置。sort 给出的下标要用 scatter 还原。",
    en="The wrong tokens stay: after sorting they were not put back to their places in the vocabulary. Undo the sort with scatter and the indices it gave.",
)
def test_tokens_stay_at_their_places(implementation):
    assert kept(implementation(SHUFFLED, 0.9)) == [0, 2, 3]
    assert kept(implementation(SHUFFLED, 0.7)) == [2, 3]
    got = implementation(SHUFFLED, 0.9)
    torch.testing.assert_close(got[[0, 2, 3]], SHUFFLED[[0, 2, 3]], rtol=0, atol=0)


@diagnosis(
    zh="批量里的各行混到了一起。softmax、排序、累计都沿最后一维，每一行的核各不相同，前面可以有任意多个维度。",
    en="The rows of a batch are mixed. Softmax, sort and running sum go along the last dimension; each row has a nucleus of its own, and there may be any "
    "number of dimensions before it.",
)
def test_every_row_has_its_own_nucleus(implementation):
    logits = normal(2, 3, 40, seed=1) * torch.tensor([0.1, 1.0, 3.0])[:, None]
    got = implementation(logits, 0.8)
    assert got.shape == logits.shape
    for row in range(2):
        for column in range(3):
            alone = implementation(logits[row, column], 0.8)
            assert kept(got[row, column]) == kept(alone)


@diagnosis(
    zh="概率相同的 token 留多了。核是最小的一组：四个各 0.25，p = 0.5 只要两个。不要用“概率不低于某个门槛”来判断，那样会把并列的全留下。",
    en="Too many equally probable tokens stay. The nucleus is the smallest set: of four with 0.25 each, p = 0.5 needs two. A threshold on the probability keeps "
    "all that are tied.",
)
def test_ties_do_not_enlarge_the_nucleus(implementation):
    assert len(kept(implementation(torch.zeros(4), 0.4))) == 2
    assert len(kept(implementation(torch.zeros(8), 0.7))) == 6


@diagnosis(
    zh="前面的筛选已经变成 −∞ 的 token，不能回来，也不能让结果出现 NaN。",
    en="What an earlier filter has turned into −∞ must not come back, nor may NaN appear.",
)
def test_what_is_gone_stays_gone(implementation):
    logits = normal(30, seed=2, spread=1.0)
    logits[::2] = -torch.inf
    for p in (0.5, 0.99, 1.0):
        got = implementation(logits, p)
        assert not torch.isnan(got).any()
        assert torch.all(got[::2] == -torch.inf)


@diagnosis(
    zh="p = 1 时也去掉了 token。浮点数的累计和会提前到 1，尾巴上概率极小的 token 就被误删了。p = 1 的意思是不筛，原样返回。",
    en="Tokens were removed although p = 1. In floating point the running sum reaches 1 too early, and the tail is cut off. p = 1 means: filter nothing.",
)
def test_p_of_one_removes_nothing(implementation):
    logits = torch.linspace(0, -40, 5_000)
    assert torch.equal(implementation(logits, 1.0), logits)


@diagnosis(
    zh="传进来的 logits 被你改动了（例如用了 masked_fill_ 这样的原地操作）。调用的人还要用它。",
    en="You changed the logits that were passed in (by an in-place operation such as masked_fill_). The caller still needs them.",
)
def test_the_argument_stays_as_it_was(implementation):
    implementation(normal(20, seed=3), 0.6)
    assert implementation.mutated == []

"""Checks of exercise 10.2. They run in the order in which they stand; the first that fails is the diagnosis."""

import math

import pytest
import torch

from teachllm.school.checks import LearnerError, diagnosis

Q = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
P = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
N = torch.tensor([[0.0, 1.0]])


def close(got, expected):
    assert float(got) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@diagnosis(
    zh="一批只有一个问题、没有别的候选时，损失应该是 0：softmax 只有一项，概率是 1。",
    en="With one query and no other candidate the loss is 0: the softmax has one entry, of probability 1.",
)
def test_one_candidate_is_no_question(implementation):
    close(implementation(Q[:1], P[:1]), 0.0)


@diagnosis(
    zh="两个问题、温度 1 时的值不对。问题 0 的得分是 (0.8, 0.6)，正例是第 0 个：−0.8 + log(e^0.8 + e^0.6)。分母里要有这一批所有的正例，自己的也在内；再对问题取平均。",
    en="The value for two queries at temperature 1 is wrong. Query 0 scores (0.8, 0.6) and its positive is number 0: −0.8 + log(e^0.8 + e^0.6). The denominator holds all positives of the batch, its own among "
    "them; then take the mean over the queries.",
)
def test_the_others_of_the_batch_are_negatives(implementation):
    close(implementation(Q, P, temperature=1.0), -0.8 + math.log(math.exp(0.8) + math.exp(0.6)))


@diagnosis(
    zh="温度用错了。得分要除以 τ 再做 softmax，不是乘，也不是只除正例。",
    en="The temperature is wrong. Divide the scores by τ before the softmax: neither multiply, nor divide the positive alone.",
)
def test_scores_are_divided_by_the_temperature(implementation):
    close(implementation(Q, P, temperature=0.1), -8 + math.log(math.exp(8) + math.exp(6)))


@diagnosis(
    zh="难负例没有算对。每个问题都看得见全部 negatives：有几个就往分母里加几项，不是只加一项，也不是第 i 个问题只看第 i 个。",
    en="Hard negatives are counted wrongly. Every query sees all of them: each adds a term to the denominator; it is not one term in all, and query i does not see number i alone.",
)
def test_every_query_sees_every_negative(implementation):
    first = -0.8 + math.log(math.exp(0.8) + math.exp(0.6) + 2 * math.exp(0.0))
    second = -0.8 + math.log(math.exp(0.8) + math.exp(0.6) + 2 * math.exp(1.0))
    close(implementation(Q, P, torch.cat([N, N]), temperature=1.0), (first + second) / 2)


@diagnosis(
    zh="被排除的候选还在分母里。排除是把得分变成 −∞（概率正好 0），变成 0 还是会算进去。",
    en="An excluded candidate is still in the denominator. Excluding makes the score −∞, so that its probability is exactly 0; a score of 0 still counts.",
)
def test_what_is_excluded_does_not_count(implementation):
    excluded = torch.tensor([[False, True, False], [False, False, False]])
    first = -0.8 + math.log(math.exp(0.8) + math.exp(0.0))
    second = -0.8 + math.log(math.exp(0.8) + math.exp(0.6) + math.exp(1.0))
    close(implementation(Q, P, N, temperature=1.0, excluded=excluded), (first + second) / 2)


@diagnosis(
    zh="对称的损失不对。反方向是每个正例在**问题**里找自己的问题：得分矩阵的前 n 列转置，再做一次交叉熵，两个方向取平均。negatives 不参加反方向。",
    en="The symmetric loss is wrong. The other direction asks every positive for its query among the **queries**: the first n columns of the scores, transposed, once more through the cross-entropy; then the mean "
    "of both directions. Negatives take no part in it.",
)
def test_both_directions(implementation):
    q = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    scores = (q @ P.T).tolist()
    there = [
        -scores[i][i] + math.log(sum(map(math.exp, scores[i])) + math.exp(float(q[i] @ N[0]))) for i in (0, 1)
    ]
    back = [-scores[i][i] + math.log(sum(math.exp(scores[j][i]) for j in (0, 1))) for i in (0, 1)]
    expected = (sum(there) + sum(back)) / 4
    close(implementation(q, P, N, temperature=1.0, symmetric=True), expected)


@diagnosis(
    zh="排除的一格，反方向也要排除：它把问题 0 和文字 1 隔开，文字 1 也就不该把问题 0 当成错误答案。",
    en="What is excluded one way is excluded the other way too: if query 0 and passage 1 are kept apart, passage 1 must not take query 0 for a wrong answer.",
)
def test_the_mask_holds_in_both_directions(implementation):
    excluded = torch.tensor([[False, True], [False, False]])
    scores = Q @ P.T
    there = [0.0, -0.8 + math.log(math.exp(0.8) + math.exp(float(scores[1, 0])))]
    back = [-0.8 + math.log(math.exp(0.8) + math.exp(float(scores[1, 0]))), 0.0]
    got = implementation(Q, P, temperature=1.0, excluded=excluded, symmetric=True)
    close(got, (sum(there) + sum(back)) / 4)


@diagnosis(
    zh="温度很小、得分很大时溢出了。不要先 exp 再 log：用 F.cross_entropy 或 logsumexp。",
    en="It overflows for a small temperature. Do not take exp and then log: use F.cross_entropy or logsumexp.",
)
def test_a_small_temperature_does_not_overflow(implementation):
    got = float(implementation(Q, P, temperature=0.001))
    assert math.isfinite(got)
    close(got, 0.0)


@diagnosis(
    zh="正例自己被排除了，这是调用的人弄错了：要抛出 ValueError，不能给出无穷大或者悄悄算下去。",
    en="A query's own positive is excluded, so the caller is wrong: raise ValueError instead of giving infinity or going on in silence.",
)
def test_an_excluded_positive_is_refused(implementation):
    with pytest.raises(LearnerError) as raised:
        implementation(Q, P, excluded=torch.eye(2, dtype=torch.bool))
    assert raised.value.kind == "ValueError"


@diagnosis(
    zh="传进来的张量被你改动了。",
    en="You changed the tensors that were passed in.",
)
def test_the_arguments_stay_as_they_were(implementation):
    implementation(Q, P, N, excluded=torch.zeros(2, 3, dtype=torch.bool), symmetric=True)
    assert implementation.mutated == []

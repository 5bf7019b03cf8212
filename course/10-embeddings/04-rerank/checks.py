"""Checks of exercise 10.4. They run in the order in which they stand; the first that fails is the diagnosis."""

import numpy as np
import pytest

from teachllm.school.checks import LearnerError, diagnosis

QUERY = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
TOKENS = np.array([[0.6, 0.8], [1.0, 0.0], [0.8, 0.6], [-1.0, 0.0], [0.0, -1.0]], dtype=np.float32)


def by_definition(query, tokens, lengths):
    scores, begin = [], 0
    for length in lengths:
        part = tokens[begin : begin + length]
        scores.append(sum(max(float(q @ p) for p in part) for q in query))
        begin += length
    return scores


@diagnosis(
    zh="每段要有一个分数，返回长度和 lengths 一样的数组。",
    en="Return an array with one score for each passage, as long as lengths.",
)
def test_one_score_for_each_passage(implementation):
    assert np.asarray(implementation(QUERY, TOKENS[:3], [1, 2])).shape == (2,)
    assert np.asarray(implementation(QUERY, TOKENS[:0], [])).shape == (0,)


@diagnosis(
    zh="一段只有一个 token 时，分数应当是它和每个查询 token 的内积之和，不是平均，也不除以长度。",
    en="For a passage of one token the score is the sum of its inner products with the query's tokens: no mean, and no division by a length.",
)
def test_a_single_token_gives_a_sum(implementation):
    assert np.asarray(implementation(QUERY, TOKENS[:1], [1])) == pytest.approx([1.4], abs=1e-6)


@diagnosis(
    zh="最大取错了方向：查询的每个 token 到段落里找最像自己的，然后对查询的 token 求和；不是反过来。",
    en="The maximum goes the wrong way: each token of the query looks for the one of the passage most like it, and the sum is over the query's tokens, not the other way round.",
)
def test_the_maximum_runs_along_the_passage(implementation):
    assert np.asarray(implementation(QUERY, TOKENS[:3], [3])) == pytest.approx([1.8], abs=1e-6)
    assert np.asarray(implementation(QUERY[:1], TOKENS[:3], [3])) == pytest.approx([1.0], abs=1e-6)


@diagnosis(
    zh="段落的边界没有守住：每段只能在自己的 token 里找最大，lengths 按次序一段接一段。",
    en="Passages run into each other: each looks only among its own tokens, one stretch of lengths after the other.",
)
def test_passages_stay_apart(implementation):
    rng = np.random.default_rng(0)
    for lengths in ([1, 1, 1], [4, 1, 7], [2, 9, 3, 1]):
        query = rng.uniform(size=(5, 8)).astype(np.float32)
        tokens = rng.uniform(size=(sum(lengths), 8)).astype(np.float32)
        found = np.asarray(implementation(query, tokens, lengths))
        assert found == pytest.approx(by_definition(query, tokens, lengths), abs=1e-4)


@diagnosis(
    zh="余弦全是负的时候，最大的也是负的；不要从 0 开始比。",
    en="When all cosines are negative the largest is negative as well; do not begin with 0.",
)
def test_all_may_be_negative(implementation):
    assert np.asarray(implementation(QUERY[:1], TOKENS[3:4], [1])) == pytest.approx([-1.0])
    assert np.asarray(implementation(QUERY, -np.abs(TOKENS[:2]), [2])) == pytest.approx([-0.6], abs=1e-6)


@diagnosis(
    zh="没有 token 的段落应当得 -inf，别的段落不受影响。",
    en="A passage without tokens scores -inf, and the others are not disturbed.",
)
def test_a_passage_may_be_empty(implementation):
    found = np.asarray(implementation(QUERY, TOKENS[:3], [0, 1, 0, 2, 0]))
    assert found == pytest.approx([-np.inf, 1.4, -np.inf, 1.6, -np.inf], abs=1e-6)


@diagnosis(
    zh="没有 token 的查询，每段都得 0。",
    en="For a query without tokens every passage scores 0.",
)
def test_a_query_may_be_empty(implementation):
    assert list(np.asarray(implementation(QUERY[:0], TOKENS[:3], [1, 2]))) == [0, 0]


@diagnosis(
    zh="lengths 的和与 tokens 的行数对不上时，要抛出 ValueError，不能悄悄地算。",
    en="When lengths do not add up to the rows of tokens, raise ValueError instead of computing something.",
)
def test_wrong_lengths_are_refused(implementation):
    for lengths in ([1, 1], [2, 2]):
        with pytest.raises(LearnerError) as raised:
            implementation(QUERY, TOKENS[:3], lengths)
        assert raised.value.kind == "ValueError"


@diagnosis(
    zh="结果的类型要是 float32。",
    en="The result must be of type float32.",
)
def test_the_result_is_float32(implementation):
    assert np.asarray(implementation(QUERY, TOKENS[:3], [1, 2])).dtype == np.float32

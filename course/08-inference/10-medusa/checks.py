"""Checks of exercise 8.10. They run in the order in which they stand; the first that fails is the diagnosis."""

import itertools
import math
import random

import pytest

from teachllm.school.checks import LearnerError, diagnosis


def paths_of(implementation, accuracies, n_nodes):
    return [tuple(path) for path in implementation(accuracies, n_nodes)]


def probability(path, accuracies):
    return math.prod(accuracies[depth][rank] for depth, rank in enumerate(path))


def everything(accuracies):
    for depth in range(1, len(accuracies) + 1):
        yield from itertools.product(*(range(len(of_head)) for of_head in accuracies[:depth]))


@diagnosis(
    zh="只有一个头时，应当返回它概率最大的 n_nodes 个猜法，写成一元的路径：((0,), (1,))。根不算在 n_nodes 里。",
    en="With one head, return its n_nodes most probable guesses as paths of one rank: ((0,), (1,)). The root is not counted in n_nodes.",
)
def test_one_head_gives_its_best_guesses(implementation):
    assert paths_of(implementation, [[0.5, 0.3, 0.1]], 1) == [(0,)]
    assert sorted(paths_of(implementation, [[0.5, 0.3, 0.1]], 2)) == [(0,), (1,)]


@diagnosis(
    zh="节点的概率是一路上的乘积。0.6 后面的 0.5 是 0.30，比 0.2 大；0.2 后面的 0.5 只有 0.10。每次加上乘积最大的那个，不是按层，也不是只看最后一个头。",
    en="The probability of a node is the product along its path. 0.5 behind 0.6 makes 0.30, more than 0.2; 0.5 behind 0.2 makes only 0.10. Always add the node with the largest product: neither level by level, nor by "
    "the last head alone.",
)
def test_the_product_decides(implementation):
    hand = [[0.6, 0.2], [0.5, 0.3]]
    assert sorted(paths_of(implementation, hand, 2)) == [(0,), (0, 0)]
    assert sorted(paths_of(implementation, hand, 3)) == [(0,), (0, 0), (1,)]
    assert sorted(paths_of(implementation, hand, 4)) == [(0,), (0, 0), (0, 1), (1,)]
    assert sorted(paths_of(implementation, [[0.4, 0.35, 0.3], [0.5]], 3)) == [(0,), (1,), (2,)]


@diagnosis(
    zh="返回的顺序里，子节点排在了父节点前面，或者父节点根本不在。引擎从左往右建树，父节点必须先来，概率相等时也一样。",
    en="A child stands before its parent, or the parent is not there at all. The engine builds the tree from left to right, so parents come first, also where both are equally probable.",
)
def test_parents_come_first(implementation):
    for accuracies in ([[1.0, 1.0], [1.0, 1.0], [1.0]], [[0.5, 0.5], [1.0, 0.2]], [[0.3, 0.0], [0.0, 0.0]]):
        for n_nodes in range(1, 7):
            known = {()}
            for path in paths_of(implementation, accuracies, n_nodes):
                assert path[:-1] in known
                assert path not in known
                known.add(path)


@diagnosis(
    zh="节点总共不到 n_nodes 个时，要把它们全部返回，不是报错，也不是补上假的。各个头的猜法个数可以不一样多。",
    en="If there are fewer than n_nodes nodes in all, return all of them: no error, and nothing made up. Heads may have different numbers of guesses.",
)
def test_a_small_tree_is_returned_whole(implementation):
    accuracies = [[0.5, 0.2, 0.1], [0.4]]
    for n_nodes in (6, 7, 100):
        assert sorted(paths_of(implementation, accuracies, n_nodes)) == sorted(everything(accuracies))


@diagnosis(
    zh="有别的、一样大的树，期望更长。每一步都要在所有能加的节点里选概率最大的：已选节点的每个子节点，和第一层还没选的。名次靠前的不一定更准，量出来的数不保证从大到小。",
    en="Another tree of the same size is longer on average. Every time, choose the most probable of all nodes that can be added: every child of a chosen node, and what is left of the first level. "
    "A better rank need not be more accurate: measured numbers may rise as well as fall.",
)
def test_no_tree_of_the_size_is_better(implementation):
    numbers = random.Random(0)
    for _ in range(12):
        accuracies = [
            [round(numbers.uniform(0, 0.6), 3) for _ in range(numbers.randint(1, 4))]
            for _ in range(numbers.randint(1, 3))
        ]
        best = sorted((probability(path, accuracies) for path in everything(accuracies)), reverse=True)
        for n_nodes in (1, 3, 5, 9, 14):
            found = paths_of(implementation, accuracies, n_nodes)
            assert len(found) == min(n_nodes, len(best))
            total = sum(probability(path, accuracies) for path in found)
            assert abs(total - sum(best[:n_nodes])) < 1e-9


@diagnosis(
    zh="太慢了：你大概把所有路径都列了出来。6 个头、每个 12 名有三百多万条；用一个堆，只看已选节点的子节点。",
    en="Too slow: you probably list all paths. Six heads of 12 ranks have more than three million; use a heap, and look at children of chosen nodes only.",
)
def test_it_looks_only_at_what_can_be_added(implementation):
    accuracies = [[0.5 * 0.8**rank for rank in range(12)] for _ in range(6)]
    found = paths_of(implementation, accuracies, 64)
    assert len(set(found)) == 64
    assert implementation.last_seconds < 1


@diagnosis(
    zh="没有意义的参数要拒绝：n_nodes 小于 1，或者有数不在 0 和 1 之间，抛出 ValueError。",
    en="Refuse what makes no sense: raise ValueError if n_nodes is below 1, or a number is not between 0 and 1.",
)
def test_nonsense_is_refused(implementation):
    for accuracies, n_nodes in (([[0.5]], 0), ([[0.5, 1.5]], 1), ([[0.5], [-0.1]], 1)):
        with pytest.raises(LearnerError) as raised:
            implementation(accuracies, n_nodes)
        assert raised.value.kind == "ValueError"


@diagnosis(zh="传进来的 accuracies 被你改动了。", en="You changed the accuracies that were passed in.")
def test_the_argument_stays_as_it_was(implementation):
    implementation([[0.6, 0.2], [0.5, 0.3]], 3)
    assert implementation.mutated == []

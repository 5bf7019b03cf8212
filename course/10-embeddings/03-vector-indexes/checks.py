"""Checks of exercise 10.3. They run in the order in which they stand; the first that fails is the diagnosis."""

import heapq

import numpy as np

from teachllm.school.checks import diagnosis


def ring(n: int, *, seed: int = 0, extra: int = 2) -> list[list[int]]:
    """Every node linked with the next, and with some others: connected."""
    rng = np.random.default_rng(seed)
    links = [{(i + 1) % n, (i - 1) % n} for i in range(n)]
    for i in range(n):
        links[i] |= set(rng.choice(n, extra, replace=False).tolist()) - {i}
    return [sorted(one) for one in links]


def whole_numbers(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-30, 30, size=(n, d)).astype(np.float32)


def by_definition(vectors, query, nodes):
    return sorted((float(((vectors[i] - query) ** 2).sum()), int(i)) for i in nodes)


def pairs(result):
    return [(float(distance), int(node)) for distance, node in result]


@diagnosis(
    zh="返回的不是 (距离, 编号) 的列表。每一项是两个数：先平方距离，后点的编号。",
    en="The result is not a list of (distance, number): each item has the squared distance first and the node's number second.",
)
def test_a_list_of_distances_and_numbers(implementation):
    vectors = whole_numbers(6, 3, seed=1)
    result = implementation(vectors, ring(6), vectors[2], 2, 3)
    assert isinstance(result, list)
    assert all(len(item) == 2 for item in result)
    assert (0.0, 2) in pairs(result)


@diagnosis(
    zh="入口自己不见了。它也是见过的点，图里只有它一个时，答案就是它。",
    en="The entry itself is missing. It has been met too; when it has no links, it is the answer.",
)
def test_the_entry_counts(implementation):
    vectors = whole_numbers(3, 2, seed=2)
    assert pairs(implementation(vectors, [[], [0], [0]], vectors[1], 0, 2)) == by_definition(
        vectors, vectors[1], [0]
    )


@diagnosis(
    zh="返回的个数不对：最多 ef 个；走得到的点不够，就返回走得到的那些。走不到的点不能出现。",
    en="The number of results is wrong: at most ef, and only nodes that can be reached, however few they are.",
)
def test_at_most_ef_and_only_what_can_be_reached(implementation):
    vectors = whole_numbers(10, 3, seed=3)
    links = [
        *ring(5),
        *[[other + 5 for other in row] for row in ring(5)],
    ]  # two parts without a way between them
    query = vectors[8]
    assert len(implementation(vectors, ring(10), query, 0, 4)) == 4
    assert sorted(pairs(implementation(vectors, links, query, 1, 10))) == by_definition(
        vectors, query, range(5)
    )


@diagnosis(
    zh="结果没有从近到远排好。堆只保证堆顶，返回之前要排序；距离相同，编号小的在前。",
    en="The results are not sorted, nearest first. A heap only promises what is on top; sort before returning. Of equal distances the smaller number comes first.",
)
def test_nearest_first_and_ties_by_number(implementation):
    vectors = whole_numbers(40, 2, seed=4)
    result = pairs(implementation(vectors, ring(40), vectors[7], 3, 40))
    assert result == sorted(result)
    same = np.zeros((6, 2), dtype=np.float32)
    assert [node for _, node in pairs(implementation(same, ring(6), same[0], 5, 6))] == [0, 1, 2, 3, 4, 5]


@diagnosis(
    zh="ef 不小于点数时，走法会走遍整张图，结果应当和逐个比一样。漏了点，说明走得不全：可能停得太早，可能邻居没有全看。",
    en="With ef as large as the graph, the walk meets every node, and the result equals comparing with all. Something is missing: it stops too early, or does not look at all links.",
)
def test_with_a_large_ef_it_is_exact(implementation):
    for n, seed in ((30, 5), (80, 6)):
        vectors = whole_numbers(n, 4, seed=seed)
        query = whole_numbers(1, 4, seed=seed + 100)[0]
        assert pairs(implementation(vectors, ring(n, seed=seed), query, 0, n)) == by_definition(
            vectors, query, range(n)
        )


@diagnosis(
    zh="一条直线上的点，入口在一头，查询在另一头：ef = 1 也应当走到底。只在“比留住的近”时才往下走，路就断了吗？检查停的条件：要走的那个点比留住的 ef 个都远，才停。",
    en="On a line of points with the entry at one end and the query at the other, ef = 1 must walk to the end. Check when you stop: only when the node to follow is farther than all ef that are kept.",
)
def test_greedy_walks_to_the_end_of_a_line(implementation):
    line = np.arange(50, dtype=np.float32)[:, None]
    links = [[other for other in (i - 1, i + 1) if 0 <= other < 50] for i in range(50)]
    assert pairs(implementation(line, links, line[49], 0, 1)) == [(0.0, 49)]


@diagnosis(
    zh="走的次序不对。每一步要挑见过、没走过的点里**最近**的那个（小顶堆），不是先来先走。次序不同，在有坑的图里结果就不同。",
    en="The order is wrong. Each step goes to the **nearest** node that was met and not followed (a heap), not to the one met first. In a graph with dead ends the results differ.",
)
def test_the_same_walk_as_ours(implementation):
    for seed in range(12):
        n = 120
        vectors, query = whole_numbers(n, 6, seed=seed), whole_numbers(1, 6, seed=seed + 50)[0]
        rng = np.random.default_rng(seed)
        links = [rng.choice(n, 4, replace=False).tolist() for _ in range(n)]
        for ef in (1, 3, 10):
            assert pairs(implementation(vectors, links, query, 0, ef)) == reference(
                vectors, links, query, 0, ef
            )


def reference(vectors, links, query, entry, ef):
    """The walk with one sorted list instead of two heaps: another way to the same result."""
    found = by_definition(vectors, query, [entry])
    seen, followed = {entry}, set()
    while True:
        left = [item for item in found if item[1] not in followed]
        if not left:
            return found
        _, node = left[0]
        followed.add(node)
        new = [other for other in dict.fromkeys(links[node]) if other not in seen]
        seen.update(new)
        found = heapq.nsmallest(ef, [*found, *by_definition(vectors, query, new)])

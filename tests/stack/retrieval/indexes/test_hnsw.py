"""The graph over arrays is the readable one, link by link, and stays whole when vectors come and go."""

from __future__ import annotations

import numpy as np
import pytest

from teachllm.stack.retrieval.indexes import FlatIndex, HNSWIndex, VamanaIndex, recall
from teachllm.stack.retrieval.indexes.fast.graph import WIDE
from teachllm.stack.retrieval.indexes.layered_graph import (
    LayeredGraph,
    draw_levels,
    search_layer,
    select_neighbours,
)
from teachllm.stack.retrieval.indexes.vamana import robust_prune


def whole_numbers(n: int, d: int, seed: int, span: int = 50) -> np.ndarray:
    """Distances between these are exact, in any order of summing."""
    return np.random.default_rng(seed).integers(-span, span, size=(n, d)).astype(np.float32)


def readable(vectors: np.ndarray, m: int, ef: int, seed: int) -> LayeredGraph:
    levels = draw_levels(len(vectors), m, seed=seed)
    graph = LayeredGraph(vectors, m, ef)
    highest = int(levels.argmax())
    for node in [highest, *(i for i in range(len(vectors)) if i != highest)]:
        graph.insert(node, int(levels[node]))
    return graph


def reachable(links: list[list[int]], entry: int) -> set[int]:
    seen, left = {entry}, [entry]
    while left:
        new = set(links[left.pop()]) - seen
        seen |= new
        left += new
    return seen


@pytest.mark.parametrize(("m", "ef", "d", "span"), [(4, 20, 11, 50), (8, 40, 11, 50), (6, 30, 3, 6)])
def test_the_kernels_build_the_readable_graph(m: int, ef: int, d: int, span: int) -> None:
    """Numbers from −6 to 5 in three dimensions give many equal distances."""
    vectors = whole_numbers(300, d, seed=m, span=span)
    graph = readable(vectors, m, ef, seed=m)
    index = HNSWIndex(d, m=m, ef_construction=ef, seed=m)
    index.add(vectors)
    assert index.entry == graph.entry
    assert len(reachable(graph.layers[0], graph.entry)) == 300  # else `_connect` would add links
    for layer, links in enumerate(graph.layers):
        for node in range(300):
            assert index.links(node, layer).tolist() == links[node], (layer, node)
    queries = whole_numbers(20, d, seed=m + 1, span=span)
    index.ef_search = ef
    hits = index.search(queries, 5)
    for query, ids, scores in zip(queries, hits.ids, hits.scores, strict=True):
        found = graph.search(query, 5, ef)
        assert ids.tolist() == [node for _, node in found]
        assert (-scores).tolist() == [distance for distance, _ in found]


def test_a_wide_walk_keeps_what_the_readable_one_keeps() -> None:
    """With equal distances, more nodes in the graph than the walk keeps, and more kept than there are."""
    vectors = whole_numbers(WIDE + 300, 4, seed=9, span=4)
    index = HNSWIndex(4, m=4, ef_construction=20, seed=9)
    index.add(vectors)
    links = [index.links(node).tolist() for node in range(len(vectors))]
    query = whole_numbers(1, 4, seed=10, span=4)
    for limit in (WIDE, WIDE + 1000):
        index.ef_search = limit
        hits = index.search(query, WIDE)
        found = search_layer(vectors, links, query[0], index.entry, limit)[:WIDE]
        assert hits.ids[0].tolist() == [node for _, node in found]
        assert (-hits.scores[0]).tolist() == [distance for distance, _ in found]


def test_a_walk_that_keeps_every_node_finds_all_it_can_reach() -> None:
    vectors = whole_numbers(60, 3, seed=3)
    rng = np.random.default_rng(4)
    neighbours = [rng.choice(60, 3, replace=False).tolist() for _ in range(60)]
    found = search_layer(vectors, neighbours, vectors[7], 0, 60)
    assert {node for _, node in found} == reachable(neighbours, 0)
    assert found == sorted(found)


def test_levels_do_not_depend_on_batches_and_follow_their_law() -> None:
    together = draw_levels(100_000, 16, seed=7)
    np.testing.assert_array_equal(together[30:50], draw_levels(20, 16, seed=7, first=30))
    assert abs((together >= 1).mean() - 1 / 16) < 0.003
    assert abs((together >= 2).mean() - 1 / 256) < 0.001


def test_neighbours_lie_in_different_directions() -> None:
    """0 is at the origin; 1 and 2 lie to the right, one behind the other, 3 to the left, farther away."""
    points = np.array([0.0, 1.0, 1.5, -2.0])
    candidates = [(1.0, 1), (2.25, 2), (4.0, 3)]
    between = lambda a, b: float((points[a] - points[b]) ** 2)  # noqa: E731
    assert select_neighbours(candidates, between, 2) == [1, 3]
    assert select_neighbours(candidates, between, 3) == [1, 2, 3]
    table = (points[:, None] - points[None]) ** 2
    assert robust_prune(candidates, table, 1.0, 2) == [1, 3]
    assert robust_prune(candidates, table, 10.0, 3) == [1, 2, 3]


def check_whole(index: HNSWIndex | VamanaIndex) -> None:
    n = len(index)
    bottom = [index.links(row).tolist() for row in range(n)]
    assert all(len(set(links)) == len(links) and row not in links for row, links in enumerate(bottom))
    assert all(0 <= link < n for links in bottom for link in links)
    assert len(reachable(bottom, index.entry)) == n
    if isinstance(index, HNSWIndex):
        levels = index.levels
        assert levels[index.entry] == levels.max()
        for row in range(n):
            for layer in range(1, levels[row] + 1):
                assert all(levels[link] >= layer for link in index.links(row, layer))


@pytest.mark.parametrize("kind", [HNSWIndex, VamanaIndex])
def test_the_graph_stays_whole_when_vectors_come_and_go(kind: type[HNSWIndex | VamanaIndex]) -> None:
    """A third of the vectors goes and others come, three times; then only a few are left."""
    rng = np.random.default_rng(8)
    centres = rng.normal(size=(12, 16)) * 4
    draw = lambda n: (centres[rng.integers(12, size=n)] + rng.normal(size=(n, 16))).astype(np.float32)  # noqa: E731
    index = (
        HNSWIndex(16, m=6, ef_construction=40)
        if kind is HNSWIndex
        else VamanaIndex(16, degree=12, ef_construction=40)
    )
    exact = FlatIndex(16)
    for _ in range(3):
        new = draw(400)
        index.add(new)
        exact.add(new)
        gone = rng.choice(index.ids, len(index) // 3, replace=False)
        assert index.remove(gone) == exact.remove(gone) == len(gone)
        check_whole(index)
        queries = draw(50)
        index.ef_search = 60
        hits = index.search(queries, 10)
        assert not np.isin(hits.ids, gone).any()
        assert recall(hits, exact.search(queries, 10).scores).mean() > 0.95
    index.remove(index.ids[3:])
    check_whole(index)
    assert (index.search(queries, 3).ids >= 0).all()
    index.remove(index.ids)
    assert len(index) == 0
    index.add(draw(5))
    check_whole(index)


def test_new_links_lead_through_neighbours_that_are_gone_as_well() -> None:
    """A ring 0 → 1 → 2 → 3 → 0, entered at 3: without 1 and 2, 0 goes on to 3. (All is reachable without it,
    too, so nothing else adds a link.)
    """
    index = VamanaIndex(1, degree=2)
    index.add(np.arange(4, dtype=np.float32)[:, None])
    index._links.array[:] = [[1, -1], [2, -1], [3, -1], [0, -1]]
    index._entry = 3
    index.remove([1, 2])
    assert [index.links(row).tolist() for row in range(2)] == [[1], [0]]
    assert index.ids.tolist() == [0, 3]


def test_two_threads_build_a_whole_graph_that_finds_as_much() -> None:
    rng = np.random.default_rng(9)
    vectors, queries = rng.normal(size=(2, 3000, 12)).astype(np.float32)
    exact = FlatIndex(12)
    exact.add(vectors)
    truth = exact.search(queries[:200], 10).scores
    found = []
    for threads in (1, 2):
        index = HNSWIndex(12, m=8, ef_construction=60, ef_search=30)
        index.threads = threads
        index.add(vectors)
        check_whole(index)
        found.append(recall(index.search(queries[:200], 10), truth).mean())
    assert found[1] > found[0] - 0.01

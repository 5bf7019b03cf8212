"""Figures, labs and values of lesson 10.3: cells, codes, and a walk through a graph."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np

from teachllm.school.figures import (
    Bars,
    Both,
    Choice,
    Event,
    Lines,
    Metric,
    Points,
    Predict,
    Progress,
    Sample,
    Say,
    Show,
    Slider,
    Table,
    Text,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import model, tokenizer
from teachllm.stack.retrieval.hits import Hits
from teachllm.stack.retrieval.indexes import (
    FlatIndex,
    HNSWIndex,
    InvertedFileIndex,
    VectorIndex,
    layered_graph,
    make_index,
    recall,
)
from teachllm.stack.retrieval.indexes.kmeans import kmeans, nearest_centroids
from teachllm.stack.retrieval.indexes.layered_graph import LayeredGraph, draw_levels, select_neighbours
from teachllm.stack.retrieval.indexes.product_quantizer import ProductQuantizer, adc_search, adc_tables
from teachllm.stack.retrieval.indexes.scalar_quantizer import ScalarQuantizer

K = 10


# ---------------------------------------------------------------- cells


@functools.cache
def plane() -> np.ndarray:
    """400 points in the plane, some of them in clusters."""
    rng = np.random.default_rng(3)
    centres = rng.uniform(-1, 1, size=(12, 2))
    points = centres[rng.integers(12, size=400)] + 0.16 * rng.normal(size=(400, 2))
    return points.astype(np.float32)


@functools.cache
def cells(n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Centroids, and the cell of each point."""
    centroids = kmeans(plane(), n_cells, seed=1)
    return centroids, nearest_centroids(plane(), centroids)


def squared(points: np.ndarray, query: np.ndarray) -> np.ndarray:
    return ((points - query) ** 2).sum(-1)


def query_in_the_plane(angle: float) -> np.ndarray:
    turn = math.radians(angle)
    return np.array([0.55 * math.cos(turn), 0.55 * math.sin(turn)], dtype=np.float32)


def probe(angle: float, n_cells: int, n_probe: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Which points were compared, the true nearest, which of those were found, and the number of distances."""
    centroids, cell = cells(n_cells)
    query = query_in_the_plane(angle)
    visited = np.argsort(squared(centroids, query), kind="stable")[:n_probe]
    compared = np.isin(cell, visited)
    nearest = np.argsort(squared(plane(), query), kind="stable")[:K]
    return compared, nearest, nearest[compared[nearest]], n_cells + int(compared.sum())


BORDER = 60.0


@figure(
    title=Both("只看几个格子", "Looking into a few cells only"),
    predict=Predict(
        Both(
            "查询点站在几个格子的交界处。只看最近的 1 个格子，真正最近的 10 个点能找到几个？",
            "The query stands where cells meet. With only the nearest cell, how many of the 10 truly nearest points are found?",
        ),
        low=0,
        high=10,
        step=1,
        answer=lambda: len(probe(BORDER, 16, 1)[2]),
        explain=lambda: Both(
            f"{len(probe(BORDER, 16, 1)[2])} 个。邻居不管格子的边界；剩下的在旁边的格子里。看 3 个格子，找到 {len(probe(BORDER, 16, 3)[2])} 个。",
            f"{len(probe(BORDER, 16, 1)[2])}. Neighbours do not care about borders; the others lie in the cells beside. With 3 cells, "
            f"{len(probe(BORDER, 16, 3)[2])} are found.",
        ),
    ),
)
def cells_probed(
    angle: Annotated[
        float, Slider(0, 355, step=5, label=Both("查询点在哪个方向", "where the query is"), unit="°")
    ] = BORDER,
    n_cells: Annotated[int, Slider(4, 32, step=4, label=Both("格子数 K", "cells K"))] = 16,
    n_probe: Annotated[int, Slider(1, 8, label=Both("看几个格子 n_probe", "cells looked into, n_probe"))] = 1,
) -> list[Points | Text]:
    n_probe = min(n_probe, n_cells)
    compared, nearest, found, distances = probe(angle, n_cells, n_probe)
    query, missed = query_in_the_plane(angle), set(nearest.tolist()) - set(found.tolist())
    groups = {
        "other": Both("没看", "not looked at"),
        "compared": Both("比过", "compared"),
        "found": Both("真正的邻居，找到了", "true neighbour, found"),
        "missed": Both("真正的邻居，漏了", "true neighbour, missed"),
        "centroid": Both("格子的中心", "centroid"),
        "query": Both("查询", "query"),
    }

    def group(i: int) -> Both:
        if i in missed:
            return groups["missed"]
        if i in set(found.tolist()):
            return groups["found"]
        return groups["compared" if compared[i] else "other"]

    points = [(float(x), float(y), None, group(i)) for i, (x, y) in enumerate(plane())]
    points += [(float(x), float(y), None, groups["centroid"]) for x, y in cells(n_cells)[0]]
    points.append((float(query[0]), float(query[1]), Both("查询", "query"), groups["query"]))
    return [
        Points(points),
        Text(
            Both(
                f"算了 {distances} 个距离：{n_cells} 个中心，加上 {distances - n_cells} 个点；逐个比要 {len(plane())} 个。"
                f"真正最近的 {K} 个里找到 {len(found)} 个，召回率 {len(found) / K:.1f}。",
                f"{distances} distances: {n_cells} centroids and {distances - n_cells} points; comparing with all takes {len(plane())}. "
                f"Of the {K} truly nearest, {len(found)} are found: a recall of {len(found) / K:.1f}.",
            )
        ),
    ]


@value
def ivf_cost(n: int = 1_000_000, n_cells: int = 4096, n_probe: int = 16) -> float:
    """Distances a query, if cells are equally full."""
    return n_cells + n * n_probe / n_cells


@value
def best_cells(n: int = 1_000_000, n_probe: int = 16) -> float:
    return math.sqrt(n_probe * n)


# ---------------------------------------------------------------- codes

HAND_QUERY = np.array([1.0, 0.0, 2.0, 2.0], dtype=np.float32)
HAND_BOOKS = np.array([[[0, 0], [1, 1], [2, 0]], [[0, 2], [2, 2], [3, 1]]], dtype=np.float32)
HAND_CODES = np.array([[1, 1], [2, 2], [0, 0]], dtype=np.uint8)


@value
def hand_table(part: int, code: int) -> float:
    """The table of the example worked out by hand."""
    return float(adc_tables(HAND_QUERY, HAND_BOOKS)[part, code])


@value
def hand_distance(row: int) -> float:
    numbers, distances = adc_search(HAND_QUERY, HAND_CODES, HAND_BOOKS, 3)
    return float(distances[numbers.tolist().index(row)])


@functools.cache
def clustered(n: int = 2500, d: int = 32, seed: int = 0) -> np.ndarray:
    """Vectors as embeddings are: in clusters, and varying more along some directions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(40, d)) * 1.5
    directions = np.random.default_rng(8).normal(size=(d, d)) * np.geomspace(1, 0.1, d)[:, None]
    points = centres[rng.integers(40, size=n)] + rng.normal(size=(n, d)) @ directions / 3
    return points.astype(np.float32)


@functools.cache
def coded(n_parts: int, residual: bool) -> tuple[float, float]:
    """The mean squared error of the codes as a share of the variance, and recall@10 of searching in them."""
    vectors, queries = clustered(), clustered(n=100, seed=1)
    base = np.zeros_like(vectors)
    if residual:
        centroids = kmeans(vectors, 32, seed=0)
        base = centroids[nearest_centroids(vectors, centroids)]
    quantizer = ProductQuantizer(vectors.shape[1], n_parts)
    quantizer.train(vectors - base, n_iterations=5)
    decoded = quantizer.decode(quantizer.encode(vectors - base)) + base
    error = ((decoded - vectors) ** 2).sum(1).mean() / vectors.var(0).sum()
    exact, approximate = FlatIndex(vectors.shape[1]), FlatIndex(vectors.shape[1])
    exact.add(vectors)
    approximate.add(decoded)
    true, found = exact.search(queries, K).ids, approximate.search(queries, K).ids
    return float(error), float(
        np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(true, found, strict=True)])
    )


PARTS = (2, 4, 8, 16)


@value
def code_error(n_parts: int, residual: bool = False) -> float:
    return coded(n_parts, residual)[0]


@value
def code_recall(n_parts: int, residual: bool = False) -> float:
    return coded(n_parts, residual)[1]


@figure(
    title=Both("几个字节写一个向量", "A vector in a few bytes"),
    predict=Predict(
        Both(
            "32 个 float32 是 128 字节。压成 4 字节的码，在码上搜，真正最近的 10 个还能找回多少（召回率）？",
            "32 numbers of float32 are 128 bytes. With codes of 4 bytes, searched as they are, what share of the 10 truly nearest is found?",
        ),
        low=0.0,
        high=1.0,
        step=0.01,
        answer=lambda: round(coded(4, False)[1], 2),
        explain=lambda: Both(
            f"{coded(4, False)[1]:.2f}。编残差（打开开关）是 {coded(4, True)[1]:.2f}：同样 4 个字节，只是编的东西变小了。",
            f"{coded(4, False)[1]:.2f}. Encoding residuals (the switch) gives {coded(4, True)[1]:.2f}: the same 4 bytes, for something smaller.",
        ),
    ),
)
def bytes_and_recall(
    residual: Annotated[
        str,
        Choice(
            [
                ("no", Both("向量本身", "the vector itself")),
                ("yes", Both("到格子中心的残差", "the residual to the cell's centroid")),
            ],
            label=Both("编的是什么", "what is encoded"),
        ),
    ] = "no",
) -> list[Bars]:
    labels = [Both(f"{m} 字节", f"{m} bytes") for m in PARTS]
    results = [coded(m, residual == "yes") for m in PARTS]
    return [
        Bars(
            labels,
            [error for error, _ in results],
            title=Both("误差占方差的比例", "error as a share of the variance"),
            y_max=0.7,
        ),
        Bars(labels, [found for _, found in results], title=Both("召回率@10", "recall@10"), y_max=1.0),
    ]


@value
def megabytes(kind: str, n: int = 1_000_000, d: int = 768) -> float:
    """Of n vectors in ``float32``, ``sq8``, ``pq64`` or of the links of ``hnsw16``, in 10^6 bytes."""
    return n * {"float32": 4 * d, "sq8": d, "pq64": 64, "hnsw16": 4 * 32}[kind] / 1e6


@value
def scalar_error() -> float:
    """The measured error of one byte a number, as a multiple of Δ²/12."""
    vectors = clustered()
    quantizer = ScalarQuantizer(vectors.shape[1])
    quantizer.train(vectors)
    _, step = quantizer.ranges()
    error = (quantizer.decode(quantizer.encode(vectors)) - vectors) ** 2
    return float((error.mean(0) / (step**2 / 12)).mean())


# ---------------------------------------------------------------- the graph

M_PLANE, EF_PLANE = 4, 24


@functools.cache
def plane_graph() -> LayeredGraph:
    """The readable HNSW over the points of the plane."""
    points = plane()
    graph = LayeredGraph(points, M_PLANE, EF_PLANE)
    levels = draw_levels(len(points), M_PLANE, seed=5)
    for node in np.argsort(-levels, kind="stable"):
        graph.insert(int(node), int(levels[node]))
    return graph


class Watched(Sequence[Sequence[int]]):
    """The links of a layer, which note in which order a walk follows them."""

    def __init__(self, links: list[list[int]]) -> None:
        self.links, self.followed = links, list[int]()

    def __getitem__(self, node: int) -> list[int]:  # type: ignore[override]
        self.followed.append(node)
        return self.links[node]

    def __len__(self) -> int:
        return len(self.links)


@functools.lru_cache(maxsize=512)
def walked(angle: float, ef: int) -> list[tuple[int, int, tuple[int, ...]]]:
    """The steps of a search: (layer, node followed, nodes that were met for the first time)."""
    graph, query = plane_graph(), query_in_the_plane(angle)
    current, steps = graph.entry, []
    for layer in range(len(graph.layers) - 1, -1, -1):
        watched = Watched(graph.layers[layer])
        found = layered_graph.search_layer(graph.vectors, watched, query, current, ef if layer == 0 else 1)
        met = {current}
        for node in watched.followed:
            new = tuple(other for other in graph.layers[layer][node] if other not in met)
            met.update(new)
            steps.append((layer, node, new))
        current = found[0][1]
    return steps


def compared_by_walk(angle: float, ef: int) -> int:
    return 1 + sum(len(new) for _, _, new in walked(angle, ef))


WALK = 40.0


@figure(
    title=Both("一个查询怎样走过图", "How a query walks through the graph"),
    predict=Predict(
        Both(
            f"图里有 {400} 个点。这次搜索（ef = 10）一共要和多少个点比距离？",
            f"The graph has {400} points. With how many of them does this search (ef = 10) compare the query?",
        ),
        low=0,
        high=400,
        step=5,
        answer=lambda: compared_by_walk(WALK, 10),
        explain=lambda: Both(
            f"{compared_by_walk(WALK, 10)} 个，在所有层里加起来。上面几层只走了几步，就到了附近。",
            f"{compared_by_walk(WALK, 10)}, in all layers together. A few steps in the upper layers brought it near.",
        ),
    ),
)
def walk_through(
    step: Annotated[int, Slider(1, 40, label=Both("走到第几步", "steps taken"))] = 14,
    angle: Annotated[
        float, Slider(0, 355, step=5, label=Both("查询点在哪个方向", "where the query is"), unit="°")
    ] = WALK,
    ef: Annotated[int, Slider(1, 20, label="ef")] = 10,
) -> list[Points | Text]:
    graph, query, steps = plane_graph(), query_in_the_plane(angle), walked(angle, ef)
    taken = steps[:step]
    layer, now, new = taken[-1]
    here = {node for node, links in enumerate(graph.layers[layer]) if links or node == graph.entry}
    before = {node for at, node, _ in taken[:-1] if at == layer}
    met = {other for at, _, some in taken[:-1] if at == layer for other in some}
    groups = {
        "other": Both("这一层的点", "nodes of this layer"),
        "met": Both("比过的", "compared"),
        "followed": Both("走过的", "followed"),
        "new": Both("这一步刚比的", "compared in this step"),
        "now": Both("正站在这里", "standing here"),
        "query": Both("查询", "query"),
    }

    def group(node: int) -> Both:
        for name, nodes in (("now", {now}), ("new", set(new)), ("followed", before), ("met", met)):
            if node in nodes:
                return groups[name]
        return groups["other"]

    points = [(float(graph.vectors[i, 0]), float(graph.vectors[i, 1]), None, group(i)) for i in sorted(here)]
    points.append((float(query[0]), float(query[1]), Both("查询", "query"), groups["query"]))
    compared = 1 + sum(len(some) for _, _, some in taken)
    over = step >= len(steps)
    return [
        Points(points, title=Both(f"第 {layer} 层，{len(here)} 个点", f"layer {layer}, {len(here)} nodes")),
        Text(
            Both(
                f"第 {len(taken)} 步，在第 {layer} 层，离查询 {math.sqrt(squared(graph.vectors[now], query)):.3f}；到现在比了 {compared} 个距离。"
                + (f"走完了：一共 {len(steps)} 步。" if over else ""),
                f"Step {len(taken)}, in layer {layer}, {math.sqrt(squared(graph.vectors[now], query)):.3f} from the query; {compared} distances so far. "
                + (f"The walk is over, after {len(steps)} steps." if over else ""),
            )
        ),
    ]


@value
def walk_counts(what: str) -> int:
    """Of the walk in the figure: ``steps``, ``distances``, ``layers``."""
    steps = walked(WALK, 10)
    return {
        "steps": len(steps),
        "distances": compared_by_walk(WALK, 10),
        "layers": len(plane_graph().layers),
    }[what]


@functools.cache
def two_clusters() -> np.ndarray:
    """A node at the origin, a dense cluster near it on the right, a few points elsewhere."""
    rng = np.random.default_rng(4)
    right = np.array([0.6, 0.1]) + 0.12 * rng.normal(size=(14, 2))
    others = np.array([[-0.9, 0.3], [-1.1, -0.2], [0.1, -1.0], [0.2, 1.1], [-0.2, 1.2], [0.0, -1.3]])
    return np.concatenate([[[0.0, 0.0]], right, others]).astype(np.float32)


@figure(title=Both("新来的点，和谁连", "Which links a new node gets"))
def neighbours_chosen(
    m: Annotated[int, Slider(2, 8, label=Both("最多几条边 M", "links at most, M"))] = 4,
    how: Annotated[
        str,
        Choice(
            [
                ("diverse", Both("挑方向不同的", "in different directions")),
                ("nearest", Both("只挑最近的", "the nearest only")),
            ],
            label=Both("怎么挑", "how"),
        ),
    ] = "diverse",
) -> list[Points | Text]:
    points = two_clusters()
    found = sorted((float(squared(points[i], points[0])), i) for i in range(1, len(points)))
    if how == "nearest":
        chosen = [node for _, node in found[:m]]
    else:
        chosen = select_neighbours(found, lambda a, b: float(squared(points[a], points[b])), m)
    names = {
        "new": Both("新点", "the new node"),
        "chosen": Both("连上的", "linked"),
        "left": Both("没连的", "not linked"),
    }
    drawn = [
        (float(x), float(y), None, names["new" if i == 0 else "chosen" if i in chosen else "left"])
        for i, (x, y) in enumerate(points)
    ]
    inside = sum(1 <= node <= 14 for node in chosen)
    return [
        Points(drawn),
        Text(
            Both(
                f"{len(chosen)} 条边，其中 {inside} 条通向右边那一团，{len(chosen) - inside} 条通向别处。",
                f"{len(chosen)} links, {inside} into the cluster on the right and {len(chosen) - inside} elsewhere.",
            )
        ),
    ]


@figure(title=Both("每层站着多少点", "How many nodes stand in each layer"))
def layer_sizes(
    m: Annotated[int, Slider(2, 32, label="M")] = 16,
    n: Annotated[
        int,
        Choice(
            [(1000, Both("一千", "1,000")), (100_000, Both("十万", "100,000"))],
            label=Both("多少个向量", "vectors"),
        ),
    ] = 100_000,
) -> Lines:
    levels = draw_levels(n, m, seed=0)
    layers = range(int(levels.max()) + 1)
    return Lines(
        {
            Both("抽签抽出来的", "as drawn"): (
                list(layers),
                [int((levels >= layer).sum()) for layer in layers],
            ),
            Both("n / M 的 l 次方", "n / M to the l"): (list(layers), [n / m**layer for layer in layers]),
        },
        x_label=Both("第几层", "layer"),
        y_label=Both("点数", "nodes"),
        y_log=True,
    )


# ---------------------------------------------------------------- the labs


@functools.cache
def token_vectors(n: int) -> np.ndarray:
    """Embeddings of tokens of the course's model, of length 1: the first n that begin a word of letters."""
    table = model().embedding.weight.detach().numpy()
    texts = (tokenizer().decode([token]) for token in range(len(table)))
    chosen = [
        token for token, text in enumerate(texts) if len(text) > 3 and text[0] == " " and text[1:].isalpha()
    ]
    rows = table[chosen[:n]].astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def timed_search(index: VectorIndex, queries: np.ndarray) -> tuple[Hits, float]:
    """The hits, and microseconds a query: the best of five runs."""
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        hits = index.search(queries, K)
        best = min(best, time.perf_counter() - start)
    return hits, best / len(queries) * 1e6


def share_found(hits: Hits, true: Hits, by_codes: bool) -> float:
    """Recall. The scores of codes are not exact, so there it goes by ids."""
    if by_codes:
        return float(
            np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(hits.ids, true.ids, strict=True)])
        )
    return float(recall(hits, true.scores).mean())


@lab(
    title=Both("四种索引，同一批向量", "Four indexes over the same vectors"),
    seconds=30,
    summary=Both(
        "建四种索引，把“每个查询花多少时间”和“找回多少”画在一张图上。",
        "Four indexes are built; time a query is drawn against the share of neighbours found.",
    ),
)
def race(
    source: Annotated[
        str,
        Choice(
            [
                ("clusters", Both("成团的 64 维向量", "clustered, 64 numbers")),
                (
                    "tokens",
                    Both("课程小模型的词嵌入，576 维", "token embeddings of the course's model, 576 numbers"),
                ),
            ],
            label=Both("向量", "vectors"),
        ),
    ] = "clusters",
    n: Annotated[int, Slider(4000, 40000, step=4000, label=Both("多少个", "how many"))] = 20000,
) -> Iterator[Event]:
    if source == "tokens":
        yield Progress(0, 4, Both("读词嵌入", "reading the token embeddings"))
        vectors = token_vectors(min(n, 12000) + 200)
        stored, queries, parts = vectors[:-200], vectors[-200:], 64
    else:
        stored, queries, parts = clustered(n=n, d=64), clustered(n=200, d=64, seed=1), 16
    exact = FlatIndex(stored.shape[1])
    exact.add(stored)
    true, micros = timed_search(exact, queries)
    labels = {
        "x_label": Both("每个查询几微秒", "µs a query"),
        "y_label": Both("召回率@10", "recall@10"),
    }
    yield Sample("Flat", x=micros, y=1.0, **labels)
    n_cells = round(math.sqrt(len(stored)))
    probes, kept = (1, 2, 4, 8, 16, 32), (10, 16, 32, 64, 128, 256)
    settings = {f"IVF{n_cells},Flat": probes, f"IVF{n_cells},PQ{parts}": probes, "HNSW16": kept}
    rows = [["Flat", "0.00", f"{exact.n_bytes / len(exact):.0f}"]]
    columns = [
        Both("索引", "index"),
        Both("建立（秒）", "to build (s)"),
        Both("每个向量几字节", "bytes a vector"),
    ]
    for done, (name, values) in enumerate(settings.items(), start=1):
        yield Progress(done, 4, Both(f"建 {name}", f"building {name}"))
        index = make_index(name, stored.shape[1])
        start = time.perf_counter()
        index.train(stored)
        index.add(stored)
        rows.append([name, f"{time.perf_counter() - start:.2f}", f"{index.n_bytes / len(index):.0f}"])
        yield Show("costs", Table(columns, rows, title=Both("代价", "costs")))
        for setting in values:
            if isinstance(index, HNSWIndex):
                index.ef_search = setting
            elif isinstance(index, InvertedFileIndex):
                index.n_probe = setting
            hits, micros = timed_search(index, queries)
            yield Sample(name, x=micros, y=share_found(hits, true, "PQ" in name), **labels)
    yield Progress(4, 4)


@lab(
    title=Both("用你写的走法搜", "Search with the walk that you wrote"),
    seconds=10,
    summary=Both(
        "用你的 search_layer 建一张分层图，再用它搜，和逐个比对。",
        "Your search_layer builds a layered graph and searches it; compared with comparing everything.",
    ),
)
def your_walk(
    n: Annotated[int, Slider(200, 1000, step=100, label=Both("多少个向量", "vectors"))] = 500,
    ef: Annotated[int, Slider(10, 60, step=10, label="ef")] = 30,
) -> Iterator[Event]:
    vectors, queries = clustered(n=n, d=16), clustered(n=50, d=16, seed=1)
    levels = draw_levels(n, 8, seed=0)
    graph = LayeredGraph(vectors, 8, 40)
    for done, node in enumerate(np.argsort(-levels, kind="stable"), start=1):
        graph.insert(int(node), int(levels[node]))
        if done % 50 == 0:
            yield Progress(done, n, Both("插入", "inserting"))
    exact = FlatIndex(16)
    exact.add(vectors)
    true = exact.search(queries, K)
    found = [graph.search(query, K, ef) for query in queries]
    right = [
        len({node for _, node in one} & set(row.tolist())) / K
        for one, row in zip(found, true.ids, strict=True)
    ]
    yield Metric(Both("召回率@10", "recall@10"), float(np.mean(right)))
    yield Show(
        "found",
        Table(
            [Both("名次", "rank"), Both("你的走法", "your walk"), Both("逐个比", "comparing all")],
            [
                [str(i + 1), str(one[1]), str(int(other))]
                for i, (one, other) in enumerate(zip(found[0], true.ids[0], strict=False))
            ],
            title=Both("一个查询的结果", "what one query found"),
        ),
    )
    if np.mean(right) < 0.8:
        yield Say(
            Both(
                "召回率偏低：走得太早停了，或者没有总是先走最近的那个点。",
                "That is low: the walk stops too early, or does not always go on from the nearest node.",
            )
        )

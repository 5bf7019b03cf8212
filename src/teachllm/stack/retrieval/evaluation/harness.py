"""A search on a collection: how good its answers are, how long they take, what the index costs.

Any search can be measured that takes texts and gives `Hits` whose ids are places in the list of documents.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, quantiles

from teachllm.stack.retrieval.evaluation.collection import JudgedCollection
from teachllm.stack.retrieval.evaluation.metrics import (
    average_precision,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)
from teachllm.stack.retrieval.evaluation.significance import paired_randomization_test
from teachllm.stack.retrieval.fusion import TextSearcher

DEPTH = 100
TIMED = 200
"""Queries that are asked one by one for their latency."""

Measure = Callable[[Sequence[str], Mapping[str, int]], float]

MEASURES: dict[str, Measure] = {
    "nDCG@10": lambda ranked, judged: ndcg(ranked, judged, 10),
    "MRR@10": lambda ranked, judged: reciprocal_rank(ranked, judged, 10),
    "MAP@100": lambda ranked, judged: average_precision(ranked, judged, 100),
    "recall@10": lambda ranked, judged: recall(ranked, judged, 10),
    "recall@100": lambda ranked, judged: recall(ranked, judged, 100),
    "precision@10": lambda ranked, judged: precision(ranked, judged, 10),
}


@dataclass(frozen=True)
class Measured:
    """What a search did on a collection."""

    name: str
    scores: Mapping[str, Sequence[float]]
    """For each of `MEASURES` one score a query, in the order of the collection's queries."""
    build_seconds: float
    n_bytes: int
    queries_per_second: float
    """All queries in one call."""
    median_seconds: float
    """Of a query alone; 95 of 100 take at most `p95_seconds`."""
    p95_seconds: float

    def mean(self, measure: str) -> float:
        return fmean(self.scores[measure])


def measure(
    name: str,
    collection: JudgedCollection,
    build: Callable[[Sequence[str]], TextSearcher],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Build an index of the collection's documents, ask it all queries, and then some again one by one.

    A query without a hit counts as 0. The first query is asked once before anything is timed, so that loading
    and compiling do not count.
    """
    ids, queries = list(collection.documents), list(collection.queries.values())
    start = clock()
    searcher = build(list(collection.documents.values()))
    build_seconds = clock() - start
    searcher.search(queries[:1], DEPTH)
    start = clock()
    hits = searcher.search(queries, DEPTH)
    batch_seconds = clock() - start
    taken = []
    for query in queries[:TIMED]:
        start = clock()
        searcher.search([query], DEPTH)
        taken.append(clock() - start)
    scores: dict[str, list[float]] = {name: [] for name in MEASURES}
    for row, query_id in enumerate(collection.queries):
        ranked = [ids[place] for place, _ in hits.of(row)]
        for name_of_measure, one in MEASURES.items():
            scores[name_of_measure].append(one(ranked, collection.judged[query_id]))
    return Measured(
        name,
        scores,
        build_seconds,
        searcher.n_bytes,
        len(queries) / max(batch_seconds, 1e-9),
        median(taken),
        quantiles(taken, n=20, method="inclusive")[-1] if len(taken) > 1 else taken[0],
    )


def table(
    results: Sequence[Measured], *, measures: Sequence[str] = ("nDCG@10", "recall@100"), seed: int = 0
) -> str:
    """Lines to print, a search each. Behind each mean stands p, how likely luck alone would have it that far
    from the first search's: `paired_randomization_test`.
    """
    header = [
        "",
        *(column for one in measures for column in (one, "p")),
        "build s",
        "MB",
        "queries/s",
        "ms",
        "p95 ms",
    ]
    rows = [header]
    for result in results:
        row = [result.name]
        for one in measures:
            p = paired_randomization_test(results[0].scores[one], result.scores[one], seed=seed)
            row += [
                f"{result.mean(one):.3f}",
                "" if result is results[0] else f"{p:.3f}" if p >= 0.0005 else "< 0.001",
            ]
        row += [
            f"{result.build_seconds:.2f}",
            f"{result.n_bytes / 1e6:.1f}",
            f"{result.queries_per_second:,.0f}",
        ]
        row += [f"{1000 * seconds:.3f}" for seconds in (result.median_seconds, result.p95_seconds)]
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )

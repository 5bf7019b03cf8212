"""A language model compares two passages at a time, which it does better than grading one; sorting by
comparisons.

Qin et al. 2023, arXiv:2306.17563 (pairwise ranking prompting).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from teachllm.stack.retrieval.rerankers.asking import Judge

TASK = "Which passage answers the query better? Say 1 or 2, and nothing else."
Prefers = Callable[[int, int], float]
"""1 if the first of two places is better, 0 if the second is, ½ if neither."""
Sorting = Literal["all pairs", "heap", "sliding"]


@dataclass(frozen=True)
class PairwiseReranker:
    """A `Reranker` (pairwise). Each pair is asked in both orders: models favour a place. If the answers
    disagree, the pair is a tie.

    sorting: `all_pairs`, `heap_top` or `sliding_passes`. k: how many must be in order at the front, for the
    last two.
    """

    judge: Judge
    sorting: Sorting = "sliding"
    k: int = 10

    def scores(self, query: str, passages: Sequence[str]) -> Float32[np.ndarray, " passages"]:
        """Wins of each passage for "all pairs"; else how many places stand behind it."""

        def prefers(one: int, other: int) -> float:
            return self._compare(query, passages[one], passages[other])

        if self.sorting == "all pairs":
            return all_pairs(len(passages), prefers)
        by = heap_top if self.sorting == "heap" else sliding_passes
        order = by(len(passages), prefers, self.k)
        scores = np.empty(len(passages), dtype=np.float32)
        scores[order] = np.arange(len(passages) - 1, -1, -1)
        return scores

    def _compare(self, query: str, one: str, other: str) -> float:
        first = parse_choice(self.judge.ask(TASK, query, [one, other], max_tokens=8))
        second = parse_choice(self.judge.ask(TASK, query, [other, one], max_tokens=8))
        self.judge.spent.unusable += (first is None) + (second is None)
        wins = (first == 1) + (second == 2)
        losses = (first == 2) + (second == 1)
        return 0.5 if wins == losses else float(wins > losses)


def parse_choice(answer: str) -> int | None:
    """Which of two passages the answer names first.

    >>> parse_choice("Passage [2]."), parse_choice("both"), parse_choice("12")
    (2, None, None)
    """
    found = re.search(r"(?<!\d)[12](?!\d)", answer)
    return int(found[0]) if found else None


def all_pairs(n: int, prefers: Prefers) -> Float32[np.ndarray, " n"]:
    """How often each of n wins against the others; a tie is half a win. n (n − 1) / 2 comparisons, in any
    order.
    """
    wins = np.zeros(n, dtype=np.float32)
    for i in range(n):
        for j in range(i + 1, n):
            result = prefers(i, j)
            wins[i] += result
            wins[j] += 1 - result
    return wins


def sliding_passes(n: int, prefers: Prefers, k: int) -> list[int]:
    """Bubble sort from the back, k times: each pass brings the best of the rest to its place. Equal ones
    stay.

    About k · n comparisons, each with the one before: fine for a small k and an order that is nearly right.
    """
    order = list(range(n))
    for front in range(min(k, n - 1)):
        for place in range(n - 1, front, -1):
            if prefers(order[place], order[place - 1]) > 0.5:
                order[place - 1], order[place] = order[place], order[place - 1]
    return order


def heap_top(n: int, prefers: Prefers, k: int) -> list[int]:
    """The k best by a heap, then the rest as they were: about 2 n + 2 k log₂ n comparisons. With ties or a
    model that contradicts itself it is some order, and always ends.
    """
    heap = list(range(n))

    def sink(place: int) -> None:
        while (child := 2 * place + 1) < len(heap):
            if child + 1 < len(heap) and prefers(heap[child + 1], heap[child]) > 0.5:
                child += 1
            if prefers(heap[child], heap[place]) <= 0.5:
                return
            heap[place], heap[child] = heap[child], heap[place]
            place = child

    for place in range(n // 2 - 1, -1, -1):
        sink(place)
    best: list[int] = []
    while heap and len(best) < k:
        best.append(heap[0])
        last = heap.pop()
        if heap:
            heap[0] = last
            sink(0)
    return best + [place for place in range(n) if place not in set(best)]

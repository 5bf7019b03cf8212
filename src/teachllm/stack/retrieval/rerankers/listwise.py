"""A language model puts a list in order: windows of it from the back to the front, so that the best rise.

Sun et al. 2023, arXiv:2304.09542 (RankGPT).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from teachllm.stack.retrieval.rerankers.asking import Judge


@dataclass(frozen=True)
class ListwiseReranker:
    """A `Reranker` (listwise). A window of w passages that moves by s carries its best w − s on to the next
    one.

    passages: `window` of them in one question, which must fit the model's context.
    """

    judge: Judge
    window: int = 20
    step: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.step <= self.window or self.window < 2:
            raise ValueError(
                f"window is {self.window}, step {self.step}; give 2 or more, and a step from 1 to that"
            )

    def scores(self, query: str, passages: Sequence[str]) -> Float32[np.ndarray, " passages"]:
        """How many places stand behind each passage."""
        order = list(range(len(passages)))
        for begin, end in windows(len(passages), self.window, self.step):
            inside = order[begin:end]
            order[begin:end] = [
                inside[place] for place in self._permutation(query, [passages[i] for i in inside])
            ]
        scores = np.empty(len(passages), dtype=np.float32)
        scores[order] = np.arange(len(passages) - 1, -1, -1)
        return scores

    def _permutation(self, query: str, passages: Sequence[str]) -> list[int]:
        n = len(passages)
        task = (
            f"Put passages [1] to [{n}] in order, the best answer to the query first: [2] > [1] > … "
            "Say nothing else."
        )
        order, repaired = repaired_permutation(self.judge.ask(task, query, passages, max_tokens=8 + 6 * n), n)
        self.judge.spent.unusable += repaired
        return order


def windows(n: int, window: int, step: int) -> list[tuple[int, int]]:
    """(begin, end) of each window, from the back; the last one begins at 0.

    >>> windows(10, window=4, step=2)
    [(6, 10), (4, 8), (2, 6), (0, 4)]
    """
    found = []
    end = n
    while end > 0 and n > 1:
        begin = max(0, end - window)
        found.append((begin, end))
        if begin == 0:
            break
        end -= step
    return found


def repaired_permutation(answer: str, n: int) -> tuple[list[int], bool]:
    """The order that an answer means, as places from 0, and whether it had to be repaired.

    Numbers that are no passage, or that come again, are dropped; passages that are missing follow in the
    order that they had.

    >>> repaired_permutation("[3] > [1] > [3] > [9]", 3)
    ([2, 0, 1], True)
    """
    named = [int(number) - 1 for number in re.findall(r"\d{1,6}", answer)]
    order = [place for place in dict.fromkeys(named) if 0 <= place < n]
    return order + [place for place in range(n) if place not in set(order)], named != order or len(order) < n

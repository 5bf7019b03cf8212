"""A language model grades each passage alone: n questions for n passages, and any number of them at the
same time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from teachllm.stack.retrieval.rerankers.asking import Judge

BEST = 10
TASK = (
    f"How well does passage [1] answer the query? Say one whole number from 0 (not at all) to {BEST} "
    "(completely), and nothing else."
)


@dataclass(frozen=True)
class GradingReranker:
    """A `Reranker` (pointwise). Grades are coarse: many passages get the same one and keep the order they
    came in.
    """

    judge: Judge

    def scores(self, query: str, passages: Sequence[str]) -> Float32[np.ndarray, " passages"]:
        """Grades from 0 to 10; 0 where the answer has none, which `judge.spent.unusable` counts."""
        return np.array([self._grade(query, passage) for passage in passages], dtype=np.float32)

    def _grade(self, query: str, passage: str) -> float:
        grade = parse_grade(self.judge.ask(TASK, query, [passage], max_tokens=8))
        if grade is None:
            self.judge.spent.unusable += 1
        return float(grade or 0)


def parse_grade(answer: str) -> int | None:
    """The first whole number that is a grade.

    >>> parse_grade("7/10"), parse_grade("I would say 11."), parse_grade("")
    (7, None, None)
    """
    found = re.search(r"(?<![\d.])\d+(?!\d|\.\d)", answer)
    return int(found[0]) if found and int(found[0]) <= BEST else None

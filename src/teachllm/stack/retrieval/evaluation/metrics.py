"""What a ranking is worth, when one knows which documents answer the query. The numbers of `trec_eval`.

A ranking is the ids of what was found, best first; `judged` says how relevant documents are: 0 is not, and
what is not judged counts as 0.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Id = TypeVar("Id", bound=Hashable)


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Ids by falling score, in single precision; of equal ones the id that is last in the alphabet first.

    That is how `trec_eval` breaks ties: by something that has nothing to do with the order in which they were
    found, so that a search gains nothing by the order in which it lists what it cannot tell apart.
    """
    return sorted(scores, key=lambda key: (np.float32(scores[key]), key), reverse=True)


def recall(ranked: Sequence[Id], judged: Mapping[Id, int], k: int) -> float:
    """Share of the relevant documents that are among the first k; 0 if none is relevant."""
    relevant = _relevant(judged)
    return _found(ranked, relevant, k) / len(relevant) if relevant else 0.0


def precision(ranked: Sequence[Id], judged: Mapping[Id, int], k: int) -> float:
    """Share of the first k places that hold a relevant document; places that are empty count too."""
    return _found(ranked, _relevant(judged), k) / k


def reciprocal_rank(ranked: Sequence[Id], judged: Mapping[Id, int], k: int | None = None) -> float:
    """1 / rank of the first relevant document; 0 if there is none in the first k. Its mean over queries is
    MRR.
    """
    relevant = _relevant(judged)
    for rank, key in enumerate(ranked[:k], 1):
        if key in relevant:
            return 1 / rank
    return 0.0


def average_precision(ranked: Sequence[Id], judged: Mapping[Id, int], k: int | None = None) -> float:
    """Mean over the relevant documents of the precision at the rank of each; one that is not in the first k
    brings 0. Its mean over queries is MAP.
    """
    relevant = _relevant(judged)
    found, total = 0, 0.0
    for rank, key in enumerate(ranked[:k], 1):
        if key in relevant:
            found += 1
            total += found / rank
    return total / len(relevant) if relevant else 0.0


def ndcg(ranked: Sequence[Id], judged: Mapping[Id, int], k: int | None = None) -> float:
    """Σ gain / log₂(rank + 1) over the first k, divided by what the best order of all judged documents has.

    The gain is the judged relevance itself, as in `trec_eval` and BEIR, not 2^relevance − 1; a negative one
    is 0. Järvelin and Kekäläinen 2002. 0 if none is relevant.
    """
    ideal = _discounted(sorted(judged.values(), reverse=True)[:k])
    return _discounted([judged.get(key, 0) for key in ranked[:k]]) / ideal if ideal else 0.0


def _discounted(gains: Sequence[int]) -> float:
    return sum(max(gain, 0) / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _relevant(judged: Mapping[Id, int]) -> set[Id]:
    return {key for key, relevance in judged.items() if relevance > 0}


def _found(ranked: Sequence[Id], relevant: set[Id], k: int) -> int:
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    return sum(key in relevant for key in ranked[:k])

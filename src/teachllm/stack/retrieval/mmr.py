"""Maximal marginal relevance: passages that answer, and that do not say the same thing again."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64


def maximal_marginal_relevance(
    relevance: Float[np.ndarray, " passages"],
    similarity: Float[np.ndarray, "passages passages"],
    k: int,
    trade_off: float = 0.7,
) -> Int64[np.ndarray, " chosen"]:
    """The places of k passages, one after the other, each with the largest λ · relevance − (1 − λ) · max
    similarity to those already chosen.

    trade_off λ: 1 sorts by relevance alone, 0 goes for what is least like the chosen. Both should have one
    scale, such as cosines. Equal ones are taken in their order. Carbonell & Goldstein 1998. ValueError for
    shapes that do not fit, k below 1, or λ outside 0 to 1.
    """
    n = len(relevance)
    if similarity.shape != (n, n) or k < 1 or not 0 <= trade_off <= 1:
        raise ValueError(
            f"relevance {relevance.shape}, similarity {similarity.shape}, k = {k}, "
            f"trade_off = {trade_off}: give n and n × n numbers, k of at least 1, and a trade-off from 0 to 1"
        )
    chosen: list[int] = []
    closest = np.zeros(n)
    left = np.ones(n, dtype=np.bool_)
    while len(chosen) < min(k, n):
        gain = np.where(left, trade_off * relevance - (1 - trade_off) * closest, -np.inf)
        best = int(gain.argmax())
        left[best] = False
        closest = similarity[best].copy() if not chosen else np.maximum(closest, similarity[best])
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)

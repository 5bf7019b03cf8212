"""How many of the true neighbours a search found, so that ties cost nothing."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from teachllm.stack.retrieval.hits import NO_DOCUMENT, Hits

TOLERANCE = 1e-5
"""Relative: sums of float32 taken in another order differ by less."""


def recall(
    found: Hits,
    true_scores: Float32[np.ndarray, "queries k"],
) -> Float[np.ndarray, " queries"]:
    """The share of each query's k places that hold something as good as the true k-th neighbour.

    true_scores: what an exact search gave for the k nearest, best first. Where several vectors are equally
    far, each is as right as the others; comparing ids would count all but one of them as misses. The scores
    of `found` must be exact too: those of codes are not.
    """
    k = true_scores.shape[1]
    if found.scores.shape[1] < k:
        raise ValueError(f"recall at {k} needs {k} hits a query, and {found.scores.shape[1]} were given")
    threshold = true_scores[:, -1:]
    # Rounding errors grow with the numbers that were added up, not with what they came to.
    slack = TOLERANCE * np.maximum(np.abs(true_scores).max(1, keepdims=True), np.finfo(np.float32).tiny)
    good = (found.scores[:, :k] >= threshold - slack) & (found.ids[:, :k] != NO_DOCUMENT)
    return good.mean(1)

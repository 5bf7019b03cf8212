"""Two orders and two groupings of the same things: how far they agree.

Embeddings are judged by such numbers where nothing is searched: similarity tasks (STS) by Spearman's
correlation between cosines and what people said, clustering by the V-measure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float


def ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 for the smallest; equal values share the mean of their places."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[which]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's correlation of the ranks: 1 when both order alike, −1 when one is the other reversed. Only
    the order counts: a cosine that is always too high loses nothing.

    NaN if all values of one are equal, which orders nothing. ValueError for different lengths, fewer than
    two, or NaN among them.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(
            f"two rows of equal length are needed, of at least 2 values; got {x.shape} and {y.shape}"
        )
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("there is NaN among the values; it has no rank")
    x, y = ranks(x), ranks(y)
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else math.nan


def v_measure(labels: Sequence[Hashable], clusters: Sequence[Hashable]) -> float:
    """How far clusters match labels: the harmonic mean of homogeneity, 1 − H(labels | clusters) / H(labels),
    and completeness, the same the other way round. From 0 to 1, whatever the clusters are called.

    Rosenberg and Hirschberg 2007. Where all labels are equal, homogeneity is 1; so with clusters. ValueError
    for different lengths or none.
    """
    if len(labels) != len(clusters) or not labels:
        raise ValueError(
            f"{len(labels)} labels and {len(clusters)} clusters; give as many of each, at least one"
        )
    h_labels, h_clusters = _entropy(labels), _entropy(clusters)
    h_both = _entropy(list(zip(labels, clusters, strict=True)))
    homogeneity = 1 - (h_both - h_clusters) / h_labels if h_labels else 1.0
    completeness = 1 - (h_both - h_labels) / h_clusters if h_clusters else 1.0
    total = homogeneity + completeness
    return 2 * homogeneity * completeness / total if total > 1e-12 else 0.0


def _entropy(values: Sequence[Hashable]) -> float:
    n = len(values)
    return -sum(count / n * math.log(count / n) for count in Counter(values).values())

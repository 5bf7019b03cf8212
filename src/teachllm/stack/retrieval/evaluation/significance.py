"""Is the difference between two searches more than luck with these queries?

Both searches answer the same queries, so their scores are compared query by query. Smucker, Allan and
Carterette 2007, "A comparison of statistical significance tests for information retrieval evaluation".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BATCH = 1 << 20  # random signs at once


def paired_randomization_test(
    a: Sequence[float], b: Sequence[float], *, seed: int = 0, n_samples: int = 10_000
) -> float:
    """p: how often the means would differ at least as much if each query's two scores were swapped by a coin.

    Two-sided, and counting the observed one among the samples, so that p is never 0 (Phipson and Smyth 2010).
    ValueError for different numbers of scores, or none.
    """
    differences = _paired(a, b)
    observed = abs(differences.sum())
    generator = np.random.default_rng(seed)
    n_extreme, left = 0, n_samples
    while left:
        n = min(left, max(1, BATCH // len(differences)))
        signs = generator.integers(0, 2, size=(n, len(differences)), dtype=np.int8) * 2 - 1
        # A little less than observed, as sums of the same numbers in another order differ in the last bits.
        n_extreme += int((np.abs(signs @ differences) >= observed * (1 - 1e-9)).sum())
        left -= n
    return (n_extreme + 1) / (n_samples + 1)


def bootstrap_interval(
    scores: Sequence[float], *, seed: int = 0, n_samples: int = 10_000, confidence: float = 0.95
) -> tuple[float, float]:
    """Between which values the mean lies when as many queries are drawn anew, with replacement, again and
    again.

    The percentile interval of Efron 1979. For a difference of two searches, give the differences. ValueError
    for no scores, or a confidence outside of 0 to 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or not 0 < confidence < 1:
        raise ValueError(
            f"{len(values)} scores and a confidence of {confidence}; needed are some, and 0 to 1"
        )
    generator = np.random.default_rng(seed)
    means = np.empty(n_samples)
    step = max(1, BATCH // len(values))
    for start in range(0, n_samples, step):
        n = min(step, n_samples - start)
        means[start : start + n] = values[generator.integers(0, len(values), size=(n, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _paired(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} scores and {len(b)}; give one of each for every query, at least one")
    return np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)

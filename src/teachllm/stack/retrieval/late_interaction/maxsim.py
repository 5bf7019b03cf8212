"""MaxSim: each token of the query looks for the token of the passage that is most like it.

    score(q, p) = Σ_i max_j q_i · p_j

Khattab & Zaharia 2020, arXiv:2004.12832 (ColBERT), equation 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor


def maxsim(query: Float[np.ndarray, "q d"], passage: Float[np.ndarray, "p d"]) -> float:
    """Of one pair, as the formula says it. −∞ for a passage without tokens, 0 for a query without."""
    if not len(query):
        return 0.0
    return float((query @ passage.T).max(axis=1).sum()) if len(passage) else float("-inf")


def maxsim_scores(
    query: Float32[np.ndarray, "q d"], tokens: Float32[np.ndarray, "total d"], lengths: Sequence[int]
) -> Float32[np.ndarray, " passages"]:
    """`maxsim` of one query with many passages, whose tokens lie end to end: one product for all of them.

    lengths: of the passages; their sum is `total`, else ValueError.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if sizes.sum() != len(tokens):
        raise ValueError(f"{len(tokens)} tokens were given for passages of {sizes.sum()} together")
    scores = np.full(len(sizes), -np.inf, dtype=np.float32)
    there = np.flatnonzero(sizes)
    if len(there) and len(query):
        begins = (sizes.cumsum() - sizes)[there]
        # Rows are tokens of passages, so the maxima of a passage run down its rows.
        scores[there] = np.maximum.reduceat(tokens @ query.T, begins, axis=0).sum(axis=1)
    elif not len(query):
        scores[:] = 0.0
    return scores


def maxsim_matrix(
    queries: Sequence[Float[Tensor, "_ d"]], passages: Sequence[Float[Tensor, "_ d"]]
) -> Float[Tensor, "query passage"]:
    """Every query with every passage, with gradients: what training compares. Each has at least one token."""
    together = torch.cat(list(queries)) @ torch.cat(list(passages)).T
    best = [part.max(dim=1).values for part in together.split([len(one) for one in passages], dim=1)]
    by_passage = torch.stack(best, dim=1)
    return torch.stack([part.sum(dim=0) for part in by_passage.split([len(one) for one in queries])])

"""Softmax in pieces: what a row of scores adds up to can be carried from block to block, and merged exactly.

Attention is Σ_j e^{s_j} v_j / Σ_j e^{s_j}, with a score s_j and a value v_j for each key. Of the keys seen so
far, three things are enough to go on, however many they were:

    m     = max_j s_j              the largest score
    total = Σ_j e^{s_j − m}        the denominator, relative to m (ℓ in the papers)
    acc   = Σ_j e^{s_j − m} v_j    the numerator, relative to m

A new maximum changes what they are relative to: multiplying by e^{m_old − m_new} moves them there. So blocks
of keys can be added one after another (`update_softmax`), or apart from each other and merged
(`merge_softmax`), in any order and grouping.

Milakov & Gimelshein 2018, arXiv:1805.02867; for attention, Dao et al. 2022, arXiv:2205.14135, section 3.1.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

SoftmaxState: TypeAlias = tuple[
    Float[Tensor, "*batch query"], Float[Tensor, "*batch query"], Float[Tensor, "*batch query d_v"]
]
"""(m, total, acc). A query that has seen no key, or only keys with a score of −∞, has (−∞, 0, 0)."""


def empty_state(
    queries: tuple[int, ...],
    d_v: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SoftmaxState:
    """No key seen, for queries of shape (*batch, query): merging it changes nothing."""
    m = torch.full(queries, -math.inf, dtype=dtype, device=device)
    return m, torch.zeros_like(m), torch.zeros(*queries, d_v, dtype=dtype, device=device)


def softmax_state(
    scores: Float[Tensor, "*batch query key"],
    values: Float[Tensor, "*batch key d_v"],
    kept: Float[Tensor, "*batch query key"] | None = None,
) -> SoftmaxState:
    """One block of keys by itself. A score of −∞ is a key that may not be seen.

    kept: what each weight is multiplied by on its way into the numerator alone; dropout gives 0 or 1/(1 − p).
    """
    m = scores.amax(dim=-1)
    weights = torch.exp(scores - finite(m).unsqueeze(-1))
    total = weights.sum(dim=-1)
    return m, total, (weights if kept is None else weights * kept) @ values


def merge_softmax(a: SoftmaxState, b: SoftmaxState) -> SoftmaxState:
    """The state (m, total, acc) of all keys of `a` and `b` together.

    m = max(m_a, m_b);  total = e^{m_a − m} total_a + e^{m_b − m} total_b;  acc likewise. m and total are
    (*batch, query), acc is (*batch, query, d_v). Associative and commutative, up to rounding. A side that has
    seen no key is (−∞, 0, 0); two such sides give (−∞, 0, 0) again, not NaN.

    Dao et al. 2022, arXiv:2205.14135, section 3.1.
    """
    m_a, total_a, acc_a = a
    m_b, total_b, acc_b = b
    m = torch.maximum(m_a, m_b)
    scale_a, scale_b = torch.exp(m_a - finite(m)), torch.exp(m_b - finite(m))
    total = scale_a * total_a + scale_b * total_b
    acc = scale_a.unsqueeze(-1) * acc_a + scale_b.unsqueeze(-1) * acc_b
    return m, total, acc


def update_softmax(
    state: SoftmaxState,
    scores: Float[Tensor, "*batch query key"],
    values: Float[Tensor, "*batch key d_v"],
    kept: Float[Tensor, "*batch query key"] | None = None,
) -> SoftmaxState:
    """The state after one more block of keys: `merge_softmax(state, softmax_state(scores, values, kept))`.

    It relates the new weights to the common maximum from the start, so that only the old sums are rescaled.
    """
    m_old, total, acc = state
    m = torch.maximum(m_old, scores.amax(dim=-1))
    scale = torch.exp(m_old - finite(m))
    weights = torch.exp(scores - finite(m).unsqueeze(-1))
    total = scale * total + weights.sum(dim=-1)
    if kept is not None:
        weights = weights * kept
    return m, total, scale.unsqueeze(-1) * acc + weights @ values


def finish_softmax(
    state: SoftmaxState,
) -> tuple[Float[Tensor, "*batch query d_v"], Float[Tensor, "*batch query"]]:
    """Output acc / total and log-sum-exp m + ln total of each query; 0 and −∞ if it has seen no key.

    (logsumexp, 1, output) is a state again. So finished results over different keys can still be merged.
    """
    m, total, acc = state
    return acc / torch.where(total > 0, total, 1.0).unsqueeze(-1), m + torch.log(total)


def finite(m: Float[Tensor, "*batch query"]) -> Float[Tensor, "*batch query"]:
    """m, with 0 for −∞: e^{−∞ − 0} is the 0 that a hidden key should weigh; e^{−∞ − (−∞)} would be NaN."""
    return torch.where(m == -math.inf, 0.0, m)


# Softmax alone, in three ways --------------------------------------------------------------------------


def naive_softmax(scores: Float[Tensor, "*batch key"]) -> Float[Tensor, "*batch key"]:
    """e^{s_j} / Σ_i e^{s_i} as the formula stands: inf/inf where e^{s_j} overflows, 0/0 where all vanish."""
    exponentials = torch.exp(scores)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def safe_softmax(scores: Float[Tensor, "*batch key"]) -> Float[Tensor, "*batch key"]:
    """e^{s_j − m} / Σ_i e^{s_i − m}. Goes through a row three times: for m, for the sum, for the result."""
    exponentials = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def online_softmax(scores: Float[Tensor, "*batch key"], block: int = 1) -> Float[Tensor, "*batch key"]:
    """`safe_softmax` in two passes: the first finds m and the sum together, `block` scores at a time.

    Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3.
    """
    m = torch.full_like(scores[..., 0], -math.inf)
    total = torch.zeros_like(m)
    for part in scores.split(block, dim=-1):
        m_old, m = m, torch.maximum(m, part.amax(dim=-1))
        total = total * torch.exp(m_old - finite(m)) + torch.exp(part - finite(m).unsqueeze(-1)).sum(dim=-1)
    return torch.exp(scores - m.unsqueeze(-1)) / total.unsqueeze(-1)

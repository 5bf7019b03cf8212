"""Who may read whom in each family of Transformers, and what that does to the rank of attention."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Architecture: TypeAlias = Literal["encoder", "causal", "prefix", "encoder_decoder"]


def visibility(architecture: Architecture, n_source: int, n_target: int) -> Bool[Tensor, "reader read"]:
    """True where the token of a row may read that of a column; the source's tokens first, then the target's.

    encoder: everything reads everything (BERT). causal: a token reads itself and what stands before it (GPT).
    prefix: the source reads the whole source, the target the whole source and its own past. encoder_decoder:
    the same, but each of its three blocks is an attention of its own: source by source is the encoder, target
    by source the cross-attention, target by target the decoder.

    ValueError for another architecture or a negative number. Raffel et al. 2019, arXiv:1910.10683, figures 3
    and 4.

    >>> visibility("prefix", 2, 2).int().tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    """
    if n_source < 0 or n_target < 0:
        raise ValueError(f"{n_source} source and {n_target} target tokens; neither can be negative")
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    past = torch.ones(n, n, dtype=torch.bool).tril()
    if architecture == "causal":
        return past
    if architecture in ("prefix", "encoder_decoder"):
        past[:, :n_source] = True
        return past
    raise ValueError(
        f"architecture is {architecture!r}; it must be encoder, causal, prefix or encoder_decoder"
    )


def attention_rank(
    weights: Float[Tensor, "*batch query key"], tolerance: float | None = None
) -> Float[Tensor, "*batch"]:
    """How many singular values are above `tolerance` × the largest one: the numerical rank.

    tolerance: by default max(query, key) × the machine epsilon of the dtype.
    """
    if tolerance is None:
        tolerance = max(weights.shape[-2:]) * torch.finfo(weights.dtype).eps
    values = torch.linalg.svdvals(weights)
    return (values > tolerance * values[..., :1]).sum(-1)


def effective_rank(weights: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch"]:
    """exp of the entropy of the singular values as shares of their sum: n for n equal ones, 1 for one alone.

    It moves continuously where the rank jumps. Roy & Vetterli 2007, "The effective rank".
    """
    values = torch.linalg.svdvals(weights)
    shares = values / values.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1).exp()

"""What a cross-encoder is trained to make small. Scores are logits; `margin_mse` and `distillation_kl` of
the embedding room teach from another model's scores.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def pointwise(scores: Float[Tensor, " pair"], labels: Float[Tensor, " pair"]) -> Float[Tensor, ""]:
    """Mean of −y log σ(s) − (1 − y) log(1 − σ(s)): is this one an answer? Each pair alone."""
    return F.binary_cross_entropy_with_logits(scores, labels)


def pairwise(
    positive: Float[Tensor, " query"], negatives: Float[Tensor, "query negative"]
) -> Float[Tensor, ""]:
    """Mean of log(1 + e^{s⁻ − s⁺}): the answer above each of the others. RankNet, Burges et al. 2005."""
    return F.softplus(negatives - positive[:, None]).mean()


def listwise(
    positive: Float[Tensor, " query"], negatives: Float[Tensor, "query negative"]
) -> Float[Tensor, ""]:
    """Mean of −log( e^{s⁺} / (e^{s⁺} + Σ e^{s⁻}) ): the answer first among all of its list.

    Gao, Dai & Callan 2021, arXiv:2101.08751, who call it localized contrastive estimation: the negatives
    are what the first search put above or near the answer, so the model learns the mistakes of that search.
    """
    scores = torch.cat([positive[:, None], negatives], dim=1)
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))

"""What an embedding model is trained to make small. Vectors come in with length 1, so that products are
cosines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from teachllm.stack.retrieval.embedding.pooling import normalize

TEMPERATURE = 0.05


def info_nce(
    queries: Float[Tensor, "query d"],
    positives: Float[Tensor, "query d"],
    negatives: Float[Tensor, "negative d"] | None = None,
    temperature: float = TEMPERATURE,
    excluded: Bool[Tensor, "query candidate"] | None = None,
    symmetric: bool = False,
) -> Float[Tensor, ""]:
    """Mean over the queries of −log( e^{s(q,p)/τ} / Σ_c e^{s(q,c)/τ} ): find your own passage among all
    candidates.

    Candidates are the positives of all queries of the batch, then `negatives`, which every query sees. The
    positive of query i is row i of `positives`. excluded: True where a candidate does not count for a query,
    because it may answer it too; see `false_negatives`. symmetric: half of the loss asks each positive for
    its query. ValueError if a query's own positive is excluded.

    Oord et al. 2018, arXiv:1807.03748; in-batch negatives: Karpukhin et al. 2020, arXiv:2004.04906.
    """
    n = len(queries)
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T / temperature
    if excluded is not None:
        if excluded.diagonal().any():
            raise ValueError("excluded hides the positive of a query from it: its diagonal must be False")
        scores = scores.masked_fill(excluded, -math.inf)
    own = torch.arange(n, device=scores.device)
    loss = F.cross_entropy(scores, own)
    return (loss + F.cross_entropy(scores[:, :n].T, own)) / 2 if symmetric else loss


def false_negatives(
    scores: Float[Tensor, "query candidate"],
    margin: float = 0.1,
    passages: Int[Tensor, " candidate"] | None = None,
) -> Bool[Tensor, "query candidate"]:
    """Which candidates to leave out, because they look as right as the positive: what `info_nce` calls
    excluded.

    scores: cosines, the positive of query i in column i. Left out is what scores more than that + margin,
    and, given the ids of the `passages`, every other copy of the query's own passage. The positive itself
    always stays.

    Zhang et al. 2025, arXiv:2506.05176 (Qwen3 Embedding), with margin 0.1.
    """
    own = scores.diagonal()[:, None]
    found = scores > own + margin
    if passages is not None:
        found = found | (passages[: len(scores), None] == passages)
    return found & ~torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)


def cosent(
    cosines: Float[Tensor, " pair"], labels: Float[Tensor, " pair"], scale: float = 20.0
) -> Float[Tensor, ""]:
    """log( 1 + Σ e^{scale · (cos_j − cos_i)} ) over all i, j with labels_i > labels_j: put pairs in order.

    Only the order of the labels counts, not what they are: scores of annotators need not be cosines.
    Su 2022, "CoSENT", with scale 20.
    """
    wrong_by = scale * (cosines[None, :] - cosines[:, None])  # [i, j]: how far j stands above i
    wrong_by = wrong_by.masked_fill(labels[:, None] <= labels[None, :], -math.inf)
    return torch.logsumexp(torch.cat([wrong_by.new_zeros(1), wrong_by.flatten()]), dim=0)


def cosine_loss(cosines: Float[Tensor, " pair"], labels: Float[Tensor, " pair"]) -> Float[Tensor, ""]:
    """Mean of (cosine − label)²: every pair is to have exactly this cosine. Reimers & Gurevych 2019,
    1908.10084.
    """
    return F.mse_loss(cosines, labels)


def triplet_loss(
    anchors: Float[Tensor, "triplet d"],
    positives: Float[Tensor, "triplet d"],
    negatives: Float[Tensor, "triplet d"],
    margin: float = 0.5,
) -> Float[Tensor, ""]:
    """Mean of max(0, ‖a − p‖ − ‖a − n‖ + margin): the negative is to be farther away than the positive, by a
    margin.

    Zero as soon as that holds, so that easy triplets teach nothing. Schroff et al. 2015, arXiv:1503.03832.
    """
    to_positive = torch.linalg.vector_norm(anchors - positives, dim=-1)
    to_negative = torch.linalg.vector_norm(anchors - negatives, dim=-1)
    return F.relu(to_positive - to_negative + margin).mean()


def matryoshka(
    loss: Callable[..., Tensor],
    vectors: Sequence[Float[Tensor, "text d"]],
    dimensions: Sequence[int],
    weights: Sequence[float] | None = None,
) -> Float[Tensor, ""]:
    """Σ_m weight_m · loss(the first m numbers of all `vectors`, each normalized again), over the
    `dimensions`.

    The first numbers must do alone, so an index may keep only these. Weights are 1 unless given.
    Kusupati et al. 2022, arXiv:2205.13147.
    """
    terms = [loss(*(normalize(one[:, :m]) for one in vectors)) for m in dimensions]
    return torch.stack([w * term for w, term in zip(weights or [1.0] * len(terms), terms, strict=True)]).sum()


def margin_mse(
    student_positive: Float[Tensor, " query"],
    student_negative: Float[Tensor, " query"],
    teacher_margin: Float[Tensor, " query"],
) -> Float[Tensor, ""]:
    """Mean of ((s⁺ − s⁻) − (t⁺ − t⁻))²: learn how much better the teacher finds the positive, not its scale.

    The teacher is a cross-encoder. Hofstätter et al. 2020, arXiv:2010.02666.
    """
    return F.mse_loss(student_positive - student_negative, teacher_margin)


def distillation_kl(
    student: Float[Tensor, "query candidate"],
    teacher: Float[Tensor, "query candidate"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean over queries of KL(softmax(teacher/T) ‖ softmax(student/T)) · T²: the teacher's whole ranking.

    The factor T² keeps the gradients as large as those of other losses. Hinton et al. 2015, arXiv:1503.02531.
    """
    log_student = F.log_softmax(student / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher / temperature, dim=-1)
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2


def batch_balance(
    retrieval: Float[Tensor, ""], similarity: Float[Tensor, ""], beta: float = 0.8
) -> Float[Tensor, ""]:
    """info_nce + β · cosent in every step: two tasks pull together instead of in turns.

    Li et al. 2024, arXiv:2408.15710 (Conan), with β = 0.8; there the negatives of all GPUs are candidates of
    the first term, see `gathered`.
    """
    return retrieval + beta * similarity

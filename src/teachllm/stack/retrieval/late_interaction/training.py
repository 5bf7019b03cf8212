"""Training for MaxSim: the query's own passage above all others of the batch, or as far above as a teacher
says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.retrieval.embedding.training import Pair
from teachllm.stack.retrieval.late_interaction.maxsim import maxsim_matrix
from teachllm.stack.retrieval.late_interaction.tokens import TokenEncoder


def contrastive_loss(encoder: TokenEncoder, batch: Sequence[Pair]) -> Float[Tensor, ""]:
    """Mean of −log softmax of the MaxSim of each query with its passage, among all passages and negatives
    of the batch.

    Scores are sums over the query's tokens, so no temperature is needed to make them large.
    """
    texts = [pair.passage for pair in batch] + [text for pair in batch for text in pair.negatives]
    scores = batch_scores(encoder, [pair.query for pair in batch], texts)
    return F.cross_entropy(scores, torch.arange(len(batch), device=scores.device))


def batch_scores(
    encoder: TokenEncoder, queries: Sequence[str], passages: Sequence[str]
) -> Float[Tensor, "query passage"]:
    """MaxSim of every query with every passage, with gradients. `distillation_kl` compares rows with a
    teacher's.
    """
    ids = [encoder.passage_ids(text) for text in passages]
    vectors = encoder.vectors(ids)
    kept = [one[encoder.kept(own)] for one, own in zip(vectors, ids, strict=True)]
    return maxsim_matrix(encoder.vectors([encoder.query_ids(text) for text in queries]), kept)

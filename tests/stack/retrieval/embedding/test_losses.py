"""Losses by hand, beside torch, and what their gradients do."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from teachllm.stack.retrieval.embedding.losses import (
    cosent,
    distillation_kl,
    false_negatives,
    info_nce,
    margin_mse,
    matryoshka,
    triplet_loss,
)
from teachllm.stack.retrieval.embedding.pooling import normalize


def unit(n: int, d: int = 6, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)))


def test_info_nce_by_hand() -> None:
    q = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    p = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    n = torch.tensor([[0.0, 1.0]])
    first = -1.0 + math.log(math.exp(1) + math.exp(0.6) + math.exp(0.0))
    second = -0.8 + math.log(math.exp(0.0) + math.exp(0.8) + math.exp(1.0))
    assert info_nce(q, p, n, temperature=1.0).item() == pytest.approx((first + second) / 2)
    assert info_nce(q, p, n, temperature=0.5) > info_nce(q, p, temperature=0.5)


def test_a_single_candidate_teaches_nothing() -> None:
    assert info_nce(unit(1), unit(1, seed=1)).item() == 0


def test_symmetric_is_the_mean_of_both_directions() -> None:
    q, p, n = unit(5), unit(5, seed=1), unit(3, seed=2)
    both = info_nce(q, p, n, symmetric=True)
    torch.testing.assert_close(both, (info_nce(q, p, n) + info_nce(p, q)) / 2)


def test_the_gradient_pulls_the_positive_and_pushes_the_rest() -> None:
    q, p = unit(4), unit(4, seed=1).requires_grad_()
    info_nce(q, p, temperature=0.1).backward()
    assert p.grad is not None
    push = q[0] @ p.grad.T  # how the score with each passage changes against the gradient
    alone = p.detach().clone().requires_grad_()
    F.cross_entropy(q[:1] @ alone.T / 0.1, torch.tensor([0])).backward()
    assert alone.grad is not None
    direction = q[0] @ alone.grad.T
    assert direction[0] < 0 < direction[1:].min()
    assert push.isfinite().all()


def test_an_excluded_candidate_does_not_count() -> None:
    q, p = unit(3), unit(3, seed=1)
    excluded = torch.zeros(3, 3, dtype=torch.bool)
    excluded[0, 2] = True
    rows = q @ p.T / 0.05
    expected = [
        F.cross_entropy(rows[0, :2], torch.tensor(0)),
        *(F.cross_entropy(rows[i], torch.tensor(i)) for i in (1, 2)),
    ]
    torch.testing.assert_close(info_nce(q, p, excluded=excluded), torch.stack(expected).mean())
    with pytest.raises(ValueError, match="its diagonal must be False"):
        info_nce(q, p, excluded=torch.eye(3, dtype=torch.bool))


def test_false_negatives_are_copies_and_what_scores_too_well() -> None:
    scores = torch.tensor([[0.5, 0.59, 0.61, 0.2], [0.9, 0.7, 0.1, 0.1]])
    assert false_negatives(scores).int().tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    copies = false_negatives(scores, margin=2.0, passages=torch.tensor([7, 8, 9, 7]))
    assert copies.int().tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]


def test_cosent_counts_pairs_in_the_wrong_order() -> None:
    cosines, labels = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([1.0, 0.0, 0.5])
    terms = [math.exp(20 * (b - a)) for a, b in ((0.9, 0.2), (0.9, 0.5), (0.5, 0.2))]
    assert cosent(cosines, labels).item() == pytest.approx(math.log1p(sum(terms)), rel=1e-4)
    assert torch.equal(cosent(cosines, labels), cosent(cosines, torch.tensor([5.0, -1.0, 0.0])))
    assert cosent(cosines, torch.ones(3)).item() == 0  # ties say nothing


def test_triplet_and_distillation_equal_torch() -> None:
    a, p, n = unit(7), unit(7, seed=1), unit(7, seed=2)
    torch.testing.assert_close(
        triplet_loss(a, p, n, margin=0.3), F.triplet_margin_loss(a, p, n, margin=0.3, eps=0.0)
    )
    student, teacher = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(3))
    probabilities = (teacher / 2).softmax(-1)
    expected = (probabilities * (probabilities.log() - (student / 2).log_softmax(-1))).sum(-1).mean() * 4
    torch.testing.assert_close(distillation_kl(student, teacher, temperature=2.0), expected)
    assert distillation_kl(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    assert margin_mse(student[0], student[1], student[0] - student[1] + 3).item() == pytest.approx(
        9, rel=1e-5
    )


def test_matryoshka_asks_every_prefix() -> None:
    q, p = unit(4, 8), unit(4, 8, seed=1)
    short = info_nce(normalize(q[:, :2]), normalize(p[:, :2]))
    torch.testing.assert_close(
        matryoshka(info_nce, (q, p), [2, 8], [0.5, 2.0]), 0.5 * short + 2 * info_nce(q, p)
    )

"""Who reads whom, and the rank of what comes out."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.nn.attention import scaled_dot_product_attention
from teachllm.stack.nn.masks import attention_rank, effective_rank, visibility


def readers(architecture: str, n_source: int, n_target: int) -> list[list[int]]:
    """The rule in words: for each token, those that it reads."""
    n = n_source + n_target
    source, found = set(range(n_source)), []
    for token in range(n):
        past = set(range(token + 1))
        read = {"encoder": set(range(n)), "causal": past}.get(architecture, past | source)
        found.append(sorted(read))
    return found


@pytest.mark.parametrize("architecture", ["encoder", "causal", "prefix", "encoder_decoder"])
@pytest.mark.parametrize(("n_source", "n_target"), [(3, 2), (0, 4), (4, 0), (1, 1), (0, 0)])
def test_visibility_is_the_rule_in_words(architecture, n_source: int, n_target: int) -> None:
    mask = visibility(architecture, n_source, n_target)
    assert mask.dtype == torch.bool
    assert [row.nonzero().flatten().tolist() for row in mask] == readers(architecture, n_source, n_target)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="must be encoder, causal, prefix or encoder_decoder"):
        visibility("decoder", 1, 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="-1 source"):
        visibility("causal", -1, 2)


def test_rank_counts_singular_values() -> None:
    draw = torch.Generator().manual_seed(0)
    thin = torch.randn(4, 9, 3, generator=draw, dtype=torch.float64)
    product = thin @ thin.transpose(1, 2)
    assert attention_rank(product).tolist() == [3, 3, 3, 3]
    assert attention_rank(torch.eye(5)).item() == 5
    assert attention_rank(torch.diag(torch.tensor([1.0, 1e-3])), tolerance=1e-2).item() == 1


def test_effective_rank_is_between_one_and_n() -> None:
    assert effective_rank(torch.eye(7)).item() == pytest.approx(7, rel=1e-5)
    assert effective_rank(torch.ones(7, 7)).item() == pytest.approx(1, abs=1e-3)
    uneven = effective_rank(torch.diag(torch.tensor([1.0, 0.1]))).item()
    assert 1 < uneven < 2


def test_a_causal_matrix_is_invertible_in_exact_arithmetic() -> None:
    """The determinant is the product of the diagonal, and no factor is 0."""
    draw = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 1, 1, 12, 4, generator=draw, dtype=torch.float64)
    weights = scaled_dot_product_attention(
        q, k, torch.eye(12, dtype=torch.float64)[None, None], visibility("causal", 0, 12)
    )[0, 0]
    assert (weights.diagonal() > 0).all()
    assert torch.linalg.det(weights).item() == pytest.approx(weights.diagonal().prod().item(), rel=1e-9)

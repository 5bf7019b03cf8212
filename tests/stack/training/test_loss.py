"""The loss in chunks is the loss, with the same gradients, in less memory."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from teachllm.stack.training.loss import IGNORED, chunked_cross_entropy, cross_entropy


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def some_targets(*shape: int, vocab: int, seed: int = 9) -> Tensor:
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


def test_cross_entropy_is_torchs() -> None:
    logits, targets = 5 * normal(3, 7, 50), some_targets(3, 7, vocab=50)
    targets[1, 2:5] = IGNORED
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(cross_entropy(logits, targets), expected, atol=1e-6, rtol=1e-6)


def test_a_uniform_guess_costs_the_logarithm_of_the_vocabulary() -> None:
    assert cross_entropy(torch.zeros(4, 256), torch.arange(4)).item() == pytest.approx(math.log(256))


@pytest.mark.parametrize("chunk", [1, 5, 7, 21, 100])
@pytest.mark.parametrize("ignored", [False, True])
def test_chunks_give_the_same_loss_and_gradients(chunk: int, ignored: bool) -> None:
    features, weight = normal(3, 7, 16).requires_grad_(), normal(50, 16, seed=1).requires_grad_()
    targets = some_targets(3, 7, vocab=50)
    if ignored:
        targets[0] = IGNORED
        targets[2, 3] = IGNORED
    expected = F.cross_entropy((features @ weight.T).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    expected_gradients = torch.autograd.grad(3 * expected, (features, weight))
    loss = chunked_cross_entropy(features, weight, targets, chunk=chunk)
    gradients = torch.autograd.grad(3 * loss, (features, weight))
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-5)


def test_pieces_of_a_batch_add_up() -> None:
    features, weight, targets = normal(8, 16), normal(50, 16, seed=1), some_targets(8, vocab=50)
    targets[:3] = IGNORED
    whole = chunked_cross_entropy(features, weight, targets)
    pieces = [
        chunked_cross_entropy(features[rows], weight, targets[rows], divisor=5)
        for rows in (slice(0, 4), slice(4, 8))
    ]
    torch.testing.assert_close(pieces[0] + pieces[1], whole)


def test_bfloat16_stays_near_float32() -> None:
    features, weight, targets = normal(64, 32), normal(100, 32, seed=1), some_targets(64, vocab=100)
    losses, gradients = [], []
    for dtype in (torch.float32, torch.bfloat16):
        f, w = (t.to(dtype).float().to(dtype).requires_grad_() for t in (features, weight))
        losses.append(chunked_cross_entropy(f, w, targets, chunk=20))
        gradients.append([g.float() for g in torch.autograd.grad(losses[-1], (f, w))])
    assert losses[1].dtype == torch.float32
    # bfloat16 keeps 8 bits: logits of size 10 are off by 0.03, and with them gradients by a few percent.
    torch.testing.assert_close(losses[0], losses[1], atol=0.02, rtol=0)
    for exact, rounded in zip(*gradients, strict=True):
        assert (exact - rounded).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("compute", [cross_entropy, lambda x, t: chunked_cross_entropy(x, torch.eye(4), t)])
def test_nothing_to_learn_is_an_error(compute) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="at least one target must count"):
        compute(torch.zeros(2, 4), torch.full((2,), IGNORED))

"""GradCache: the gradients of the whole batch, from pieces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from teachllm.stack.retrieval.embedding.grad_cache import grad_cache_backward
from teachllm.stack.retrieval.embedding.losses import info_nce
from teachllm.stack.retrieval.embedding.pooling import normalize


def loss(vectors: Tensor) -> Tensor:
    return info_nce(*vectors.chunk(2), temperature=0.1)


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def test_the_same_gradients_as_the_whole_batch_at_once() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Linear(16, 4))
    texts = torch.randn(12, 5)
    whole = loss(normalize(model(texts)))
    whole.backward()
    expected = [g.clone() for g in gradients(model)]
    model.zero_grad()
    pieces = texts.split([1, 4, 5, 2])
    found = grad_cache_backward(lambda piece: normalize(model(piece)), pieces, loss)
    torch.testing.assert_close(found, whole.detach())
    torch.testing.assert_close(gradients(model), expected, rtol=1e-5, atol=1e-6)


def test_dropout_drops_the_same_in_both_passes() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 64), nn.Dropout(0.5))
    seen: list[Tensor] = []

    def encode(piece: Tensor) -> Tensor:
        vectors = model(piece)
        seen.append(vectors.detach() != 0)
        return normalize(vectors)

    grad_cache_backward(encode, torch.randn(8, 5).split(4), loss)
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])

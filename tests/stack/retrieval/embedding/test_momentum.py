"""MoCo's two parts: an encoder that follows slowly, and a queue."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from teachllm.stack.retrieval.embedding.losses import info_nce
from teachllm.stack.retrieval.embedding.momentum import NegativeQueue, momentum_update
from teachllm.stack.retrieval.embedding.pooling import normalize


def test_the_slow_encoder_follows() -> None:
    torch.manual_seed(0)
    fast = nn.Linear(3, 2)
    slow = copy.deepcopy(fast)
    with torch.no_grad():
        fast.weight += 1
    before = slow.weight.clone()
    momentum_update(slow, fast, momentum=0.9)
    torch.testing.assert_close(slow.weight, before + 0.1)
    assert torch.equal(slow.bias, fast.bias)
    assert slow.weight.grad is None
    with pytest.raises(ValueError, match=r"differ in \['bias'\]"):
        momentum_update(nn.Linear(3, 2, bias=False), fast)


def test_the_oldest_leave_first() -> None:
    queue = NegativeQueue(5, 2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(queue.vectors.norm(dim=1), torch.ones(5))
    for first in (0, 3, 6):
        queue.push(torch.arange(first, first + 3.0)[:, None].expand(-1, 2))
    assert sorted(queue.vectors[:, 0].tolist()) == [4, 5, 6, 7, 8]
    with pytest.raises(ValueError, match="6 passages do not fit into a queue of 5"):
        queue.push(torch.zeros(6, 2))


def test_a_loss_over_the_queue_can_go_backwards_after_the_push() -> None:
    queue = NegativeQueue(8, 4, torch.Generator().manual_seed(0))
    q = normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(1))).requires_grad_()
    p = normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(2)))
    loss = info_nce(q, p, queue.vectors)
    queue.push(p)
    loss.backward()
    assert q.grad is not None

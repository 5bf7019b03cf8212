"""FlashAttention as readable code against PyTorch's own fused attention: outputs and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from teachllm.stack.nn.flash_attention import flash_attention

pytestmark = pytest.mark.parity


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_kv_heads", [4, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_outputs_and_gradients_are_those_of_pytorch(n_kv_heads: int, causal: bool) -> None:
    q, d_out = normal(2, 4, 77, 16, seed=0), normal(2, 4, 77, 16, seed=3)
    k, v = normal(2, n_kv_heads, 77, 16, seed=1), normal(2, n_kv_heads, 77, 16, seed=2)
    for x in (q, k, v):
        x.requires_grad_()
    ours = flash_attention(q, k, v, causal=causal, block_q=32, block_k=16)
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    for mine, other in zip(
        torch.autograd.grad(ours, (q, k, v), d_out),
        torch.autograd.grad(theirs, (q, k, v), d_out),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_left_padding_is_that_of_pytorch() -> None:
    q, k, v = (normal(2, 2, 40, 8, seed=seed) for seed in range(3))
    key_mask = torch.ones(2, 40, dtype=torch.bool)
    key_mask[0, :9] = False
    ours = flash_attention(q, k, v, key_mask=key_mask, block_q=16, block_k=8)
    theirs = F.scaled_dot_product_attention(q, k, v, key_mask[:, None, None])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)

"""What reads prompts in bfloat16 on a CPU, beside what it stands in for."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.nn.attention import causal_attention, readable_causal_attention
from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.attention import prompt_attention, prompt_attention_is_faster
from teachllm.stack.nn.feed_forward import SwiGLUFeedForward
from teachllm.stack.nn.norms import RMSNorm
from teachllm.stack.nn.positions import rope_cos_sin, rotated_heads

pytestmark = pytest.mark.skipif(not threads.can_run(torch.zeros(1)), reason="no kernels in PyTorch's threads")


@pytest.mark.parametrize("before", [0, 37])
@pytest.mark.parametrize("length", [16, 300])
def test_a_piece_of_a_prompt_sees_all_that_stands_before(length: int, before: int) -> None:
    generator = torch.Generator().manual_seed(length + before)
    q = torch.randn(2, 6, length, 16, generator=generator).bfloat16()
    k, v = (torch.randn(2, 2, before + length, 16, generator=generator).bfloat16() for _ in range(2))
    with torch.no_grad():
        assert prompt_attention_is_faster(q, k)
        found = causal_attention(q, k, v)
        assert torch.equal(found, prompt_attention(q, k, v))
    expected = readable_causal_attention(q.float(), k.float(), v.float())
    # Scores and weights are written down in bfloat16, to 2^-9 of their size, as in training.
    torch.testing.assert_close(found.float(), expected, atol=1e-2, rtol=1e-2)


def test_who_wants_a_gradient_or_float32_gets_another() -> None:
    q = torch.randn(1, 2, 32, 16)
    assert not prompt_attention_is_faster(q.bfloat16(), q.bfloat16())  # outside of no_grad
    with torch.no_grad():
        assert not prompt_attention_is_faster(q, q)
        assert not prompt_attention_is_faster(q.bfloat16()[:, :, :8], q.bfloat16())


@pytest.mark.parametrize("shape", [(1, 40, 96), (3, 7, 96)])
def test_kernels_that_read_prompts_compute_what_pytorch_does(shape: tuple[int, ...]) -> None:
    """Norm, feed-forward and rotation of many rows in bfloat16, beside float32 from the same numbers."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator).bfloat16()
    norm, feed_forward = RMSNorm(96).bfloat16(), SwiGLUFeedForward(96, 64).bfloat16()
    cos, sin = rope_cos_sin(torch.arange(shape[1]), 16)
    rounded = (cos.bfloat16(), sin.bfloat16())
    with torch.no_grad():
        assert threads.pays_for_reading(x, norm.weight)
        assert not threads.pays_for_reading(x.float())
        found = [norm(x), feed_forward(x), *rotated_heads(x, *rounded, 4, 1)]
        wide = x.float()
        expected = [
            norm.float()(wide),
            feed_forward.float()(wide),
            *rotated_heads(wide, *(part.float() for part in rounded), 4, 1),
        ]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other, atol=1e-2, rtol=1e-2)

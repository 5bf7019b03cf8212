"""The parts of a model beside those of torch and `transformers`."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention

from teachllm.stack.nn import feed_forward, norms, positions
from teachllm.stack.nn.attention import scaled_dot_product_attention

pytestmark = pytest.mark.parity


def normal(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


@pytest.mark.parametrize(("n_queries", "n_keys", "d"), [(1, 1, 4), (7, 7, 64), (3, 11, 16), (1, 33, 128)])
def test_attention(n_queries: int, n_keys: int, d: int) -> None:
    q, k, v = normal(2, 3, n_queries, d), normal(2, 3, n_keys, d, seed=1), normal(2, 3, n_keys, d, seed=2)
    mask = torch.rand(2, 1, n_queries, n_keys, generator=torch.Generator().manual_seed(3)) > 0.3
    mask[..., 0] = True
    for given in (None, mask, mask[0, 0]):
        for scale in (None, 0.5):
            torch.testing.assert_close(
                scaled_dot_product_attention(q, k, v, given, scale),
                F.scaled_dot_product_attention(q, k, v, attn_mask=given, scale=scale),
                atol=1e-5,
                rtol=0,
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms(dtype: torch.dtype) -> None:
    x = normal(4, 5, 48, spread=3.0).to(dtype)
    weight, bias = normal(48, seed=1).to(dtype), normal(48, seed=2).to(dtype)
    # bfloat16 keeps 8 bits: results differ by one rounding.
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 1e-2, "rtol": 1e-2}
    reference = LlamaRMSNorm(48, eps=1e-5).to(dtype)
    ours = norms.RMSNorm(48, eps=1e-5).to(dtype)
    reference.weight.data = ours.weight.data = weight
    for got in (ours(x), norms.rms_norm(x, weight, 1e-5)):
        assert got.dtype == dtype
        torch.testing.assert_close(got, reference(x), **tolerance)
    expected = F.layer_norm(x, (48,), weight, bias, 1e-5)
    module = norms.LayerNorm(48, eps=1e-5).to(dtype)
    module.weight.data, module.bias.data = weight, bias
    for got in (module(x), norms.layer_norm(x, weight, bias, 1e-5)):
        torch.testing.assert_close(got, expected, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_backward_of_norms(dtype: torch.dtype) -> None:
    """Beside what autograd finds in float32 for PyTorch's own norms of the same numbers."""
    # bfloat16 keeps 8 bits: results differ by one rounding.
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 1e-5, "rtol": 2**-8}
    for seed, (spread, shift) in enumerate([(1.0, 0.0), (3.0, 5.0), (0.01, 0.0)]):
        x = (normal(4, 5, 48, seed=seed, spread=spread) + shift).to(dtype)
        weight, grad = normal(48, seed=1).to(dtype), normal(4, 5, 48, seed=3).to(dtype)
        wide = [one.float().requires_grad_() for one in (x, weight, torch.zeros(48))]
        of_rms = torch.autograd.grad(F.rms_norm(wide[0], (48,), wide[1], 1e-5), wide[:2], grad.float())
        of_layer = torch.autograd.grad(F.layer_norm(wide[0], (48,), *wide[1:], 1e-5), wide, grad.float())
        ours_of_rms = norms.rms_norm_backward(grad, x, weight, 1e-5)
        ours_of_layer = norms.layer_norm_backward(grad, x, weight, 1e-5)
        for ours, expected in zip((*ours_of_rms, *ours_of_layer), (*of_rms, *of_layer), strict=True):
            assert ours.dtype == dtype
            scale = expected.abs().max()  # the gradient is as large as x is small
            torch.testing.assert_close(ours.float() / scale, expected / scale, **tolerance)


def test_norms_of_bfloat16_are_computed_in_float32() -> None:
    x, weight, bias = (
        part.bfloat16() for part in (normal(9, 48, spread=3.0), normal(48), normal(48, seed=1))
    )
    wide = x.float(), weight.float(), bias.float()
    assert norms.rms_norm(x, weight).equal(norms.rms_norm(wide[0], wide[1]).bfloat16())
    assert norms.layer_norm(x, weight, bias).equal(norms.layer_norm(*wide).bfloat16())


def test_gelu_and_swiglu() -> None:
    x = torch.linspace(-8, 8, 1001)
    torch.testing.assert_close(feed_forward.gelu(x), F.gelu(x), atol=1e-6, rtol=0)
    torch.testing.assert_close(feed_forward.gelu_tanh(x), F.gelu(x, approximate="tanh"), atol=1e-6, rtol=0)
    difference = (feed_forward.gelu(x) - feed_forward.gelu_tanh(x)).abs().max()
    assert 1e-4 < difference < 5e-4  # as the docstring says
    up = normal(1001)
    torch.testing.assert_close(feed_forward.swiglu(x, up), x * torch.sigmoid(x) * up)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (64, 200)])
def test_t5_buckets(bidirectional: bool, n_buckets: int, max_distance: int) -> None:
    relative = torch.arange(-400, 401)
    expected = T5Attention._relative_position_bucket(relative, bidirectional, n_buckets, max_distance)
    got = positions.t5_relative_bucket(relative, n_buckets, max_distance, bidirectional)
    assert got.equal(expected)


@pytest.mark.parametrize("n_heads", [1, 4, 8, 12, 20, 32])
def test_alibi(n_heads: int) -> None:
    # Bloom adds slope · key position, which differs from ours by a constant in each row of scores.
    theirs = build_alibi_tensor(torch.ones(1, 10), n_heads, torch.float32).view(n_heads, 1, 10)
    ours = positions.alibi_bias(n_heads, n_queries=10)
    seen = torch.ones(10, 10, dtype=torch.bool).tril()
    shifted = theirs - theirs.transpose(1, 2)
    torch.testing.assert_close(ours[:, seen], shifted[:, seen])


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_rope(base: float) -> None:
    config = transformers.LlamaConfig(
        hidden_size=64,
        num_attention_heads=4,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    q, k = normal(1, 4, 30, 16), normal(1, 2, 30, 16, seed=1)
    at = torch.arange(4000, 4030)
    cos, sin = LlamaRotaryEmbedding(config)(q, at[None])
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    ours = [positions.apply_rope(x, *positions.rope_cos_sin(at, 16, base)) for x in (q, k)]
    for got, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def test_llama3_frequencies() -> None:
    config = transformers.LlamaConfig(
        hidden_size=256,
        num_attention_heads=2,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = positions.rope_frequencies(128, 500_000.0)
    got = positions.llama3_frequencies(plain, 8.0, 1.0, 4.0, 8192)
    torch.testing.assert_close(got, expected, atol=0, rtol=1e-6)
    assert not torch.allclose(got, plain)

"""Packed weights compute what the others do, and only where they help."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from teachllm.stack.inference import packed_weights
from teachllm.stack.inference.packed_weights import PackedLinear, pack_for_decoding
from teachllm.stack.models.llama import Llama
from teachllm.stack.nn.kv_cache import KVCache

needs_bf16 = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="this processor does not compute in bfloat16",
)


@needs_bf16
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_computes_the_same(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 160, bias=bias).bfloat16()
    packed = PackedLinear(linear)
    with torch.inference_mode():
        for shape in ((1, 1, 96), (1, 5, 96), (96,)):
            x = torch.randn(shape).bfloat16()
            exact = nn.functional.linear(
                x.double(), linear.weight.double(), linear.bias.double() if bias else None
            )
            torch.testing.assert_close(packed(x).double(), exact, atol=0.02, rtol=0.01)
            assert packed(x).shape == linear(x).shape


@needs_bf16
@torch.inference_mode()
def test_a_packed_model_computes_the_same(tiny_llama: Llama) -> None:
    model = tiny_llama.bfloat16()
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    expected = model(tokens)
    n_parameters = sum(weights.numel() for weights in model.parameters())
    assert pack_for_decoding(model)
    assert isinstance(model.head, PackedLinear)
    assert model.head.weight is model.embedding.weight
    assert sum(weights.numel() for weights in model.parameters()) == n_parameters
    cache = KVCache.for_model(model.config, 6, dtype=torch.bfloat16)
    steps = torch.cat([model(tokens[:, i : i + 1], cache) for i in range(6)], dim=1)
    torch.testing.assert_close(steps, expected, atol=0.15, rtol=0.05)  # two roundings of bfloat16, 2 layers
    assert torch.equal(model(tokens), expected)


def test_what_it_would_not_help_stays_as_it_is(tiny_llama: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not pack_for_decoding(tiny_llama)  # float32
    monkeypatch.setattr(packed_weights, "MOST_BYTES", 100)
    assert not pack_for_decoding(tiny_llama.bfloat16())  # too large
    assert isinstance(tiny_llama.head, nn.Linear)

"""The count from sizes is the count of the tensors: of real modules, and of published models."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.parameter_count import parameter_count
from teachllm.stack.models.presets import PRESETS

SIZES = {
    "grouped": LlamaConfig(300, 64, 3, 4, 2, 16, 172, 32),
    "multi-head, tied": LlamaConfig(300, 64, 2, 4, 4, 16, 172, 32, tied_head=True),
    "heads wider than the stream, with biases": LlamaConfig(300, 48, 2, 4, 1, 32, 100, 32, qkv_bias=True),
}


def count(config: LlamaConfig) -> dict[str, int]:
    c = config
    sizes = (c.vocab_size, c.d_model, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, c.hidden)
    return parameter_count(*sizes, tied_head=c.tied_head, qkv_bias=c.qkv_bias)


@pytest.mark.parametrize("name", SIZES)
def test_every_part_is_that_of_the_module(name: str) -> None:
    config = SIZES[name]
    with torch.device("meta"):
        model = Llama(config)
    held = dict.fromkeys(("embedding", "attention", "feed_forward", "norms", "head"), 0)
    for parameter_name, parameter in model.named_parameters():
        part = next(
            part
            for part, sign in (
                ("norms", "norm."),
                ("attention", ".attention."),
                ("feed_forward", ".feed_forward."),
                ("head", "head."),
                ("embedding", "embedding."),
            )
            if sign in parameter_name
        )
        held[part] += parameter.numel()
    assert count(config) == held
    assert config.n_parameters == sum(held.values())


@pytest.mark.parametrize(("name", "total"), [("llama3-8b", 8_030_261_248), ("llama3-70b", 70_553_706_496)])
def test_published_models(name: str, total: int) -> None:
    """The sums of the shapes in the published safetensors indexes."""
    assert sum(count(PRESETS[name]).values()) == total

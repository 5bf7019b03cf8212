"""Fresh weights have the deviations that they should, and the first loss is that of guessing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from teachllm.stack.models.decoder import Decoder, DecoderConfig
from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.training.initialization import initialize, small_init

SIZES = {"vocab_size": 500, "d_model": 96, "n_layers": 3, "n_heads": 4, "context_length": 32, "hidden": 256}
HEADS = {"n_kv_heads": 2, "head_dim": 24}
MODELS = {
    "llama": lambda: Llama(LlamaConfig(**SIZES, **HEADS, qkv_bias=True)),
    "gpt2": lambda: GPT2(GPT2Config(**SIZES)),
    "decoder": lambda: Decoder(DecoderConfig(**SIZES, **HEADS, norm="layer", position="learned")),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_parameter_is_drawn_as_its_kind_is(make) -> None:
    model = make()
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 7.0)  # whatever is left over would be seen
    initialize(model, torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight")))), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            residual = "attention.out" in name or "down" in name
            expected = small_init(96) / (math.sqrt(6) if residual else 1)
            assert float(parameter.detach().std()) == pytest.approx(expected, rel=0.05), name
            assert abs(float(parameter.detach().mean())) < expected / 10, name


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_first_loss_is_that_of_guessing(make) -> None:
    model = make()
    initialize(model, torch.Generator().manual_seed(1))
    tokens = torch.randint(500, (4, 32), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        loss = F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert float(loss) == pytest.approx(math.log(500) + 0.2, abs=0.15)


def test_one_generator_gives_one_model() -> None:
    models = [MODELS["llama"]() for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        initialize(model, torch.Generator().manual_seed(seed))
    weights = [model.blocks[1].attention.qkv.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])

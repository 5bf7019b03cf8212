"""Logits of our models equal those of `transformers`, on random weights of several shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from teachllm.stack.models.attention_maps import attention_maps
from teachllm.stack.models.gpt2 import GPT2
from teachllm.stack.models.llama import Llama
from teachllm.stack.models.loading import load_model
from teachllm.stack.nn.attention import readable_attention
from teachllm.stack.nn.kv_cache import KVCache

pytestmark = pytest.mark.parity

VOCABULARY = 97
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
}
GPT2_SIZES = {
    "vocab_size": VOCABULARY,
    "n_positions": 64,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 4,
    "attn_implementation": "eager",
}
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def llama(**changes: object) -> PreTrainedModel:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**LLAMA, **changes}))


def mistral() -> PreTrainedModel:
    return transformers.MistralForCausalLM(
        transformers.MistralConfig(**LLAMA, num_attention_heads=6, num_key_value_heads=2, sliding_window=None)
    )


def qwen2() -> PreTrainedModel:
    return transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            **LLAMA, num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True
        )
    )


def gpt2() -> PreTrainedModel:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2_SIZES))


REFERENCES = {
    "multi-head, own head": lambda: llama(num_attention_heads=6, num_key_value_heads=6),
    "grouped-query, tied head": lambda: llama(
        num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True
    ),
    "multi-query": lambda: llama(num_attention_heads=6, num_key_value_heads=1),
    "head_dim of its own": lambda: llama(num_attention_heads=4, num_key_value_heads=2, head_dim=20),
    "another base": lambda: llama(
        num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 300.0}
    ),
    "llama 3 scaling": lambda: llama(num_attention_heads=4, rope_parameters=LLAMA3_SCALING),
    "linear scaling": lambda: llama(
        num_attention_heads=4,
        rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
    ),
    "mistral": mistral,
    "qwen2": qwen2,
    "gpt2": gpt2,
}


@pytest.fixture(params=REFERENCES, scope="module")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PreTrainedModel, Llama | GPT2]:
    """A model of `transformers` with random weights, biases and norms, and ours loaded from its folder."""
    torch.manual_seed(0)
    reference: PreTrainedModel = REFERENCES[request.param]().eval()
    for name, parameter in reference.named_parameters():
        is_scale = "norm" in name or name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight"))
        torch.nn.init.normal_(parameter, mean=1.0 if is_scale else 0.02, std=0.15)
    folder: Path = tmp_path_factory.mktemp("model")
    reference.save_pretrained(folder)
    return reference, load_model(folder, device="cpu", dtype=torch.float32)


def tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_logits_equal_those_of_transformers(pair: tuple[PreTrainedModel, Llama | GPT2]) -> None:
    reference, ours = pair
    for batch, length in ((1, 1), (3, 17), (1, 64)):
        given = tokens(batch, length)
        expected = reference(given).logits
        assert expected.std() > 0.3  # not equal merely because everything is near zero
        torch.testing.assert_close(ours(given), expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("chunks", [[1] * 20, [7, 1, 1, 11], [19, 1], [5, 15]])
def test_the_cache_changes_nothing_however_the_text_is_cut(
    pair: tuple[PreTrainedModel, Llama | GPT2], chunks: list[int]
) -> None:
    reference, ours = pair
    given = tokens(2, sum(chunks), seed=1)
    cache = KVCache.for_model(ours.config, capacity=24, batch=2)
    got = torch.cat([ours(chunk, cache=cache) for chunk in given.split(chunks, dim=1)], dim=1)
    assert cache.length == 20
    torch.testing.assert_close(got, reference(given).logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_readable_function_runs_the_whole_model(pair: tuple[PreTrainedModel, Llama | GPT2]) -> None:
    reference, ours = pair
    given = tokens(2, 12, seed=2)
    expected = reference(given).logits
    cache = KVCache.for_model(ours.config, capacity=12, batch=2)
    with readable_attention():
        whole = ours(given)
        parts = torch.cat([ours(part, cache=cache) for part in given.split([5, 1, 6], dim=1)], dim=1)
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(parts, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_attention_maps_are_the_weights_of_transformers(
    pair: tuple[PreTrainedModel, Llama | GPT2],
) -> None:
    reference, ours = pair
    given = tokens(2, 9, seed=3)
    expected = reference(given, output_attentions=True).attentions
    maps = attention_maps(ours, given)
    assert len(maps) == len(expected) == 3
    for layer, weights in zip(expected, maps, strict=True):
        torch.testing.assert_close(weights, layer, atol=1e-5, rtol=0)


def test_parameters_are_counted_right(pair: tuple[PreTrainedModel, Llama | GPT2]) -> None:
    reference, ours = pair
    assert ours.config.n_parameters == reference.num_parameters()
    assert ours.config.n_parameters == sum(parameter.numel() for parameter in ours.parameters())


def test_gradients_equal_those_of_transformers(pair: tuple[PreTrainedModel, Llama | GPT2]) -> None:
    reference, ours = pair
    given = tokens(2, 10, seed=4)
    for logits in (reference(given).logits, ours(given)):
        logits.square().mean().backward()
    expected, got = reference.get_input_embeddings().weight.grad, ours.embedding.weight.grad
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)

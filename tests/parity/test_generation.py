"""Generation beside `transformers`: the same filters, and greedily the same tokens, one after another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.generation import logits_process as reference_filters

from teachllm.stack.data.assets import AssetDamaged, AssetMissing
from teachllm.stack.inference import (
    Sampling,
    generate_tokens,
    load_language_model,
    min_p,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
    typical_p,
)
from teachllm.stack.models.llama import Llama
from teachllm.stack.models.loading import load_model
from teachllm.stack.models.weights import llama_layout

pytestmark = pytest.mark.parity


def filters() -> dict[str, tuple[Any, Any]]:
    """By name: ours and theirs, each of (seen, logits)."""
    library = reference_filters
    found: dict[str, tuple[Any, Any]] = {}
    for value in (0.2, 0.7, 1.5):
        found[f"temperature {value}"] = (
            lambda seen, logits, value=value: temperature(logits, value),
            library.TemperatureLogitsWarper(value),
        )
        found[f"repetition penalty {value}"] = (
            lambda seen, logits, value=value: repetition_penalty(logits, seen, value),
            library.RepetitionPenaltyLogitsProcessor(value),
        )
    for value in (1, 7, 50, 5_000):
        found[f"top-k {value}"] = (
            lambda seen, logits, value=value: top_k(logits, value),
            library.TopKLogitsWarper(value),
        )
    for value in (0.01, 0.2, 0.9, 0.95):
        found[f"typical {value}"] = (
            lambda seen, logits, value=value: typical_p(logits, value),
            library.TypicalLogitsWarper(value),
        )
    for value in (0.01, 0.3, 0.9, 0.999):
        found[f"top-p {value}"] = (
            lambda seen, logits, value=value: top_p(logits, value),
            library.TopPLogitsWarper(value),
        )
        found[f"min-p {value}"] = (
            lambda seen, logits, value=value: min_p(logits, value),
            library.MinPLogitsWarper(value),
        )
    return found


@pytest.mark.parametrize("name", filters())
def test_filters_equal_those_of_transformers(name: str) -> None:
    ours, theirs = filters()[name]
    generator = torch.Generator().manual_seed(11)
    for vocabulary in (11, 300, 50_000):
        for spread in (0.5, 3.0, 12.0):
            logits = torch.randn(3, vocabulary, generator=generator) * spread
            seen = torch.randint(vocabulary, (3, 40), generator=generator)
            logits = logits.double()  # top-p adds up in another order: rounding of float32 would show
            torch.testing.assert_close(ours(seen, logits), theirs(seen, logits), atol=1e-9, rtol=1e-9)


def tiny_models() -> dict[str, Callable[[], transformers.PreTrainedModel]]:
    sizes: dict[str, Any] = {
        "vocab_size": 120,
        "num_hidden_layers": 2,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
    }
    gpt2 = transformers.GPT2Config(vocab_size=120, n_positions=128, n_embd=48, n_layer=2, n_head=4)
    return {
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)),
        "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes)),
        "gpt2": lambda: transformers.GPT2LMHeadModel(gpt2),
    }


def reference_tokens(
    model: transformers.PreTrainedModel, prompt: list[int], count: int, **options: object
) -> list[int]:
    """What `transformers` writes greedily."""
    model.generation_config = transformers.GenerationConfig(
        do_sample=False, max_new_tokens=count, eos_token_id=None, pad_token_id=0, **options
    )
    tokens = torch.tensor([prompt])
    return model.generate(tokens, attention_mask=torch.ones_like(tokens))[0, len(prompt) :].tolist()  # pyright: ignore


@pytest.mark.parametrize("family", tiny_models())
def test_tiny_models_write_the_same_tokens(family: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    reference = tiny_models()[family]().eval()
    for parameter in reference.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, "cpu", torch.float32)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        prompt = torch.randint(120, (1 + 9 * seed,), generator=generator).tolist()
        *ours, _ = generate_tokens(model, prompt, max_tokens=60)
        assert ours == reference_tokens(reference, prompt, 60)
        penalized = Sampling(repetition_penalty=1.3)
        *ours, _ = generate_tokens(model, prompt, max_tokens=60, sampling=penalized)
        assert ours == reference_tokens(reference, prompt, 60, repetition_penalty=1.3)
        assert len(set(ours)) > 20


def as_reference(model: Llama) -> transformers.LlamaForCausalLM:
    """The same weights in the model of `transformers` (that both read the file alike is tested elsewhere)."""
    c = model.config
    config = transformers.LlamaConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.d_model,
        num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads,
        num_key_value_heads=c.n_kv_heads,
        intermediate_size=c.hidden,
        max_position_embeddings=c.context_length,
        rms_norm_eps=c.norm_eps,
        tie_word_embeddings=c.tied_head,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
    )
    weights = model.state_dict()
    state: dict[str, torch.Tensor] = {}
    for name, sources in llama_layout(c, "hugging_face").items():
        pieces = weights[name].split([source.shape[0] for source in sources])
        state |= {source.name: piece for source, piece in zip(sources, pieces, strict=True)}
    reference = transformers.LlamaForCausalLM(config)
    missing, unknown = reference.load_state_dict(state, strict=False)
    assert (missing, unknown) == (["lm_head.weight"], [])  # which is tied
    return reference.eval()


def test_smollm2_writes_the_same_tokens() -> None:
    try:
        ours = load_language_model("smollm2-135m-instruct", "cpu", torch.float32)
    except AssetMissing as missing:
        if isinstance(missing, AssetDamaged) or os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    assert isinstance(ours.model, Llama)
    reference = as_reference(ours.model)
    for text in ("The capital of France is", "从前有座山，"):
        prompt = ours.encode_text(text)
        *tokens, reason = generate_tokens(ours.model, prompt, max_tokens=16)
        assert reason == "length"
        assert tokens == reference_tokens(reference, prompt, 16), text

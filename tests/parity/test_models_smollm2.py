"""SmolLM2-135M-Instruct, the model that the course talks with: its logits beside those of `transformers`.

Both read the packaged GGUF file, each with its own decoder: a row in the wrong order shows, and so does a
wrong scale.
"""

from __future__ import annotations

import os

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from teachllm.stack.data.assets import AssetDamaged, AssetMissing, asset
from teachllm.stack.models.attention_maps import attention_maps
from teachllm.stack.models.gguf import read_gguf
from teachllm.stack.models.llama import Llama
from teachllm.stack.models.loading import load_model
from teachllm.stack.nn.attention import readable_attention
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.tokenizer import Tokenizer

pytestmark = pytest.mark.parity

CHAT_MODEL = "smollm2-135m-instruct"
PUBLISHED = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
}
TEXT = (
    "<|im_start|>user\nWhat is the capital of France? 法国的首都是哪里？<|im_end|>\n"
    "<|im_start|>assistant\nThe capital of France is Paris.\n\ndef area(r):\n    return 3.14 * r**2"
)


@pytest.fixture(scope="module")
def pair() -> tuple[LlamaForCausalLM, Llama]:
    try:
        path = asset(CHAT_MODEL)
    except AssetMissing as missing:
        if isinstance(missing, AssetDamaged) or os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    with torch.device("meta"):
        reference = LlamaForCausalLM(LlamaConfig(**PUBLISHED))
    tensors = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=reference)["tensors"]
    reference = LlamaForCausalLM(LlamaConfig(**PUBLISHED)).eval()
    incomplete = reference.load_state_dict(tensors, strict=False)
    assert incomplete.missing_keys == ["lm_head.weight"]  # tied
    assert not incomplete.unexpected_keys
    ours = load_model(CHAT_MODEL, device="cpu", dtype=torch.float32)
    assert isinstance(ours, Llama)
    return reference, ours


@pytest.fixture(scope="module")
def tokens(pair: tuple[LlamaForCausalLM, Llama]) -> torch.Tensor:
    tokenizer = Tokenizer.from_gguf_metadata(read_gguf(asset(CHAT_MODEL)).metadata)
    return torch.tensor([tokenizer.encode(TEXT, special="all")])


@torch.inference_mode()
def test_logits_of_the_real_model(pair: tuple[LlamaForCausalLM, Llama], tokens: torch.Tensor) -> None:
    reference, ours = pair
    assert ours.config.n_parameters == reference.num_parameters()
    expected = reference(tokens).logits
    torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=0)
    cache = KVCache.for_model(ours.config, capacity=tokens.shape[1])
    parts = [ours(part, cache=cache) for part in tokens.split([20, 1, 1, tokens.shape[1] - 22], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-4, rtol=0)
    with readable_attention():
        torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_attention_maps_of_the_real_model(pair: tuple[LlamaForCausalLM, Llama], tokens: torch.Tensor) -> None:
    reference, ours = pair
    reference.set_attn_implementation("eager")
    expected = reference(tokens[:, :16], output_attentions=True).attentions
    for got, wanted in zip(attention_maps(ours, tokens[:, :16]), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)

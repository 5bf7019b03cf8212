"""A model of `transformers` written to a GGUF file, as llama.cpp's converter does, is the same model here.

Names come from the `gguf` package's own table; the rows of queries and keys of the llama architecture are
put in the order of llama.cpp's converter.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from transformers import PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from teachllm.stack.models.loading import load_model

pytestmark = pytest.mark.parity

LLAMA = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
ARCHITECTURES = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}


def llama(**changes: object) -> PreTrainedModel:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**LLAMA, **changes}))


def gpt2(**changes: object) -> PreTrainedModel:
    sizes = {"vocab_size": 97, "n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 4, **changes}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))


REFERENCES = {
    "llama": ("llama", llama),
    "llama, tied head": ("llama", lambda: llama(tie_word_embeddings=True)),
    "llama, llama 3 scaling": ("llama", lambda: llama(rope_parameters=SCALED)),
    "llama, linear scaling": ("llama", lambda: llama(rope_parameters=LINEAR)),
    "qwen2": ("qwen2", lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**LLAMA))),
    "gpt2": ("gpt2", gpt2),
    "gpt2, head of its own": ("gpt2", lambda: gpt2(tie_word_embeddings=False)),
}


def write_gguf(path: Path, architecture: str, model: PreTrainedModel) -> None:
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(64)
    writer.add_embedding_length(48)
    writer.add_head_count(config.num_attention_heads)
    if architecture == "gpt2":
        writer.add_feed_forward_length(4 * 48)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(80)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_rope_dimension_count(8)
        rope = config.rope_parameters
        writer.add_rope_freq_base(rope["rope_theta"])
        if rope["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        if rope["rope_type"] == "llama3":
            scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
            plain = 1 / rope["rope_theta"] ** (torch.arange(0, 8, 2) / 8)
            writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy())
    names = gguf.get_tensor_name_map(ARCHITECTURES[architecture], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weight: np.ndarray = tensor.numpy()
        if architecture == "gpt2" and weight.ndim == 2 and ".c_" in name:
            weight = np.ascontiguousarray(weight.T)
        for part, heads in (("q_proj", 6), ("k_proj", 2)):
            if architecture == "llama" and part in name:
                weight = weight.reshape(heads, 2, 4, 48).swapaxes(1, 2).reshape(weight.shape)
        ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert ours is not None, name
        writer.add_tensor(ours, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
@pytest.mark.parametrize("what", REFERENCES)
def test_logits_of_a_model_in_a_gguf_file(what: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture, make = REFERENCES[what]
    reference = make().eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, mean=0.02, std=0.2)
    path = tmp_path / "model.gguf"
    write_gguf(path, architecture, reference)
    tokens = torch.randint(97, (2, 60), generator=torch.Generator().manual_seed(1))
    expected = reference(tokens).logits
    assert expected.std() > 0.1
    got = load_model(path, device="cpu", dtype=torch.float32)(tokens)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)

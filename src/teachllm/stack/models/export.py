"""A model as a Hugging Face folder, which `transformers`, and every engine that reads its files, opens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from teachllm.stack.data.shards import END_OF_TEXT
from teachllm.stack.data.whole_folder import whole_folder
from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.weights import Layout, file_tensors, gpt2_layout, llama_layout
from teachllm.stack.tokenizer import Tokenizer


def save_hugging_face(
    model: Llama | GPT2, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write the model and its tokenizer as `folder`, whole or not at all; one that is there is replaced.

    dtype: of the weights in the file. In the dtype of the model, `load_model` gives every bit back.
    The tokenizer's `<|endoftext|>`, if it has one, begins and ends a text.
    ValueError if the model has something that such a folder cannot say.
    """
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens and the model only {model.config.vocab_size}: "
            "this is not the tokenizer that it was trained with"
        )
    with whole_folder(folder) as new:
        state = {name: parameter.detach() for name, parameter in model.named_parameters()}
        write_weights(model.config, state, new, dtype)
        write_tokenizer(tokenizer, new)


def write_weights(
    config: LlamaConfig | GPT2Config, state: Mapping[str, Tensor], folder: Path, dtype: torch.dtype
) -> None:
    """model.safetensors and config.json. state: our parameters by name, without a tied head."""
    content = hugging_face_config(config) | {"dtype": str(dtype).removeprefix("torch.")}
    tensors = file_tensors(hugging_face_layout(config), state)
    on_cpu = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    save_file(on_cpu, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", content)


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json, and which of its tokens begins and ends a text."""
    tokenizer.save(folder / "tokenizer.json")
    content: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    ends = tokenizer.special_tokens.get(END_OF_TEXT)
    if ends is not None:
        # In training every document stands behind one, so a text that is to be continued does, too.
        content |= {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "add_bos_token": True}
        _write_json(folder / "generation_config.json", {"bos_token_id": ends, "eos_token_id": ends})
    _write_json(folder / "tokenizer_config.json", content)


def hugging_face_layout(config: LlamaConfig | GPT2Config) -> Layout:
    """The names that `transformers` gives the tensors of such a model."""
    if isinstance(config, LlamaConfig):
        return llama_layout(config, "hugging_face")
    return gpt2_layout(config, "hugging_face", prefix="transformer.")


def hugging_face_config(config: LlamaConfig | GPT2Config) -> dict[str, Any]:
    """What config.json says of the sizes. ValueError for rotations that no entry of it can say."""
    if isinstance(config, GPT2Config):
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": config.vocab_size,
            "n_embd": config.d_model,
            "n_layer": config.n_layers,
            "n_head": config.n_heads,
            "n_inner": config.hidden,
            "n_positions": config.context_length,
            "layer_norm_epsilon": config.norm_eps,
            "activation_function": "gelu_new",
            "tie_word_embeddings": config.tied_head,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }
    # Biases on queries, keys and values alone are what sets a Qwen2 apart.
    family, architecture = ("qwen2", "Qwen2") if config.qkv_bias else ("llama", "Llama")
    return {
        "architectures": [f"{architecture}ForCausalLM"],
        "model_type": family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "rope_parameters": _rope_parameters(config),
        "tie_word_embeddings": config.tied_head,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
    }


def _rope_parameters(config: LlamaConfig) -> dict[str, Any]:
    divisors = set(config.rope_divisors or (1.0,))
    if len(divisors) > 1:
        raise ValueError(
            "each frequency of this model's rotation is divided by another number, which config.json cannot "
            "say without the rule that they come from; only models without rope_divisors, or with the same "
            "for all, can be written"
        )
    (divisor,) = divisors
    scaling = {"rope_type": "default"} if divisor == 1 else {"rope_type": "linear", "factor": divisor}
    return {"rope_theta": config.rope_base, **scaling}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

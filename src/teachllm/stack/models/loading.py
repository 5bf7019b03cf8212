"""A model from a file: GGUF, or a Hugging Face folder of safetensors. Pickle files are never opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from teachllm.stack.data.assets import ASSETS, asset
from teachllm.stack.models.config_entries import ConfigEntries
from teachllm.stack.models.gguf import GGUFFile, read_gguf
from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.hugging_face import HuggingFaceFolder
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.weights import Layout, check_layout, gpt2_layout, llama_layout, state_dict
from teachllm.stack.nn.device import choose_device


def load_model(
    source: str | os.PathLike[str],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Llama | GPT2:
    """The model in a GGUF file, in a folder of safetensors with a config.json, or in a named asset.

    device, dtype: those of `choose_device` unless given; float32 on a device other than the chosen one.
    FileNotFoundError if there is nothing; AssetMissing if the asset was not fetched yet; ValueError, naming
    the file and everything that is wrong with it, if it cannot be used.
    """
    choice = choose_device()
    device = torch.device(device) if device is not None else choice.device
    if dtype is None:
        dtype = choice.dtype if device.type == choice.device.type else torch.float32
    path = _find(source)
    if path.is_dir():
        return _load_folder(HuggingFaceFolder(path), device, dtype)
    return _load_gguf(read_gguf(path), device, dtype)


def _find(source: str | os.PathLike[str]) -> Path:
    if isinstance(source, str) and source in ASSETS:
        return asset(source)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"{source} is neither a GGUF file, nor a folder, nor one of the assets {', '.join(ASSETS)}"
        )
    return path


def _load_folder(folder: HuggingFaceFolder, device: torch.device, dtype: torch.dtype) -> Llama | GPT2:
    config = folder.config()
    try:
        layout = folder.layout(config)
        check_layout(layout, folder.shapes(config))
        return _build(config, state_dict(layout, folder.read, device, dtype), device, dtype)
    except ValueError as problem:
        raise ValueError(f"{folder.path}: {problem}") from None


def _load_gguf(file: GGUFFile, device: torch.device, dtype: torch.dtype) -> Llama | GPT2:
    config = config_from_gguf(file)
    try:
        layout = gguf_layout(file, config)
        shapes = {name: tensor.shape for name, tensor in file.tensors.items() if name != "rope_freqs.weight"}
        check_layout(layout, shapes)
        state = state_dict(layout, lambda name: torch.from_numpy(file.array(name)), device, dtype)
        return _build(config, state, device, dtype)
    except ValueError as problem:
        raise ValueError(f"{file.path}: {problem}") from None


def _build(
    config: LlamaConfig | GPT2Config, state: dict[str, Tensor], device: torch.device, dtype: torch.dtype
) -> Llama | GPT2:
    """The model around weights that are in memory already; none are made only to be overwritten."""
    with torch.device("meta"):
        model = Llama(config) if isinstance(config, LlamaConfig) else GPT2(config)
    if config.tied_head:
        state["head.weight"] = state["embedding.weight"]
    model.load_state_dict(state, assign=True)
    if config.tied_head:
        model.head.weight = model.embedding.weight
    return model.to(device, dtype).eval()


# The sizes in a GGUF file ------------------------------------------------------------------------------


def config_from_gguf(file: GGUFFile) -> LlamaConfig | GPT2Config:
    """The sizes of the model in a GGUF file, without reading its weights.

    ValueError names the file and every key that is missing or asks for something we do not do.
    """
    architecture = file.metadata.get("general.architecture")
    if architecture not in ("llama", "qwen2", "gpt2"):
        raise ValueError(
            f"{file.path}: general.architecture is {architecture!r}; supported are llama, qwen2 and gpt2"
        )
    entries = ConfigEntries(file.metadata, prefix=f"{architecture}.")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        entries.problems.append("the tensor token_embd.weight is missing")
    sizes: dict[str, Any] = {
        "vocab_size": embedding.shape[0] if embedding else 1,
        "d_model": entries.integer("embedding_length"),
        "n_layers": entries.integer("block_count"),
        "n_heads": entries.integer("attention.head_count"),
        "hidden": entries.integer("feed_forward_length"),
        "context_length": entries.integer("context_length"),
        "tied_head": "output.weight" not in file.tensors,
    }
    if sizes["n_layers"] > len(file.tensors):
        entries.problems.append(f"{sizes['n_layers']} layers, but only {len(file.tensors)} tensors")
    if architecture == "gpt2":
        sizes["norm_eps"] = entries.number("attention.layer_norm_epsilon")
    else:
        sizes |= _llama_sizes(file, entries, sizes)
    try:
        if entries.problems:
            raise ValueError("; ".join(entries.problems))
        return GPT2Config(**sizes) if architecture == "gpt2" else LlamaConfig(**sizes)
    except ValueError as problem:
        raise ValueError(f"{file.path}: {problem}") from None


def _llama_sizes(file: GGUFFile, entries: ConfigEntries, sizes: dict[str, Any]) -> dict[str, Any]:
    """The sizes that only a Llama has, or that mean something else in it."""
    head_dim = entries.integer("attention.key_length", sizes["d_model"] // max(sizes["n_heads"], 1))
    entries.only("attention.value_length", head_dim)
    entries.only("rope.dimension_count", head_dim)
    entries.only("rope.scale_linear", 1)
    entries.only("expert_count", 0)
    divisors = None
    if (scaling := entries.get("rope.scaling.type", "none")) == "linear":
        divisors = (entries.number("rope.scaling.factor"),) * (head_dim // 2)
    elif scaling != "none":
        entries.problems.append(f"rope.scaling.type = {scaling!r} is not supported; none and linear are")
    if "rope_freqs.weight" in file.tensors:
        divisors = tuple(file.array("rope_freqs.weight").reshape(-1).tolist())
    # Within its window a model with sliding attention is a plain one.
    window = entries.integer("attention.sliding_window", 0) or sizes["context_length"]
    return {
        "context_length": min(sizes["context_length"], window),
        "n_kv_heads": entries.integer("attention.head_count_kv", sizes["n_heads"]),
        "head_dim": head_dim,
        "norm_eps": entries.number("attention.layer_norm_rms_epsilon"),
        "rope_base": entries.number("rope.freq_base", 10_000.0),
        "rope_divisors": divisors,
        "qkv_bias": "blk.0.attn_q.bias" in file.tensors,
    }


def gguf_layout(file: GGUFFile, config: LlamaConfig | GPT2Config) -> Layout:
    """Which tensors of the file make which of our parameters."""
    if isinstance(config, GPT2Config):
        return gpt2_layout(config, "gguf")
    # For the llama architecture, converters reorder queries and keys to the interleaved layout.
    return llama_layout(config, "gguf", interleaved=file.metadata["general.architecture"] == "llama")

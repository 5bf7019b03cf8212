"""A BERT from a folder of safetensors with its config.json, as Hugging Face keeps it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from teachllm.stack.models.config_entries import ConfigEntries
from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.models.hugging_face import HuggingFaceFolder
from teachllm.stack.models.weights import Layout, Source, check_layout, state_dict

# In the files, but no part of the encoder: positions that can be counted, heads for other tasks.
UNUSED = ("embeddings.position_ids", "pooler.", "cls.", "classifier.")


def load_encoder(
    path: str | os.PathLike[str], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Bert:
    """The encoder in a folder. ValueError, naming the file and everything that is wrong, if it cannot be
    used.
    """
    path = Path(path)
    folder = HuggingFaceFolder(path)
    config = read_config(path / "config.json")
    # Files of the encoder alone name its tensors so; files with a head put "bert." before them.
    prefix = "bert." if any(name.startswith("bert.") for name in folder.shard_of) else ""
    layout = bert_layout(config, prefix)
    unused = (*UNUSED, *(prefix + name for name in UNUSED))
    shapes = {name: shape for name, shape in folder.tensor_shapes().items() if not name.startswith(unused)}
    try:
        check_layout(layout, shapes)
        state = state_dict(layout, folder.read, device, dtype)
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None
    with torch.device("meta"):
        model = Bert(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def read_config(path: Path) -> BertConfig:
    """The sizes in a config.json. ValueError names everything in it that we do not do."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; a model's folder has one") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is not JSON; the file may be cut off: {problem}") from None
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind != "bert":
        raise ValueError(f"{path}: model_type is {kind!r}; of encoders, bert is supported")
    entries = ConfigEntries(content)
    entries.only("hidden_act", "gelu")
    entries.only("position_embedding_type", "absolute")
    entries.only("is_decoder", False)
    sizes = {
        "vocab_size": entries.integer("vocab_size"),
        "d_model": entries.integer("hidden_size"),
        "n_layers": entries.integer("num_hidden_layers"),
        "n_heads": entries.integer("num_attention_heads"),
        "hidden": entries.integer("intermediate_size"),
        "context_length": entries.integer("max_position_embeddings"),
        "n_token_types": entries.integer("type_vocab_size", 2),
    }
    norm_eps = entries.number("layer_norm_eps", 1e-12)
    try:
        if entries.problems:
            raise ValueError("; ".join(entries.problems))
        return BertConfig(**sizes, norm_eps=norm_eps)
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None


def bert_layout(config: BertConfig, prefix: str = "") -> Layout:
    """Which tensors of a Hugging Face file make which of our parameters. prefix: what stands before their
    names.
    """
    d, hidden = config.d_model, config.hidden
    tables = {
        "embedding": ("word_embeddings", config.vocab_size),
        "positions": ("position_embeddings", config.context_length),
        "token_types": ("token_type_embeddings", config.n_token_types),
    }
    layout: Layout = {
        f"{ours}.weight": [Source(f"{prefix}embeddings.{theirs}.weight", (rows, d))]
        for ours, (theirs, rows) in tables.items()
    }

    def both(ours: str, theirs: tuple[str, ...], *shape: int) -> None:
        """Weight and bias of one of our layers, from one of theirs or from several that are stacked."""
        layout[f"{ours}.weight"] = [Source(f"{prefix}{name}.weight", shape) for name in theirs]
        layout[f"{ours}.bias"] = [Source(f"{prefix}{name}.bias", shape[:1]) for name in theirs]

    both("norm", ("embeddings.LayerNorm",), d)
    for i in range(config.n_layers):
        ours, theirs = f"blocks.{i}.", f"encoder.layer.{i}."
        both(
            ours + "attention.qkv",
            tuple(f"{theirs}attention.self.{name}" for name in ("query", "key", "value")),
            d,
            d,
        )
        both(ours + "attention.out", (theirs + "attention.output.dense",), d, d)
        both(ours + "attention_norm", (theirs + "attention.output.LayerNorm",), d)
        both(ours + "feed_forward.up", (theirs + "intermediate.dense",), hidden, d)
        both(ours + "feed_forward.down", (theirs + "output.dense",), d, hidden)
        both(ours + "feed_forward_norm", (theirs + "output.LayerNorm",), d)
    return layout

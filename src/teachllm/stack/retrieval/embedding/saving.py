"""A folder that `load_embedding_model` reads, and sentence-transformers too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.models.encoder.loading import bert_layout
from teachllm.stack.models.weights import file_tensors
from teachllm.stack.retrieval.embedding.loading import POOLINGS
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.tokenizer.bert import BertTokenizer


def save_embedding_model(model: EmbeddingModel, folder: str | os.PathLike[str]) -> None:
    """Write weights, vocabulary and settings into `folder`, which is made. ValueError if the model is no
    BERT.
    """
    encoder, tokenizer = model.encoder, model.tokenizer
    if not isinstance(encoder, Bert) or not isinstance(tokenizer, BertTokenizer):
        raise ValueError(f"{model.name} is no BERT with BERT's tokenizer; only these are written")
    folder = Path(folder)
    c = encoder.config
    pooling = {"word_embedding_dimension": c.d_model, "include_prompt": True} | {
        name: how == model.pooling for name, how in POOLINGS.items()
    }
    kinds = ["Transformer", "Pooling", "Normalize"] if model.normalized else ["Transformer", "Pooling"]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    contents = {
        "config.json": bert_config(c, tokenizer.pad) | {"architectures": ["BertModel"]},
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": model.max_tokens, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": dict(model.prefixes)},
    }
    for name, content in contents.items():
        _write_json(folder / name, content)
    write_tokenizer(tokenizer, folder, model.max_tokens)
    state = {name: weight.detach().cpu() for name, weight in encoder.state_dict().items()}
    tensors = {
        name: tensor.contiguous().clone() for name, tensor in file_tensors(bert_layout(c), state).items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def bert_config(config: BertConfig, pad: int) -> dict[str, Any]:
    """The sizes as Hugging Face's config.json names them."""
    return {
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context_length,
        "type_vocab_size": config.n_token_types,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": "gelu",
        "pad_token_id": pad,
    }


def write_tokenizer(tokenizer: BertTokenizer, folder: Path, max_tokens: int) -> None:
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "model_max_length": max_tokens,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    (folder / "vocab.txt").write_text("\n".join(tokenizer.vocabulary) + "\n", encoding="utf-8")


def _write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

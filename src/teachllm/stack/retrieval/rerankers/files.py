"""A cross-encoder from a folder and into one, as transformers lays out `BertForSequenceClassification`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from teachllm.stack.models.encoder.loading import bert_layout, load_encoder
from teachllm.stack.models.hugging_face import HuggingFaceFolder
from teachllm.stack.models.weights import file_tensors
from teachllm.stack.retrieval.embedding.loading import read_json, read_tokenizer
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.retrieval.embedding.saving import bert_config, write_tokenizer
from teachllm.stack.retrieval.rerankers.cross_encoder import SPECIAL, CrossEncoder, PairScorer
from teachllm.stack.tokenizer.bert import BertTokenizer

HEAD = {  # ours, theirs
    "pooler.weight": "bert.pooler.dense.weight",
    "pooler.bias": "bert.pooler.dense.bias",
    "head.weight": "classifier.weight",
    "head.bias": "classifier.bias",
}


def load_cross_encoder(
    path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    max_tokens: int | None = None,
) -> CrossEncoder:
    """The cross-encoder in a folder. ValueError, naming the folder, for what is no BERT with a head of one
    class.
    """
    path = Path(path)
    encoder, tokenizer = load_encoder(path, device, dtype), read_tokenizer(path)
    folder = HuggingFaceFolder(path)
    width = encoder.config.d_model
    wanted = {
        "pooler.weight": (width, width),
        "pooler.bias": (width,),
        "head.weight": (1, width),
        "head.bias": (1,),
    }
    shapes = folder.tensor_shapes()
    for ours, theirs in HEAD.items():
        if shapes.get(theirs) != wanted[ours]:
            raise ValueError(
                f"{path}: {theirs} is {shapes.get(theirs, 'missing')}, a cross-encoder's is {wanted[ours]}; "
                "an embedding model has no such head: train one with train_cross_encoder"
            )
    with torch.device("meta"):
        model = PairScorer(encoder)
    state = {ours: folder.read(theirs).to(device, dtype) for ours, theirs in HEAD.items()}
    model.load_state_dict({**model.encoder.state_dict(prefix="encoder."), **state}, assign=True)
    longest = max_tokens or read_json(path / "tokenizer_config.json").get("model_max_length") or 10**9
    return CrossEncoder(
        path.name, model.eval(), tokenizer, check_length(min(longest, encoder.config.context_length))
    )


def new_cross_encoder(start: EmbeddingModel, *, max_tokens: int = 256, seed: int = 0) -> CrossEncoder:
    """A cross-encoder to train: the encoder of an embedding model, copied, with a head that knows nothing
    yet.

    The pooler begins as the identity, the head with zeros, so that every pair scores 0. ValueError if the
    model is no BERT with BERT's tokenizer.
    """
    from copy import deepcopy

    from teachllm.stack.models.encoder.bert import Bert

    if not isinstance(start.encoder, Bert) or not isinstance(start.tokenizer, BertTokenizer):
        raise ValueError(f"{start.name} is no BERT with BERT's tokenizer; a cross-encoder needs one")
    model = PairScorer(deepcopy(start.encoder))
    with torch.no_grad():
        torch.nn.init.eye_(model.pooler.weight)
        for tensor in (model.pooler.bias, model.head.weight, model.head.bias):
            tensor.zero_()
    longest = min(max_tokens, start.encoder.config.context_length)
    return CrossEncoder(f"{start.name}-cross", model.eval(), start.tokenizer, check_length(longest))


def check_length(max_tokens: int) -> int:
    if max_tokens <= SPECIAL:
        raise ValueError(f"max_tokens is {max_tokens}; {SPECIAL} of them are marks: give more")
    return max_tokens


def save_cross_encoder(model: CrossEncoder, folder: str | os.PathLike[str]) -> None:
    """A folder that `load_cross_encoder` reads, and transformers and sentence-transformers too."""
    folder = Path(folder)
    encoder = model.model.encoder
    config = bert_config(encoder.config, model.tokenizer.pad) | {
        "architectures": ["BertForSequenceClassification"],
        "num_labels": 1,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_tokenizer(model.tokenizer, folder, model.max_tokens)
    state = {name: weight.detach().cpu() for name, weight in model.model.state_dict().items()}
    of_encoder = {name.removeprefix("encoder."): weight for name, weight in state.items() if name not in HEAD}
    tensors = file_tensors(bert_layout(encoder.config, "bert."), of_encoder)
    tensors |= {theirs: state[ours] for ours, theirs in HEAD.items()}
    kept = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

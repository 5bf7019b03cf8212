"""An embedding model from a folder, as sentence-transformers lays it out, or from a plain BERT's folder.

Three files beside the weights decide what the vectors are: `modules.json` (which steps there are),
`1_Pooling/config.json` (how tokens become one vector), `sentence_bert_config.json` (how much of a text is
read).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from teachllm.stack.data.assets import ASSETS, asset
from teachllm.stack.models.encoder.loading import load_encoder
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.retrieval.embedding.pooling import Pooling
from teachllm.stack.tokenizer.bert import BertTokenizer

# What some families were trained to read before a text. Their folders do not say it; their model cards do.
E5 = {"query": "query: ", "passage": "passage: "}
BGE_EN = {"query": "Represent this sentence for searching relevant passages: "}
BGE_ZH = {"query": "为这个句子生成表示以用于检索相关文章："}

POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
NEWER_NAMES: dict[Pooling, str] = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


def load_embedding_model(
    source: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    prefixes: Mapping[str, str] | None = None,
) -> EmbeddingModel:
    """The model in a named asset or a folder. prefixes: for "query" and "passage", if its folder names none.

    Raises AssetMissing for an asset that was not fetched yet; ValueError, naming the file, for what we do not
    do.
    """
    path = asset(source).parent if isinstance(source, str) and source in ASSETS else Path(source)
    if not path.is_dir():
        raise FileNotFoundError(f"{source} is neither a folder nor one of the assets {', '.join(ASSETS)}")
    folder, pooling, normalized = read_modules(path)
    encoder, tokenizer = load_encoder(folder, device, dtype), read_tokenizer(folder)
    if tokenizer.vocab_size > encoder.config.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} ids, the model {encoder.config.vocab_size}"
        )
    longest = (
        read_json(folder / "sentence_bert_config.json").get("max_seq_length") or encoder.config.context_length
    )
    return EmbeddingModel(
        name=str(source) if source in ASSETS else path.name,
        encoder=encoder,
        tokenizer=tokenizer,
        begin_tokens=(tokenizer.cls,),
        end_tokens=(tokenizer.sep,),
        max_tokens=min(longest, encoder.config.context_length),
        vocab_size=encoder.config.vocab_size,
        dimension=encoder.config.d_model,
        pooling=pooling,
        normalized=normalized,
        prefixes=read_prefixes(path) if prefixes is None else dict(prefixes),
    )


def read_tokenizer(path: Path) -> BertTokenizer:
    """From tokenizer.json, else from BERT's vocab.txt."""
    if (file := path / "tokenizer.json").is_file():
        return BertTokenizer.from_tokenizer_json(file)
    if not (file := path / "vocab.txt").is_file():
        raise ValueError(f"{path} has neither a tokenizer.json nor a vocab.txt; fetch one beside the weights")
    settings = read_json(path / "tokenizer_config.json")
    return BertTokenizer.from_vocab_txt(
        file, lowercase=settings.get("do_lower_case", True), strip_accents=settings.get("strip_accents")
    )


def read_modules(path: Path) -> tuple[Path, Pooling, bool]:
    """(folder of the transformer, pooling, whether vectors are normalized). Without modules.json: the mean,
    and not, as sentence-transformers takes a plain BERT.
    """
    modules = read_json(path / "modules.json", list)
    if not modules:
        return path, "mean", False
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(
            f"{path / 'modules.json'}: the steps are {', '.join(kinds)}; supported are Transformer, Pooling "
            "and, optionally, Normalize"
        )
    file = path / modules[1]["path"] / "config.json"
    return path / modules[0]["path"], read_pooling(file), len(kinds) == 3


def read_pooling(file: Path) -> Pooling:
    """The one pooling that the file switches on. ValueError for another one, or several."""
    content = read_json(file)
    chosen = [name for name, value in content.items() if name.startswith("pooling_mode_") and value is True]
    if isinstance(content.get("pooling_mode"), str):  # as version 6 of sentence-transformers writes it
        chosen = [name for name, how in POOLINGS.items() if NEWER_NAMES[how] == content["pooling_mode"]]
    if len(chosen) != 1 or chosen[0] not in POOLINGS or content.get("include_prompt", True) is not True:
        what = content.get("pooling_mode") or " and ".join(chosen) or "nothing"
        raise ValueError(f"{file}: pooling by {what} is not supported; one of {list(POOLINGS)} is")
    return POOLINGS[chosen[0]]


def read_prefixes(path: Path) -> dict[str, str]:
    """The prompts for queries and passages, if the folder has any."""
    prompts = read_json(path / "config_sentence_transformers.json").get("prompts") or {}
    found = {"query": prompts.get("query"), "passage": prompts.get("passage") or prompts.get("document")}
    return {kind: text for kind, text in found.items() if text}


def read_json(file: Path, kind: type = dict) -> Any:
    """What the file holds; an empty `kind` if there is none. ValueError names a file that holds something
    else.
    """
    if not file.exists():
        return kind()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ValueError(f"{file} is not JSON; it may be cut off: {problem}") from None
    if not isinstance(content, kind):
        raise ValueError(f"{file} holds no JSON {'object' if kind is dict else 'list'}")
    return content

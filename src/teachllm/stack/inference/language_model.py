"""A model with everything that text needs: tokenizer, chat template, end tokens. From a GGUF or a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from teachllm.stack.chat import ChatTemplate, Message, TemplateFailed, Tool
from teachllm.stack.data.assets import ASSETS, asset
from teachllm.stack.inference.command import Weights
from teachllm.stack.inference.fast_decoding import prepare_for_decoding
from teachllm.stack.inference.generation import CausalModel
from teachllm.stack.models.gguf import read_gguf
from teachllm.stack.models.loading import load_model
from teachllm.stack.nn.attention_choice import AttentionChoice, choose_attention
from teachllm.stack.nn.attention_ways import Heads
from teachllm.stack.tokenizer import Tokenizer

USUAL_PROMPT = 512  # tokens for which the way of computing attention is chosen
# Tokens that end a text or a turn in one family or another, beside the one that the file names.
USUAL_ENDS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>")


@dataclass(frozen=True)
class LanguageModel:
    """A model that can be given text. `template` is None for a base model, which only continues text.

    begin_tokens stand before a text that is not a conversation; a template writes its own.
    decoding, decoding_zh: what its steps are computed with, and why; empty if nobody chose.
    attention: the same of the attention of prompts; None if nobody chose.
    elsewhere: the device that computes in other processes, where this one has no weights.
    """

    name: str
    model: CausalModel
    tokenizer: Tokenizer
    template: ChatTemplate | None
    begin_tokens: tuple[int, ...]
    end_tokens: frozenset[int]
    decoding: str = ""
    decoding_zh: str = ""
    attention: AttentionChoice | None = None
    elsewhere: str = ""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def device_name(self) -> str:
        """Of the device that computes, here or elsewhere."""
        return self.elsewhere or str(self.device)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @property
    def n_parameters(self) -> int:
        return sum(weights.numel() for weights in self.model.parameters())

    def encode_text(self, text: str) -> list[int]:
        """Ids of a text to be continued; special tokens in it are text."""
        return [*self.begin_tokens, *self.tokenizer.encode(text)]

    def encode_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids of a conversation, up to where the model's answer begins. Special tokens come from the template
        alone: a message that spells one cannot end its turn. Raises `TemplateFailed`.
        """
        if self.template is None:
            raise TemplateFailed(
                f"{self.name} has no chat template: it is a base model, which continues text "
                "(teachllm generate) but does not converse"
            )
        ids: list[int] = []
        special_tokens = self.tokenizer.special_tokens
        for text, is_special in self.template.render_parts(messages, list(special_tokens), tools):
            ids += [special_tokens[text]] if is_special else self.tokenizer.encode(text)
        return ids


def load_language_model(
    source: str | os.PathLike[str],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    weights: Weights | None = None,
) -> LanguageModel:
    """From a named asset, a GGUF file, or a Hugging Face folder with a tokenizer.json.

    weights: in which decoding reads them; None: in the dtype. See `prepare_for_decoding`.
    Raises what `load_model` raises, and ValueError if the tokenizer or the template cannot be used, or the
    weights cannot be had.
    """
    path = asset(source) if isinstance(source, str) and source in ASSETS else Path(source)
    if weights == "bf16" and dtype is None:
        dtype = torch.bfloat16
    decoding = prepare_for_decoding(load_model(path, device, dtype), path, weights)
    weights_of = next(decoding.model.parameters())
    heads = Heads.of_model(decoding.model.config, weights_of.dtype, weights_of.device)
    n_parameters = sum(one.numel() for one in decoding.model.parameters())
    attention = choose_attention("prompts", heads, USUAL_PROMPT, n_parameters)
    name = ASSETS[source].title if isinstance(source, str) and source in ASSETS else path.name
    read = _from_folder if path.is_dir() else _from_gguf
    try:
        tokenizer, template_source, special, adds_begin, ends = read(path)
        template = None if template_source is None else ChatTemplate(template_source, special)
    except TemplateFailed as problem:
        raise ValueError(f"{path}: {problem}") from None
    ids = tokenizer.special_tokens
    begin = ids.get(special.get("bos_token", "")) if adds_begin else None
    ends |= {ids[text] for text in (*USUAL_ENDS, special.get("eos_token")) if text in ids}
    return LanguageModel(
        name,
        decoding.model,
        tokenizer,
        template,
        () if begin is None else (begin,),
        frozenset(ends),
        decoding.reason,
        decoding.reason_zh,
        attention,
    )


def _from_gguf(path: Path) -> tuple[Tokenizer, str | None, dict[str, str], bool, set[int]]:
    metadata = read_gguf(path).metadata
    try:
        tokenizer = Tokenizer.from_gguf_metadata(metadata)
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None
    prefix = "tokenizer.ggml."
    texts = metadata[prefix + "tokens"]
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    special = {
        name: str(texts[token_id])
        for key, name in names.items()
        if isinstance(token_id := metadata.get(f"{prefix}{key}_token_id"), int) and token_id < len(texts)
    }
    keys = [f"{prefix}{key}_token_id" for key in ("eos", "eot", "eom")]
    ends = {metadata[key] for key in keys if isinstance(metadata.get(key), int)}
    template = metadata.get("tokenizer.chat_template")
    adds_begin = bool(metadata.get(prefix + "add_bos_token", False))
    return tokenizer, template if isinstance(template, str) else None, special, adds_begin, ends


def _from_folder(folder: Path) -> tuple[Tokenizer, str | None, dict[str, str], bool, set[int]]:
    file = folder / "tokenizer.json"
    if not file.exists():
        raise ValueError(f"{folder} has no tokenizer.json; fetch it beside the weights")
    tokenizer = Tokenizer.from_tokenizer_json(file)
    config = _json(folder / "tokenizer_config.json")
    special: dict[str, str] = {}
    for name, value in (_json(folder / "special_tokens_map.json") | config).items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            special[name] = text
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        template = next((one["template"] for one in template if one.get("name") == "default"), None)
    if (own_file := folder / "chat_template.jinja").exists():
        template = own_file.read_text(encoding="utf-8")
    ends: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        named = _json(folder / name).get("eos_token_id")
        ends |= set(named) if isinstance(named, list) else {named} if isinstance(named, int) else set()
    first = ((_json(file).get("post_processor") or {}).get("single") or [{}])[0]
    adds_begin = bool(config.get("add_bos_token", "SpecialToken" in first))
    return tokenizer, template, special, adds_begin, ends


def _json(path: Path) -> dict[str, Any]:
    """What the file holds; nothing if there is none. ValueError names a file that is no JSON object."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ValueError(f"{path} is not JSON; it may be cut off: {problem}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content

"""The course's real model, for figures and labs: loaded once, whichever lessons look into it.

All of these raise :class:`teachllm.stack.data.assets.AssetMissing`, with what to do, while it is not fetched.
"""

from __future__ import annotations

import functools

import torch

from teachllm.stack.data.assets import asset
from teachllm.stack.models.gguf import read_gguf
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.loading import config_from_gguf, load_model
from teachllm.stack.tokenizer import Tokenizer

CHAT_MODEL = "smollm2-135m-instruct"


@functools.cache
def model() -> Llama:
    """SmolLM2-135M-Instruct in float32, on the processor: its numbers are compared and shown."""
    loaded = load_model(CHAT_MODEL, device="cpu", dtype=torch.float32)
    assert isinstance(loaded, Llama)
    return loaded


@functools.cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_gguf_metadata(read_gguf(asset(CHAT_MODEL)).metadata)


@functools.cache
def config() -> LlamaConfig:
    """The sizes, read from the head of the model's file without loading its weights."""
    found = config_from_gguf(read_gguf(asset(CHAT_MODEL)))
    assert isinstance(found, LlamaConfig)
    return found

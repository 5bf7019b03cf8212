"""The course's real model, for figures and labs: loaded once, whichever lessons look into it.

All of these raise :class:`CannotRun`, which says what to do, while its file is not there or is damaged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from teachllm.school.figures.failure import CannotRun
from teachllm.school.language import Both
from teachllm.stack.data.assets import AssetMissing, asset
from teachllm.stack.models.gguf import GGUFFile, read_gguf
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.loading import config_from_gguf, load_model
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.tokenizer import Tokenizer

CHAT_MODEL = "smollm2-135m-instruct"


def file() -> GGUFFile:
    try:
        return read_gguf(asset(CHAT_MODEL))
    except AssetMissing as missing:
        fetch = f"teachllm assets fetch {CHAT_MODEL}"
        raise CannotRun(
            Both(
                f"课程的小模型不在这台电脑上，或者文件坏了。到“设置”里下载，或在终端运行：{fetch}",
                "The small model of the course is not on this computer, or its file is damaged. "
                f"Fetch it in the settings, or in a terminal: {fetch}",
            )
        ) from missing


@functools.cache
def model() -> Llama:
    """SmolLM2-135M-Instruct in float32, on the processor: its numbers are compared and shown."""
    # Whoever asks first may be inside inference mode, and weights made there could never have a gradient.
    with torch.inference_mode(False):
        loaded = load_model(file().path, device="cpu", dtype=torch.float32)
    assert isinstance(loaded, Llama)
    return loaded


@functools.cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_gguf_metadata(file().metadata)


@functools.cache
def config() -> LlamaConfig:
    """The sizes, read from the head of the model's file without loading its weights."""
    found = config_from_gguf(file())
    assert isinstance(found, LlamaConfig)
    return found


def question_ids(question: str) -> list[int]:
    """A conversation that asks ``question``, up to where the answer begins. Special tokens in it are text."""
    words = tokenizer()
    begin, end = words.special_tokens["<|im_start|>"], words.special_tokens["<|im_end|>"]
    asked = words.encode(f"user\n{question}")
    return [begin, *asked, end, *words.encode("\n"), begin, *words.encode("assistant\n")]


def greedy_answer(
    ids: list[int], n_tokens: int, logits: Callable[[Tensor, KVCache], Tensor]
) -> Iterator[str]:
    """The answer so far after each of at most ``n_tokens``, always the most probable one.

    ``logits(tokens, cache)`` are those of (batch, length) tokens behind the cache; the last position counts.
    """
    cache = KVCache.for_model(config(), capacity=len(ids) + n_tokens)
    end = tokenizer().special_tokens["<|im_end|>"]
    fed, answer = ids, []
    for _ in range(n_tokens):
        with torch.inference_mode():
            chosen = int(logits(torch.tensor([fed]), cache)[0, -1].argmax())
        if chosen == end:
            return
        answer.append(chosen)
        fed = [chosen]
        yield tokenizer().decode(answer)

"""Generation: the model reads the prompt once, then writes token by token behind what its KV cache holds."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from teachllm.stack.inference.sampling import Sampling, choose_token
from teachllm.stack.inference.stop_strings import StopStrings
from teachllm.stack.nn.kv_cache import CachedModelConfig, CacheView, KVCache
from teachllm.stack.tokenizer import StreamDecoder, Tokenizer

STEP = 512  # tokens that one step reads at most: between two steps, `stop` is looked at

EndReason = Literal["stop", "length", "context", "cancelled"]


class GenerativeConfig(CachedModelConfig, Protocol):
    """What generation must know of a model."""

    @property
    def context_length(self) -> int: ...
    @property
    def n_heads(self) -> int: ...


class CausalModel(Protocol):
    """Any model of the stack."""

    @property
    def config(self) -> GenerativeConfig: ...

    @property
    def head(self) -> nn.Module:
        """From features to logits."""
        ...

    def __call__(self, tokens: Tensor, cache: CacheView | None = None, last_only: bool = False) -> Tensor: ...

    def features(self, tokens: Tensor, cache: CacheView | None = None) -> Tensor:
        """What the head reads."""
        ...

    def parameters(self) -> Iterator[Tensor]: ...


class ContextFull(ValueError):
    """The prompt leaves no room for an answer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One token, and the text that may be shown because of it: empty in the middle of a character or while a
    stop string might begin.
    """

    token: int
    text: str


@dataclass(frozen=True, slots=True)
class End:
    """Why it ended: an end token or a stop string ("stop"), `max_tokens` ("length"), the model's context is
    full, or the caller stopped it. `text` is what was held back until then.
    """

    reason: EndReason
    text: str
    prompt_tokens: int
    completion_tokens: int


def generate(
    model: CausalModel,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    *,
    sampling: Sampling | None = None,
    max_tokens: int | None = None,
    end_tokens: Collection[int] = (),
    stop_strings: Collection[str] = (),
    stop: threading.Event | None = None,
) -> Iterator[Piece | End]:
    """Continue `prompt` (text, in which special tokens are text, or ids); the last event is `End`.

    end_tokens end the text and are no part of it; the text ends before the first of `stop_strings`. Setting
    `stop`, from any thread, ends it too. Joined, the texts of all events are the continuation.
    Raises `ContextFull`, ValueError for an empty prompt.
    """
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    tokens = generate_tokens(
        model, ids, sampling=sampling, max_tokens=max_tokens, end_tokens=end_tokens, stop=stop
    )
    return as_text(tokens, tokenizer, len(ids), stop_strings)


def as_text(
    tokens: Iterator[int | EndReason],
    tokenizer: Tokenizer,
    prompt_tokens: int,
    stop_strings: Collection[str] = (),
) -> Iterator[Piece | End]:
    """The events of `generate` for tokens that were chosen in any way; the last of `tokens` is the reason why
    there are no more.
    """
    return _as_text(
        tokens, StreamDecoder(tokenizer, skip_special=True), StopStrings(stop_strings), prompt_tokens
    )


def _as_text(
    tokens: Iterator[int | EndReason], decoder: StreamDecoder, stops: StopStrings, prompt_tokens: int
) -> Iterator[Piece | End]:
    for count, token in enumerate(tokens):
        if not isinstance(token, int):  # the reason why there are no more
            yield End(token, stops.push(decoder.flush()) + stops.flush(), prompt_tokens, count)
            return
        yield Piece(token, stops.push(decoder.push(token)))
        if stops.stopped:
            yield End("stop", "", prompt_tokens, count + 1)
            return


def generate_tokens(
    model: CausalModel,
    prompt: Sequence[int],
    *,
    sampling: Sampling | None = None,
    max_tokens: int | None = None,
    end_tokens: Collection[int] = (),
    stop: threading.Event | None = None,
) -> Iterator[int | EndReason]:
    """The tokens that follow `prompt`, then why there are no more. See `generate`."""
    wanted, wants_all = tokens_to_write(model, prompt, max_tokens)
    sampling, stop = sampling or Sampling(), stop or threading.Event()
    return _decode(model, list(prompt), sampling, wanted, wants_all, end_tokens, stop)


def tokens_to_write(model: CausalModel, prompt: Sequence[int], max_tokens: int | None) -> tuple[int, bool]:
    """How many tokens may follow `prompt`, and whether they fill the model's context.

    Raises `ContextFull`, ValueError for an empty prompt or a `max_tokens` below 1.
    """
    room = model.config.context_length - len(prompt)
    if not prompt:
        raise ValueError("the prompt is empty; a model continues at least one token")
    if room < 1:
        raise ContextFull(
            f"the prompt has {len(prompt)} tokens; this model reads {model.config.context_length} in all, "
            "the answer included. Shorten it, or begin a new conversation."
        )
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; it must be at least 1")
    wanted = room if max_tokens is None else min(max_tokens, room)
    return wanted, wanted == room


def _decode(
    model: CausalModel,
    prompt: list[int],
    sampling: Sampling,
    wanted: int,
    wants_all: bool,
    end_tokens: Collection[int],
    stop: threading.Event,
) -> Iterator[int | EndReason]:
    weights = next(model.parameters())
    device = weights.device
    cache = KVCache.for_model(model.config, len(prompt) + wanted, dtype=weights.dtype, device=device)
    generator = sampling.generator(device)
    seen = torch.zeros(len(prompt) + wanted, dtype=torch.long, device=device)
    seen[: len(prompt)] = torch.tensor(prompt, device=device)
    end_tokens = frozenset(end_tokens)
    length = len(prompt)
    # No phases: a step reads what stands behind the cache, many tokens of the prompt or the one just written.
    while not stop.is_set():
        read = cache.length
        logits = _forward(model, seen[read : min(read + STEP, length)], cache)
        if cache.length < length:
            continue
        token = choose_token(logits, seen[:length], sampling, generator)
        if token in end_tokens:
            yield "stop"
            return
        yield token
        seen[length] = token
        length += 1
        if length == len(seen):
            yield "context" if wants_all else "length"
            return
    yield "cancelled"


@torch.inference_mode()
def _forward(model: CausalModel, tokens: Tensor, cache: KVCache) -> Tensor:
    """The logits after the last of `tokens`. The mode ends here: code between two tokens is not ours."""
    return model(tokens[None], cache, last_only=True)[0, -1]

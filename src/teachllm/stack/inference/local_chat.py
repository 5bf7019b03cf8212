"""The local chat model: the stack's own model behind the `ChatModel` door."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Generator, Sequence

import torch

from teachllm.stack.chat import (
    ChatOptions,
    Event,
    Failure,
    Finish,
    Message,
    TemplateFailed,
    TextDelta,
    Tool,
    Usage,
)
from teachllm.stack.data.assets import AssetError
from teachllm.stack.inference.command import Weights
from teachllm.stack.inference.generation import ContextFull, End, generate
from teachllm.stack.inference.language_model import LanguageModel, load_language_model
from teachllm.stack.inference.sampling import Sampling

SAMPLING = Sampling(temperature=0.2, top_p=0.9, repetition_penalty=1.1)  # small models repeat themselves
MAX_TOKENS = 512
POLL = 0.05  # seconds between two looks at `stop` while another answer is being written


class LocalChatModel:
    """A named asset, a GGUF file, a folder, or a model that is loaded already. Thread-safe.

    Loads at the first answer, or by `load`. Writes one answer at a time; others wait for their turn.
    weights: in which decoding reads them; see `prepare_for_decoding`.
    sampling, max_tokens: where the options of an answer leave the choice to the model.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | LanguageModel,
        *,
        sampling: Sampling = SAMPLING,
        max_tokens: int = MAX_TOKENS,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        weights: Weights | None = None,
    ) -> None:
        self._source = source
        self._sampling = sampling
        self._max_tokens = max_tokens
        self._device, self._dtype = device, dtype
        self._weights: Weights | None = weights
        self._loaded = source if isinstance(source, LanguageModel) else None
        self._loading = threading.Lock()
        self._answering = threading.Lock()

    def __repr__(self) -> str:
        name = self._source.name if isinstance(self._source, LanguageModel) else os.fspath(self._source)
        return f"LocalChatModel({name!r})"

    def load(self) -> LanguageModel:
        """The model; the first call loads it. Raises what `load_language_model` raises."""
        with self._loading:
            if self._loaded is None:
                assert not isinstance(self._source, LanguageModel)
                self._loaded = load_language_model(self._source, self._device, self._dtype, self._weights)
            return self._loaded

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        options: ChatOptions | None = None,
        *,
        stop: threading.Event | None = None,
    ) -> Generator[Event, None, None]:
        """See `ChatModel.stream`. Tools are refused: this model does not call them."""
        return self._stream(list(messages), list(tools), options or ChatOptions(), stop or threading.Event())

    def _stream(
        self, messages: list[Message], tools: list[Tool], options: ChatOptions, stop: threading.Event
    ) -> Generator[Event, None, None]:
        if tools:
            yield Failure(
                "unsupported",
                "the local model does not call tools; use a model behind an OpenAI-compatible endpoint",
            )
            return
        while not self._answering.acquire(timeout=POLL):
            if stop.is_set():
                yield Finish("cancelled")
                return
        try:
            yield from self._answer(messages, options, stop)
        finally:
            self._answering.release()

    def _answer(
        self, messages: list[Message], options: ChatOptions, stop: threading.Event
    ) -> Generator[Event, None, None]:
        try:
            language_model = self.load()
            prompt = language_model.encode_chat(messages)
            events = generate(
                language_model.model,
                language_model.tokenizer,
                prompt,
                sampling=self._sampling_of(options),
                max_tokens=options.max_tokens or self._max_tokens,
                end_tokens=language_model.end_tokens,
                stop_strings=options.stop,
                stop=stop,
            )
        except (AssetError, OSError) as problem:
            yield Failure("asset", str(problem))
            return
        except TemplateFailed as problem:
            yield Failure("template", str(problem))
            return
        except ContextFull as problem:
            yield Failure("context", str(problem))
            return
        except ValueError as problem:  # a file that is damaged, or of a kind that we do not read
            yield Failure("asset", str(problem))
            return
        try:
            for event in events:
                if event.text:
                    yield TextDelta(event.text)
                if isinstance(event, End):
                    yield Usage(event.prompt_tokens, event.completion_tokens)
                    yield Finish("length" if event.reason == "context" else event.reason)
        except (MemoryError, torch.OutOfMemoryError) as problem:
            yield Failure("memory", f"not enough memory for this conversation: {problem}. Begin a new one.")

    def _sampling_of(self, options: ChatOptions) -> Sampling:
        chosen = {
            name: value
            for name in ("temperature", "top_p", "seed")
            if (value := getattr(options, name)) is not None
        }
        return dataclasses.replace(self._sampling, **chosen)

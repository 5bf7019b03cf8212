"""The protocol that every chat model follows, and the options that every one understands."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from teachllm.stack.chat.events import Event
from teachllm.stack.chat.messages import Message, Tool


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to answer. None leaves the choice to the model. ValueError names everything that is out of range.

    temperature 0 takes the most probable token every time. The answer ends before any of `stop` appears in
    it. Two answers with one seed agree, as far as the model can promise that.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            problems.append(f"temperature is {self.temperature}; it must be from 0 to 2")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.max_tokens is not None and self.max_tokens < 1:
            problems.append(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if isinstance(self.stop, str) or not all(self.stop):
            problems.append(f"stop is {self.stop!r}; it must be a tuple of texts that are not empty")
        if problems:
            raise ValueError("these options cannot be used: " + "; ".join(problems))


class ChatModel(Protocol):
    """A language model that talks. Safe to use from several threads."""

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        options: ChatOptions | None = None,
        *,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """The answer, event by event; the last one is `Finish` or `Failure`.

        Nothing that goes wrong with the model or its endpoint is raised: it is a `Failure`. Setting `stop`,
        from any thread, ends the answer with Finish("cancelled"); so does closing the iterator, without it.
        """
        ...

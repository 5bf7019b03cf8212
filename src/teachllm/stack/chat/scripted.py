"""A chat model that says what it was told to say: for tests of everything above the door."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from teachllm.stack.chat.events import Event, Finish, TextDelta, ToolCallMade, Usage
from teachllm.stack.chat.messages import Message, Tool, ToolCall
from teachllm.stack.chat.model import ChatOptions

Script: TypeAlias = str | ToolCall | Sequence[Event] | Callable[[Sequence[Message]], str]


@dataclass(frozen=True, slots=True)
class Request:
    """What the model was asked."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    options: ChatOptions


class ScriptedChatModel:
    """Gives its answers in order, one a request, and keeps the requests.

    An answer is a text (sent word by word), a tool call, exact events, or a function that makes a text from
    the messages. delay: seconds before every event. IndexError when there is no answer left.
    """

    def __init__(self, answers: Sequence[Script], *, delay: float = 0.0) -> None:
        if isinstance(answers, str):
            raise TypeError("answers is one text; give a sequence of answers, such as [text]")
        self._answers = list(answers)
        self._delay = delay
        self._lock = threading.Lock()
        self.requests: list[Request] = []

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        options: ChatOptions | None = None,
        *,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        with self._lock:
            if len(self.requests) == len(self._answers):
                raise IndexError(f"all {len(self._answers)} answers of the script have been given")
            answer = self._answers[len(self.requests)]
            self.requests.append(Request(tuple(messages), tuple(tools), options or ChatOptions()))
        stop = stop or threading.Event()
        return self._play(_events(answer, messages), stop)

    def _play(self, events: Sequence[Event], stop: threading.Event) -> Iterator[Event]:
        for event in events:
            if stop.wait(self._delay) if self._delay else stop.is_set():
                yield Finish("cancelled")
                return
            yield event


def _events(answer: Script, messages: Sequence[Message]) -> Sequence[Event]:
    if callable(answer):
        answer = answer(messages)
    if isinstance(answer, ToolCall):
        return [ToolCallMade(answer), Finish("tool_calls")]
    if not isinstance(answer, str):
        return answer
    words = re.findall(r"\S+\s*|\s+", answer)
    prompt = sum(len(message.content.split()) for message in messages)
    return [*map(TextDelta, words), Usage(prompt, len(words)), Finish("stop")]

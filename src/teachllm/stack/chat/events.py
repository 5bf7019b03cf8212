"""What comes out of a chat model: a stream of events that ends with `Finish` or `Failure`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from teachllm.stack.chat.messages import Message, ToolCall

FailureKind = Literal[
    "asset",  # the model's file is missing or damaged
    "memory",  # the machine has not enough
    "context",  # the conversation is longer than the model can read
    "template",  # the messages cannot be put into the model's chat template
    "connection",  # the endpoint could not be reached, or the connection broke
    "timeout",  # it did not answer in time
    "authorization",  # the API key is missing or wrong
    "rate_limit",  # too many requests
    "request",  # the endpoint refuses the request
    "server",  # the endpoint failed
    "answer",  # what came back is not what the interface promises
    "unsupported",  # this model cannot do what was asked
]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallMade:
    """The model asks for a tool; its arguments are complete."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The answer is over: the model ended it ("stop"), or asks for tools, or `max_tokens` or the context was
    reached ("length"), or the caller stopped it, or the provider blocked it.
    """

    reason: Literal["stop", "tool_calls", "length", "cancelled", "content_filter"]


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer broke off; `message` says to the user what happened and what to do."""

    kind: FailureKind
    message: str


Event: TypeAlias = TextDelta | ToolCallMade | Usage | Finish | Failure


class ChatError(Exception):
    """A `Failure`, raised by `collect`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish: Finish
    usage: Usage | None

    @property
    def message(self) -> Message:
        """The answer as the next message of the conversation."""
        return Message("assistant", self.text, self.tool_calls)


def collect(events: Iterable[Event]) -> Answer:
    """Wait for the whole answer. Raises `ChatError` on a `Failure`."""
    text: list[str] = []
    calls: list[ToolCall] = []
    usage: Usage | None = None
    finish: Finish | None = None
    for event in events:
        match event:
            case TextDelta():
                text.append(event.text)
            case ToolCallMade():
                calls.append(event.call)
            case Usage():
                usage = event
            case Finish():
                finish = event
            case Failure():
                raise ChatError(event)
    if finish is None:
        raise ChatError(Failure("answer", "the model's stream of events ended without Finish or Failure"))
    return Answer("".join(text), tuple(calls), finish, usage)

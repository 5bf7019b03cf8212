"""From what the engine writes to what a client is told: one change of one choice after another.

A whole answer is the sum of its changes, so streamed and whole answers cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from teachllm.stack.inference.engine.request import Finished, TokenOut
from teachllm.stack.inference.server.tool_calls import (
    CallWritten,
    ToolCallParser,
    read_call,
    read_cut_off_call,
)

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """ln p of a token that was written, and of the most probable ones in its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """What choice `index` gains. `finish` is the last of a choice."""

    index: int
    text: str = ""
    calls: tuple[CallWritten, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None


class TextChoice:
    """One choice whose text is passed on as it is. `echo`: what it begins with."""

    def __init__(self, index: int, echo: str = "") -> None:
        self._index = index
        self._before = echo

    def take(self, output: TokenOut | Finished) -> Delta:
        before, self._before = self._before, ""
        finish = _finish(output) if isinstance(output, Finished) else None
        return Delta(self._index, before + output.text, (), _logprobs(output), finish)


class CallingChoice:
    """One choice that may hold calls of tools. `marks`: tokens that the engine does not write out."""

    def __init__(self, index: int, tools: Sequence[str], marks: Mapping[int, str]) -> None:
        self._index = index
        self._parser = ToolCallParser(tools)
        self._marks = marks
        self._called = False

    def take(self, output: TokenOut | Finished) -> Delta:
        written = output.text
        if isinstance(output, TokenOut):
            written = self._marks.get(output.token, "") + written
        found = self._parser.push(written)
        finish = None
        if isinstance(output, Finished):
            found += self._parser.flush()
            finish = _finish(output)
        text, calls = _sorted(found)
        self._called = self._called or bool(calls)
        if finish == "stop" and self._called:
            finish = "tool_calls"
        return Delta(self._index, text, calls, _logprobs(output), finish)


class ForcedCall:
    """One choice that is the inside of a call from its first token to its last, as the grammar made it."""

    def __init__(self, index: int, tools: Sequence[str], finish_of_call: FinishReason) -> None:
        self._index = index
        self._tools = tools
        self._finish_of_call: FinishReason = finish_of_call
        self._text = ""

    def take(self, output: TokenOut | Finished) -> Delta:
        self._text += output.text
        if isinstance(output, TokenOut):
            return Delta(self._index, logprobs=_logprobs(output))
        call = read_call(self._text)
        if call is not None:
            return Delta(self._index, calls=(call,), finish=self._finish_of_call)
        begun = read_cut_off_call(self._text, self._tools)
        return Delta(self._index, calls=(begun,) if begun else (), finish=_finish(output))


Choice: TypeAlias = TextChoice | CallingChoice | ForcedCall


def summed(deltas: Iterable[Delta]) -> Delta:
    """All changes of one choice as one."""
    texts: list[str] = []
    calls: list[CallWritten] = []
    logprobs: list[TokenLogprob] = []
    index, finish = 0, None
    for delta in deltas:
        index, finish = delta.index, delta.finish or finish
        texts.append(delta.text)
        calls += delta.calls
        logprobs += delta.logprobs
    return Delta(index, "".join(texts), tuple(calls), tuple(logprobs), finish)


def _sorted(found: Iterable[str | CallWritten]) -> tuple[str, tuple[CallWritten, ...]]:
    """The text and the calls among `found`. White space between two calls is nobody's text."""
    pieces = list(found)
    calls = tuple(one for one in pieces if isinstance(one, CallWritten))
    text = "".join(one for one in pieces if isinstance(one, str))
    return ("" if calls and not text.strip() else text), calls


def _finish(output: Finished) -> FinishReason:
    return "stop" if output.reason == "stop" else "length"


def _logprobs(output: TokenOut | Finished) -> tuple[TokenLogprob, ...]:
    if isinstance(output, Finished) or output.logprob is None:
        return ()
    return (TokenLogprob(output.token, output.logprob, output.top_logprobs),)

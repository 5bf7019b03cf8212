"""OpenAI's JSON for answers: chat completions and completions, whole and as chunks of a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from teachllm.stack.inference.engine.request import Usage
from teachllm.stack.inference.server.deltas import Delta, TokenLogprob
from teachllm.stack.inference.server.tool_calls import CallWritten
from teachllm.stack.tokenizer import Tokenizer

LOWEST_LOGPROB = -9999.0  # JSON has no -inf; others write this number for a token that could not come


class Shape(Protocol):
    """How one endpoint writes its answers."""

    def opening(self, index: int) -> dict[str, Any] | None:
        """A chunk that a choice begins with."""
        ...

    def chunk(self, delta: Delta) -> dict[str, Any]: ...

    def usage_chunk(self, usage: Usage) -> dict[str, Any]: ...

    def whole(self, choices: Sequence[Delta], usage: Usage) -> dict[str, Any]: ...


@dataclass
class ChatShape:
    """Of ``/v1/chat/completions``. `with_logprobs`: whether the client asked for them."""

    model: str
    tokenizer: Tokenizer
    with_logprobs: bool
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    _calls: dict[int, int] = field(default_factory=dict)

    def opening(self, index: int) -> dict[str, Any]:
        return self._chunk([self._choice(index, {"role": "assistant", "content": ""}, None, None)])

    def chunk(self, delta: Delta) -> dict[str, Any]:
        change: dict[str, Any] = {"content": delta.text} if delta.text else {}
        if delta.calls:
            first = self._calls.get(delta.index, 0)
            self._calls[delta.index] = first + len(delta.calls)
            change["tool_calls"] = [
                {"index": first + place, **_call(call)} for place, call in enumerate(delta.calls)
            ]
        return self._chunk([self._choice(delta.index, change, delta.logprobs, delta.finish)])

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        return {**self._chunk([]), "usage": usage_json(usage)}

    def whole(self, choices: Sequence[Delta], usage: Usage) -> dict[str, Any]:
        written = []
        for choice in choices:
            message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
            if choice.calls:
                message["content"] = choice.text or None
                message["tool_calls"] = [_call(call) for call in choice.calls]
            written.append(
                {
                    "index": choice.index,
                    "message": message,
                    "logprobs": self._logprobs(choice.logprobs),
                    "finish_reason": choice.finish,
                }
            )
        return {**self._head("chat.completion"), "choices": written, "usage": usage_json(usage)}

    def _choice(
        self, index: int, delta: dict[str, Any], logprobs: Sequence[TokenLogprob] | None, finish: str | None
    ) -> dict[str, Any]:
        shown = self._logprobs(logprobs) if logprobs else None
        return {"index": index, "delta": delta, "logprobs": shown, "finish_reason": finish}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": choices}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _logprobs(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self.with_logprobs:
            return None
        return {"content": [self._logprob(one) for one in logprobs], "refusal": None}

    def _logprob(self, one: TokenLogprob) -> dict[str, Any]:
        top = [self._token(token, logprob) for token, logprob in one.top]
        return {**self._token(one.token, one.logprob), "top_logprobs": top}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        spelled = self.tokenizer.id_to_bytes(token)
        text = spelled.decode("utf-8", "replace")
        return {"token": text, "logprob": max(logprob, LOWEST_LOGPROB), "bytes": list(spelled)}


@dataclass
class CompletionShape:
    """Of ``/v1/completions``."""

    model: str
    tokenizer: Tokenizer
    with_logprobs: bool
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    _offsets: dict[int, int] = field(default_factory=dict)

    def opening(self, index: int) -> None:
        return None

    def chunk(self, delta: Delta) -> dict[str, Any]:
        return {**self._head(), "choices": [self._choice(delta)]}

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        return {**self._head(), "choices": [], "usage": usage_json(usage)}

    def whole(self, choices: Sequence[Delta], usage: Usage) -> dict[str, Any]:
        return {**self._head(), "choices": [self._choice(one) for one in choices], "usage": usage_json(usage)}

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "object": "text_completion", "created": self.created, "model": self.model}

    def _choice(self, delta: Delta) -> dict[str, Any]:
        return {
            "index": delta.index,
            "text": delta.text,
            "logprobs": self._logprobs(delta.index, delta.logprobs) if self.with_logprobs else None,
            "finish_reason": delta.finish,
        }

    def _logprobs(self, index: int, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """text_offset: where each token begins in the text, in characters."""
        tokens, offsets = [], []
        for one in logprobs:
            tokens.append(self._text(one.token))
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(tokens[-1])
        return {
            "tokens": tokens,
            "token_logprobs": [max(one.logprob, LOWEST_LOGPROB) for one in logprobs],
            "top_logprobs": [
                {self._text(token): max(logprob, LOWEST_LOGPROB) for token, logprob in one.top}
                for one in logprobs
            ],
            "text_offset": offsets,
        }

    def _text(self, token: int) -> str:
        """A token that is no whole character is written as OpenAI writes it: ``bytes:\\xe4\\xbd``."""
        spelled = self.tokenizer.id_to_bytes(token)
        try:
            return spelled.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)


def usage_json(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _call(call: CallWritten) -> dict[str, Any]:
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }

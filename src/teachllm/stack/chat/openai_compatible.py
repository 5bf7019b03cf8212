"""Any endpoint that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp's server, hosted models.

The answer comes as server-sent events; each carries a piece of text or of a tool call.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from teachllm.stack.chat.events import Event, Failure, FailureKind, Finish, TextDelta, ToolCallMade, Usage
from teachllm.stack.chat.messages import Message, Tool, ToolCall
from teachllm.stack.chat.model import ChatOptions

LONGEST_EVENT = 8 << 20  # bytes of one server-sent event
POLL = 0.05  # seconds between two looks at `stop`
FINISH_REASONS: dict[str, Literal["stop", "tool_calls", "length", "content_filter"]] = {
    "stop": "stop",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "content_filter": "content_filter",
}


class OpenAIChatModel:
    """A model behind `base_url`, such as "http://localhost:8000/v1".

    connect_timeout and silence_timeout are seconds: to reach the endpoint, and between two pieces of an
    answer (the first of which may take long). A connection that cannot be made, or breaks before the endpoint
    answers, is tried again `retries` times; an answer that has begun never is. The API key appears in no
    message and no repr. ValueError for an address that is not one.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        connect_timeout: float = 10.0,
        silence_timeout: float = 120.0,
        retries: int = 2,
    ) -> None:
        try:
            address = httpx.URL(base_url)
        except httpx.InvalidURL as problem:
            raise ValueError(f"base_url is {base_url!r}: {problem}") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError(f"base_url is {base_url!r}; it must look like http://localhost:8000/v1")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
            raise ValueError("api_key has characters that no key has; was it copied whole, on one line?")
        self.model = model
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._retries = retries
        self._silence_timeout = silence_timeout
        timeout = httpx.Timeout(silence_timeout, connect=connect_timeout)
        self._client = httpx.Client(timeout=timeout, follow_redirects=False)

    def __repr__(self) -> str:
        return f"OpenAIChatModel({self.base_url!r}, {self.model!r})"

    def close(self) -> None:
        """Close the connections; answers that are being written break off."""
        self._client.close()

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        options: ChatOptions | None = None,
        *,
        stop: threading.Event | None = None,
    ) -> Generator[Event, None, None]:
        body = self._body(messages, tools, options or ChatOptions())
        return self._stream(body, stop or threading.Event())

    def _stream(self, body: dict[str, Any], stop: threading.Event) -> Generator[Event, None, None]:
        """Reading blocks, so a thread does it, and stopping need not wait for the next byte."""
        abandoned = threading.Event()
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

        def read() -> None:
            try:
                for event in self._answer(body, abandoned):
                    events.put(event)
            finally:
                events.put(None)

        threading.Thread(target=read, name="chat-completion", daemon=True).start()
        try:
            while True:
                if stop.is_set():
                    yield Finish("cancelled")
                    return
                try:
                    event = events.get(timeout=POLL)
                except queue.Empty:
                    continue
                if event is None:
                    return
                yield event
        finally:
            abandoned.set()

    def _body(
        self, messages: Sequence[Message], tools: Sequence[Tool], options: ChatOptions
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [message.as_dict() for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tools:
            body["tools"] = [tool.as_dict() for tool in tools]
        for name in ("temperature", "top_p", "max_tokens", "seed"):
            if (value := getattr(options, name)) is not None:
                body[name] = value
        if options.stop:
            body["stop"] = list(options.stop)
        return body

    def _answer(self, body: dict[str, Any], abandoned: threading.Event) -> Iterator[Event]:
        try:
            with self._post(body, abandoned) as response:
                if response.status_code != 200:
                    yield self._refusal(response)
                else:
                    yield from self._read(response, abandoned)
        except _Broken as broken:
            yield self._failure(broken.kind, str(broken))
        except httpx.TimeoutException:
            yield self._failure(
                "timeout", f"{self.base_url} sent nothing for {self._silence_timeout:g} s. Try again later."
            )
        except (httpx.TransportError, httpx.StreamError) as problem:
            why = f"the connection to {self.base_url} broke off: {_words(problem)}"
            yield self._failure("connection", f"{why}. What has arrived of the answer is incomplete.")

    def _post(self, body: dict[str, Any], abandoned: threading.Event) -> _Response:
        """The response, its body unread. Tries again while nothing of an answer has arrived."""
        headers = {"Accept": "text/event-stream"}
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        request = self._client.build_request(
            "POST", f"{self.base_url}/chat/completions", json=body, headers=headers
        )
        for attempt in range(self._retries + 1):
            try:
                return _Response(self._client.send(request, stream=True))
            except httpx.ReadTimeout:
                raise  # it is there and slow: asking again would make it slower
            except (httpx.TransportError, httpx.TimeoutException) as problem:
                if attempt == self._retries or abandoned.wait(0.2 * 2**attempt):
                    raise _Broken(
                        "connection",
                        f"{self.base_url} cannot be reached ({_words(problem)}). Is the address right, and "
                        "is the server running?",
                    ) from problem
        raise AssertionError("unreachable")

    def _read(self, response: httpx.Response, abandoned: threading.Event) -> Iterator[Event]:
        assembly = _Assembly()
        for data in _server_sent_events(response):
            if abandoned.is_set():
                return
            if data == "[DONE]":
                break
            try:
                chunk = json.loads(data)
            except ValueError:
                raise _Broken(
                    "answer", f"{self.base_url} sent an event that is not JSON: {data[:80]!r}"
                ) from None
            if not isinstance(chunk, dict):
                raise _Broken("answer", f"{self.base_url} sent an event that is no object: {data[:80]!r}")
            if error := chunk.get("error"):
                raise _Broken("server", f"{self.base_url} failed while answering: {_error_text(error)}")
            try:
                yield from assembly.add(chunk)
            except (KeyError, TypeError, AttributeError, IndexError, ValueError):
                raise _Broken("answer", f"{self.base_url} sent an unexpected event: {data[:200]!r}") from None
        yield from assembly.end(self.base_url)

    def _refusal(self, response: httpx.Response) -> Failure:
        status = response.status_code
        said = _said(response)
        kinds: dict[int, tuple[FailureKind, str]] = {
            401: ("authorization", "The API key is missing or wrong."),
            403: ("authorization", "The API key does not allow this."),
            404: ("request", f"Is {self.base_url} right, and does it know the model {self.model!r}?"),
            408: ("timeout", "Try again later."),
            429: ("rate_limit", "Too many requests, or the quota is used up."),
        }
        other: tuple[FailureKind, str] = ("server", "Try again later.") if status >= 500 else ("request", "")
        kind, advice = kinds.get(status, other)
        if (wait := response.headers.get("retry-after")) is not None and status in (429, 503):
            advice += f" It asks to wait {wait[:40]} (Retry-After)."
        return self._failure(kind, f"{self.base_url} answered {status}: {said}. {advice}".rstrip())

    def _failure(self, kind: FailureKind, message: str) -> Failure:
        if self._api_key:
            message = message.replace(self._api_key, "[API key]")
        return Failure(kind, message)


class _Broken(Exception):
    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind


class _Response:
    """Closes the response, also when its reader stops half-way."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    def __enter__(self) -> httpx.Response:
        return self._response

    def __exit__(self, *error: object) -> None:
        self._response.close()


@dataclass
class _PartialCall:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _Assembly:
    """Puts the chunks of one answer together. A tool call comes in pieces, which an index holds together."""

    def __init__(self) -> None:
        self._calls: dict[int, _PartialCall] = {}
        self._finish: str | None = None
        self._usage: Usage | None = None

    def add(self, chunk: dict[str, Any]) -> Iterator[Event]:
        if usage := chunk.get("usage"):
            self._usage = Usage(int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0))
        for choice in chunk.get("choices") or []:
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                yield TextDelta(_text(text))
            for position, piece in enumerate(delta.get("tool_calls") or []):
                call = self._calls.setdefault(piece.get("index", position), _PartialCall())
                function = piece.get("function") or {}
                call.id = _text(piece.get("id") or call.id)
                call.name = _text(function.get("name") or call.name)
                call.arguments.append(_text(function.get("arguments") or ""))
            self._finish = choice.get("finish_reason") or self._finish

    def end(self, base_url: str) -> Iterator[Event]:
        if self._finish is None:
            raise _Broken(
                "answer", f"{base_url} ended the answer in the middle; what has arrived is incomplete"
            )
        for index, call in sorted(self._calls.items()):
            yield ToolCallMade(_complete(call, index, cut_off=self._finish == "length"))
        if self._usage is not None:
            yield self._usage
        reason = FINISH_REASONS.get(self._finish, "stop")
        yield Finish("tool_calls" if self._calls and reason == "stop" else reason)


def _complete(call: _PartialCall, index: int, *, cut_off: bool) -> ToolCall:
    written = "".join(call.arguments)
    try:
        arguments = json.loads(written or "{}")
    except ValueError:
        arguments = None
    if not call.name or not isinstance(arguments, dict):
        why = "max_tokens ended it" if cut_off else "its arguments must be a JSON object"
        raise _Broken(
            "answer", f"the model's call of {call.name or 'a tool'} is broken ({why}): {written[:200]!r}"
        )
    return ToolCall(call.id or f"call_{index}", call.name, arguments)


def _server_sent_events(response: httpx.Response) -> Generator[str]:
    """The data of each event. Lines end at \\n or \\r\\n only: splitlines cuts at U+2028 too."""
    rest = b""
    data: list[bytes] = []
    for piece in response.iter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) + sum(map(len, data)) > LONGEST_EVENT:
            raise _Broken("answer", f"the endpoint sent an event longer than {LONGEST_EVENT >> 20} MB")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data).decode("utf-8", "replace")
                data = []
    if data or rest.startswith(b"data:"):  # a last event without its empty line
        data += [rest[5:].strip()] if rest.startswith(b"data:") else []
        yield b"\n".join(data).decode("utf-8", "replace")


def _said(response: httpx.Response) -> str:
    """What a refusal says, in OpenAI's shape or not, in one line."""
    began = time.monotonic()
    body = b""
    for piece in response.iter_bytes():
        body += piece
        if len(body) > 1 << 16 or time.monotonic() - began > 10:
            break
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:300] or response.reason_phrase or "no explanation"
    error = content.get("error", content) if isinstance(content, dict) else content
    return _error_text(error)


def _error_text(error: Any) -> str:
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or json.dumps(error, ensure_ascii=False)
    return " ".join(str(error).split())[:300].rstrip(".")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__

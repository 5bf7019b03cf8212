"""`OpenAIChatModel` against a real HTTP server that answers as such servers do, well and badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from teachllm.stack.chat import (
    ChatError,
    ChatOptions,
    Event,
    Failure,
    Finish,
    Message,
    OpenAIChatModel,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
    collect,
)

KEY = "sk-secret-0123456789"
QUESTION = [Message("user", "你好")]


class Server(ThreadingHTTPServer):
    """Answers every POST with `respond(handler)`; keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond: Callable[[Handler], object] = lambda handler: None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.released = threading.Event()
        self.noticed_hangup = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(json.loads(body))
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)
        self.server.respond(self)

    def log_message(self, *args: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass

    def begin(self, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, data: object, end: str = "\n\n") -> None:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        self.wfile.write(f"data: {text}{end}".encode())
        self.wfile.flush()

    def send_text(self, text: str, finish: str | None = None) -> None:
        self.send({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model(server: Server) -> Iterator[OpenAIChatModel]:
    model = OpenAIChatModel(server.base_url, "tiny", api_key=KEY, silence_timeout=0.5, retries=1)
    yield model
    model.close()


def failure_of(events: list[Event]) -> Failure:
    assert isinstance(events[-1], Failure)
    assert not any(isinstance(event, Failure | Finish) for event in events[:-1])
    assert KEY not in events[-1].message
    return events[-1]


def test_text_arrives_piece_by_piece(server: Server, model: OpenAIChatModel) -> None:
    def respond(handler: Handler) -> None:
        handler.begin()
        handler.wfile.write(b": keep-alive\n\n")
        handler.send({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        handler.send_text("你好，")
        server.released.wait(5)
        handler.send_text("line\u2028separator")
        handler.send_text("", finish="stop")
        handler.send({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 7}}, end="\r\n\r\n")
        handler.send("[DONE]")

    server.respond = respond
    events = model.stream(QUESTION, options=ChatOptions(temperature=0, max_tokens=9, stop=("x",), seed=4))
    assert next(events) == TextDelta("你好，")  # while the server still holds the rest
    server.released.set()
    assert list(events) == [TextDelta("line\u2028separator"), Usage(3, 7), Finish("stop")]
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.bodies == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "你好"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "max_tokens": 9,
            "stop": ["x"],
            "seed": 4,
        }
    ]


def test_tools_go_out_and_calls_come_back_in_pieces(server: Server, model: OpenAIChatModel) -> None:
    pieces = [
        {"index": 0, "id": "a", "function": {"name": "weather", "arguments": ""}},
        {"index": 1, "id": "b", "function": {"name": "clock", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city": "上'}},
        {"index": 0, "function": {"arguments": '海"}'}},
    ]

    def respond(handler: Handler) -> None:
        handler.begin()
        for piece in pieces:
            handler.send({"choices": [{"delta": {"tool_calls": [piece]}}]})
        handler.send({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
        handler.send("[DONE]")

    server.respond = respond
    weather = Tool("weather", "天气", {"type": "object", "properties": {"city": {"type": "string"}}})
    called = ToolCall("z", "weather", {"city": "北京"})
    conversation = [
        *QUESTION,
        Message("assistant", "", (called,)),
        Message("tool", "晴", tool_call_id="z"),
    ]
    answer = collect(model.stream(conversation, [weather]))
    assert answer.tool_calls == (ToolCall("a", "weather", {"city": "上海"}), ToolCall("b", "clock", {}))
    assert answer.finish == Finish("tool_calls")
    [body] = server.bodies
    assert body["tools"][0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}
    assert body["messages"][1]["tool_calls"] == [
        {"id": "z", "type": "function", "function": {"name": "weather", "arguments": '{"city": "北京"}'}}
    ]
    assert body["messages"][2] == {"role": "tool", "content": "晴", "tool_call_id": "z"}


@pytest.mark.parametrize("arguments", ['{"city": "上', "[1]", "nonsense"])
def test_broken_arguments_of_a_call(server: Server, model: OpenAIChatModel, arguments: str) -> None:
    def respond(handler: Handler) -> None:
        handler.begin()
        call = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": arguments}}
        handler.send({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "length"}]})
        handler.send("[DONE]")

    server.respond = respond
    failure = failure_of(list(model.stream(QUESTION)))
    assert failure.kind == "answer"
    assert "call of weather is broken (max_tokens ended it)" in failure.message


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}, "authorization", "wrong"),
        (429, {"error": {"message": "Rate limit reached"}}, "rate_limit", "asks to wait 7 (Retry-After)"),
        (500, {"error": {"message": "The server had an error"}}, "server", "The server had an error"),
        (404, {"detail": "no such model"}, "request", "does it know the model 'tiny'?"),
        (400, {"error": "context too long"}, "request", "context too long"),
        (502, "<html>Bad Gateway</html>", "server", "<html>Bad Gateway</html>"),
    ],
)
def test_refusals(
    server: Server, model: OpenAIChatModel, status: int, body: object, kind: str, words: str
) -> None:
    def respond(handler: Handler) -> None:
        handler.begin(status, "application/json", Retry_After="7")
        handler.wfile.write((body if isinstance(body, str) else json.dumps(body)).encode())

    server.respond = respond
    failure = failure_of(list(model.stream(QUESTION)))
    assert failure.kind == kind
    assert str(status) in failure.message
    assert words in failure.message
    assert len(server.bodies) == 1  # a refusal is not asked again


@pytest.mark.faults
def test_a_stream_that_ends_in_the_middle(server: Server, model: OpenAIChatModel) -> None:
    def respond(handler: Handler) -> None:
        handler.begin()
        handler.send_text("Hal")

    server.respond = respond
    events = list(model.stream(QUESTION))
    assert events[0] == TextDelta("Hal")
    assert failure_of(events).kind == "answer"
    assert "incomplete" in failure_of(events).message
    assert len(server.bodies) == 1  # an answer that has begun is not asked for again


@pytest.mark.faults
def test_a_connection_that_breaks_in_the_middle(server: Server, model: OpenAIChatModel) -> None:
    def respond(handler: Handler) -> None:
        handler.begin(Content_Length="1000")
        handler.send_text("Hal")

    server.respond = respond
    events = list(model.stream(QUESTION))
    assert events[0] == TextDelta("Hal")
    assert failure_of(events).kind == "connection"
    assert len(server.bodies) == 1


def test_done_may_be_missing_after_a_finish_reason(server: Server, model: OpenAIChatModel) -> None:
    def respond(handler: Handler) -> None:
        handler.begin()
        handler.send_text("done", finish="length")

    server.respond = respond
    assert list(model.stream(QUESTION)) == [TextDelta("done"), Finish("length")]


@pytest.mark.parametrize(
    "data", ["{not json", "[1]", '{"choices": [{"delta": {"content": 3}}]}', '{"choices": 3}']
)
def test_events_that_are_not_of_the_interface(server: Server, model: OpenAIChatModel, data: str) -> None:
    def respond(handler: Handler) -> None:
        handler.begin()
        handler.send(data)

    server.respond = respond
    failure = failure_of(list(model.stream(QUESTION)))
    assert failure.kind == "answer"
    assert data in failure.message


def test_an_error_inside_the_stream(server: Server, model: OpenAIChatModel) -> None:
    def respond(handler: Handler) -> None:
        handler.begin()
        handler.send({"error": {"message": "out of memory", "type": "server_error"}})

    server.respond = respond
    failure = failure_of(list(model.stream(QUESTION)))
    assert failure.kind == "server"
    assert "out of memory" in failure.message


@pytest.mark.faults
def test_a_server_that_falls_silent(server: Server, model: OpenAIChatModel) -> None:
    def respond(handler: Handler) -> None:
        handler.begin()
        handler.send_text("Hal")
        server.released.wait(10)

    server.respond = respond
    began = time.monotonic()
    events = list(model.stream(QUESTION))
    assert time.monotonic() - began < 5
    assert failure_of(events).kind == "timeout"
    assert "sent nothing for 0.5 s" in failure_of(events).message


@pytest.mark.faults
def test_a_server_that_never_answers_is_asked_once(server: Server, model: OpenAIChatModel) -> None:
    server.respond = lambda handler: server.released.wait(10)
    assert failure_of(list(model.stream(QUESTION))).kind == "timeout"
    assert len(server.bodies) == 1


@pytest.mark.faults
def test_a_connection_that_breaks_before_the_answer_is_tried_again(
    server: Server, model: OpenAIChatModel
) -> None:
    def respond(handler: Handler) -> None:
        if len(server.bodies) == 1:
            handler.connection.close()
            handler.close_connection = True
            return
        handler.begin()
        handler.send_text("second time", finish="stop")

    server.respond = respond
    assert collect(model.stream(QUESTION)).text == "second time"
    assert len(server.bodies) == 2


def test_nobody_listens() -> None:
    probe = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = probe.server_address[1]
    probe.server_close()
    model = OpenAIChatModel(f"http://127.0.0.1:{port}/v1", "tiny", api_key=KEY, retries=0)
    failure = failure_of(list(model.stream(QUESTION)))
    assert failure.kind == "connection"
    assert "is the server running?" in failure.message
    with pytest.raises(ChatError, match="cannot be reached"):
        collect(model.stream(QUESTION))
    model.close()


def test_stopping_while_the_server_thinks(server: Server) -> None:
    server.respond = lambda handler: server.released.wait(10)
    model = OpenAIChatModel(server.base_url, "tiny", silence_timeout=60)
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    assert list(model.stream(QUESTION, stop=stop)) == [Finish("cancelled")]
    assert time.monotonic() - began < 3
    server.released.set()
    model.close()


def test_closing_the_iterator_hangs_up(server: Server, model: OpenAIChatModel) -> None:
    def respond(handler: Handler) -> None:
        handler.begin()
        try:
            while not server.released.wait(0.01):
                handler.send_text("more ")
        except OSError:
            server.noticed_hangup.set()

    server.respond = respond
    events = model.stream(QUESTION)
    assert next(events) == TextDelta("more ")
    events.close()
    assert server.noticed_hangup.wait(5)


def test_the_key_is_shown_nowhere(server: Server, model: OpenAIChatModel) -> None:
    assert KEY not in repr(model)
    assert "tiny" in repr(model)
    with pytest.raises(ValueError, match="on one line") as refused:
        OpenAIChatModel(server.base_url, "tiny", api_key=KEY + "\n")
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("address", ["localhost:8000/v1", "ftp://x/v1", "http://", "http://x:port"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="base_url is"):
        OpenAIChatModel(address, "tiny")

"""Messages, options, collected answers and the scripted model."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from teachllm.stack.chat import (
    ChatError,
    ChatModel,
    ChatOptions,
    Failure,
    Finish,
    Message,
    ScriptedChatModel,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallMade,
    Usage,
    collect,
)

QUESTION = [Message("user", "what is it?")]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Message("boss", "x"), "role is 'boss'"),  # pyright: ignore
        (lambda: Message("user", None), "content is NoneType"),  # pyright: ignore
        (lambda: Message("user", "x", (ToolCall("1", "f", {}),)), "only an assistant asks for tools"),
        (lambda: Message("tool", "x"), "tool_call_id belongs to role 'tool'"),
        (lambda: Message("user", "x", tool_call_id="1"), "tool_call_id belongs to role 'tool'"),
        (lambda: Tool("two words", "x"), "name is 'two words'"),
        (lambda: Tool("f", "x", {"type": "array"}), "type 'array'"),
        (lambda: ChatOptions(temperature=3, top_p=0), "temperature is 3.*; top_p is 0"),
        (lambda: ChatOptions(max_tokens=0), "max_tokens is 0"),
        (lambda: ChatOptions(stop="\n"), "must be a tuple"),  # pyright: ignore
        (lambda: ChatOptions(stop=("",)), "must be a tuple of texts that are not empty"),
    ],
)
def test_what_does_not_fit_is_named(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_script_is_played_in_order() -> None:
    call = ToolCall("1", "clock", {})
    model: ChatModel = ScriptedChatModel(
        [" Two  words\n", call, lambda messages: messages[-1].content.upper(), [Failure("server", "broken")]]
    )
    assert list(model.stream(QUESTION)) == [
        TextDelta(" "),
        TextDelta("Two  "),
        TextDelta("words\n"),
        Usage(3, 3),
        Finish("stop"),
    ]
    assert list(model.stream(QUESTION)) == [ToolCallMade(call), Finish("tool_calls")]
    assert collect(model.stream(QUESTION)).text == "WHAT IS IT?"
    with pytest.raises(ChatError, match="broken") as raised:
        collect(model.stream(QUESTION))
    assert raised.value.failure.kind == "server"
    with pytest.raises(IndexError, match="all 4 answers"):
        model.stream(QUESTION)


def test_a_scripted_model_keeps_what_it_was_asked() -> None:
    model = ScriptedChatModel(["yes"])
    options = ChatOptions(seed=1)
    tool = Tool("clock", "the time")
    answer = collect(model.stream(QUESTION, [tool], options))
    [request] = model.requests
    assert (request.messages, request.tools, request.options) == (tuple(QUESTION), (tool,), options)
    assert answer.message == Message("assistant", "yes")
    assert answer.usage == Usage(3, 1)


def test_a_scripted_answer_can_be_stopped() -> None:
    stop = threading.Event()
    events = ScriptedChatModel(["one two three"], delay=0.001).stream(QUESTION, stop=stop)
    assert next(events) == TextDelta("one ")
    stop.set()
    assert list(events) == [Finish("cancelled")]


def test_a_stream_without_an_end_is_an_error() -> None:
    with pytest.raises(ChatError, match="without Finish"):
        collect([TextDelta("x")])


def test_one_text_is_not_a_script() -> None:
    with pytest.raises(TypeError, match="such as"):
        ScriptedChatModel("hello")

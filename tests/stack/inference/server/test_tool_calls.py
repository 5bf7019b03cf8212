"""Calls of tools in a model's text, however it comes in pieces."""

from __future__ import annotations

import json
import random

import pytest

from teachllm.stack.chat import Tool
from teachllm.stack.inference.engine.request import Finished, TokenOut, Usage
from teachllm.stack.inference.server.deltas import CallingChoice, Delta, ForcedCall, summed
from teachllm.stack.inference.server.tool_calls import (
    CallWritten,
    ToolCallParser,
    read_cut_off_call,
    schema_of_call,
)

CALL = '<tool_call>\n{"name": "look", "arguments": {"n": 1}}\n</tool_call>'
LOOK = CallWritten("look", '{"n": 1}')


def parsed(text: str, cuts: list[int]) -> tuple[str, list[CallWritten]]:
    parser = ToolCallParser(["look"])
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = [one for piece in pieces for one in parser.push(piece)] + parser.flush()
    assert all(found)
    texts = [one for one in found if isinstance(one, str)]
    return "".join(texts), [one for one in found if isinstance(one, CallWritten)]


@pytest.mark.parametrize(
    ("text", "shown", "calls"),
    [
        ("plain <tool> text <", "plain <tool> text <", []),
        (CALL, "", [LOOK]),
        (f"Before. {CALL}{CALL} after", "Before.  after", [LOOK, LOOK]),
        (CALL.removesuffix("</tool_call>"), "", [LOOK]),
        (CALL.replace("look", "other"), CALL.replace("look", "other"), []),
        ("<tool_call>not JSON</tool_call>!", "<tool_call>not JSON</tool_call>!", []),
        ('<tool_call>{"name": "look", "arguments": [1]}</tool_call>', None, []),
        ('<tool_call>{"name": "look"}</tool_call>', "", [CallWritten("look", "{}")]),
        ("<tool_call><tool_call>", "<tool_call><tool_call>", []),
    ],
)
def test_cut_anywhere_the_same_is_found(text: str, shown: str | None, calls: list[CallWritten]) -> None:
    randomness = random.Random(1)
    for _ in range(50):
        cuts = sorted(randomness.choices(range(len(text) + 1), k=randomness.randrange(9)))
        assert parsed(text, cuts) == (text if shown is None else shown, calls)


def test_text_is_shown_as_soon_as_it_can_be_no_call() -> None:
    parser = ToolCallParser(["look"])
    assert parser.push("Hi <tool_") == ["Hi "]
    assert parser.push("box>") == ["<tool_box>"]
    assert parser.push(CALL[:-1]) == []
    assert parser.push(">") == [LOOK]


def test_the_schema_keeps_the_references_of_each_tool() -> None:
    parameters = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"const": 1}}}
    schema = schema_of_call([Tool("x", ""), Tool("y", "", parameters)])
    of_y = schema["anyOf"][1]["properties"]["arguments"]
    target = schema
    for step in of_y["properties"]["a"]["$ref"].removeprefix("#/").split("/"):
        target = target[int(step)] if isinstance(target, list) else target[step]
    assert target == {"const": 1}
    assert parameters["properties"]["a"] == {"$ref": "#/$defs/A"}


def outputs(text: str, reason: str = "stop", tokens: tuple[int, ...] = ()) -> list[TokenOut | Finished]:
    written = [TokenOut("r", 0, token, "") for token in tokens]
    letters = [TokenOut("r", 0, ord(letter), letter) for letter in text]
    return [*written, *letters, Finished("r", 0, reason, "", Usage(1, len(text)))]  # pyright: ignore


def test_marks_that_are_tokens_are_written_out() -> None:
    choice = CallingChoice(0, ["look"], {300: "<tool_call>", 301: "</tool_call>"})
    inside = CALL.removeprefix("<tool_call>").removesuffix("</tool_call>")
    opening, *rest = outputs(inside, tokens=(300,))
    closing = TokenOut("r", 0, 301, "")
    whole = summed(choice.take(one) for one in (opening, *rest[:-1], closing, rest[-1]))
    assert whole == Delta(0, "", (LOOK,), (), "tool_calls")


def test_a_forced_call_that_was_cut_off_says_length_and_shows_what_there_is() -> None:
    choice = ForcedCall(0, ["look"], "tool_calls")
    whole = summed(map(choice.take, outputs('{"name": "look", "arguments": {"n', "length")))
    assert whole.finish == "length"
    assert whole.calls == (CallWritten("look", '{"n'),)
    done = ForcedCall(0, ["look"], "stop")
    finished = summed(map(done.take, outputs('{"name":"look","arguments":{"n":1}}')))
    assert finished == Delta(0, calls=(LOOK,), finish="stop")
    assert json.loads(finished.calls[0].arguments) == {"n": 1}


def test_nothing_is_made_of_a_call_without_a_name() -> None:
    assert read_cut_off_call('{"na', ["look"]) is None

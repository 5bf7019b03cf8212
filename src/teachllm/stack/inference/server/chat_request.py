"""``POST /v1/chat/completions``, read: the prompt's tokens, how to answer, which tools may be called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from teachllm.stack.chat import Message, TemplateFailed, Tool, ToolCall
from teachllm.stack.inference.engine.request import Constraint, RequestOptions
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.server.bodies import ChatCompletionBody, ChatMessage, NamedTool
from teachllm.stack.inference.server.errors import bad_request
from teachllm.stack.inference.server.shared_options import (
    sampling_of,
    schema_constraint,
    stops_of,
    structured,
)
from teachllm.stack.inference.server.tool_calls import CLOSE, FORCED, OPEN, schema_of_call


@dataclass(frozen=True)
class ChatRequest:
    """`tools`: names that a call may have, none if nothing is to be parsed. `forced`: the whole text is the
    inside of one call, since the prompt already holds the mark that opens it.
    """

    prompt: list[int]
    options: RequestOptions
    tools: tuple[str, ...] = ()
    forced: bool = False
    finish_of_call: Literal["stop", "tool_calls"] = "tool_calls"


def read_chat(body: ChatCompletionBody, language_model: LanguageModel) -> ChatRequest:
    """Raises `ApiError` for everything that this model or engine cannot do."""
    _refuse_old_fields(body)
    tools = _tools_of(body)
    messages = [_message(message, position) for position, message in enumerate(body.messages)]
    forced = _forced_tools(body, tools)
    if tools and not (language_model.template and language_model.template.renders_tools):
        raise bad_request(
            f"the chat template of {language_model.name} has no place for tools, so the model would not see "
            "them. Serve a model that was trained to call tools, such as Qwen2.5-Instruct",
            "tools",
            "unsupported_parameter",
        )
    try:
        prompt = language_model.encode_chat(messages, tools)
    except TemplateFailed as problem:
        raise bad_request(str(problem), "messages") from None
    constraint = _constraint_of(body)
    stop, end_tokens = stops_of(body), language_model.end_tokens
    if forced:
        if constraint is not None:
            raise bad_request("a forced tool call has its own form; leave out response_format", "tool_choice")
        prompt += language_model.tokenizer.encode(FORCED, special="all")
        constraint = Constraint.json_schema(schema_of_call(forced))
    elif tools and not body.parallel_tool_calls:
        # One call at most: the text ends where the first one does.
        mark = language_model.tokenizer.special_tokens.get(CLOSE)
        if mark is None:
            stop = (*stop, CLOSE)
        else:
            end_tokens = end_tokens | {mark}
    options = RequestOptions(
        sampling=sampling_of(body),
        max_tokens=body.max_completion_tokens or body.max_tokens,
        n=body.n,
        stop=stop,
        end_tokens=end_tokens,
        logprobs=_logprobs_of(body),
        priority=body.priority,
        constraint=constraint,
    )
    named = isinstance(body.tool_choice, NamedTool)
    return ChatRequest(
        prompt, options, tuple(tool.name for tool in tools), bool(forced), "stop" if named else "tool_calls"
    )


def _refuse_old_fields(body: ChatCompletionBody) -> None:
    for old, new in (("functions", "tools"), ("function_call", "tool_choice")):
        if getattr(body, old):
            raise bad_request(f"{old} is the form of 2023; send {new}", old, "unsupported_parameter")


def _tools_of(body: ChatCompletionBody) -> list[Tool]:
    if body.tool_choice == "none" or not body.tools:
        if body.tool_choice not in (None, "none", "auto"):
            raise bad_request("tool_choice asks for a call, but there are no tools", "tool_choice")
        return []
    tools = []
    for position, given in enumerate(body.tools):
        function = given.function
        parameters = {"type": "object", **function.parameters}
        try:
            tools.append(Tool(function.name, function.description, parameters))
        except ValueError as problem:
            raise bad_request(str(problem), f"tools[{position}].function") from None
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise bad_request(f"two tools have one name: {', '.join(sorted(names))}", "tools")
    return tools


def _forced_tools(body: ChatCompletionBody, tools: list[Tool]) -> list[Tool]:
    """Those of which one must be called; none if the model may choose."""
    if body.tool_choice == "required":
        return tools
    if not isinstance(body.tool_choice, NamedTool):
        return []
    wanted = body.tool_choice.function.name
    named = [tool for tool in tools if tool.name == wanted]
    if not named:
        names = ", ".join(tool.name for tool in tools)
        raise bad_request(f"tool_choice names {wanted!r}; there are: {names}", "tool_choice")
    return named


def _message(message: ChatMessage, position: int) -> Message:
    role = "system" if message.role == "developer" else message.role
    where = f"messages[{position}]"
    calls = []
    for call in message.tool_calls or ():
        try:
            arguments = json.loads(call.function.arguments or "{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            raise bad_request(
                f"the arguments of {call.function.name} are no JSON object: {call.function.arguments[:80]!r}",
                f"{where}.tool_calls",
            )
        calls.append(ToolCall(call.id, call.function.name, arguments))
    try:
        return Message(role, _text(message, where), tuple(calls), message.tool_call_id)
    except ValueError as problem:
        raise bad_request(str(problem), where) from None


def _text(message: ChatMessage, where: str) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise bad_request(
                f"a part of type {part.type!r} was given; this model reads text only",
                f"{where}.content",
                "unsupported_content",
            )
    return "".join(part.text or "" for part in message.content)


def _constraint_of(body: ChatCompletionBody) -> Constraint | None:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return structured(body.structured_outputs)
    if body.structured_outputs is not None:
        raise bad_request("give response_format or structured_outputs, not both", "structured_outputs")
    if wanted.type == "json_object":
        return Constraint.json_schema({"type": "object"})
    if wanted.json_schema is None:
        raise bad_request("type json_schema needs a json_schema", "response_format.json_schema")
    return schema_constraint(wanted.json_schema.json_schema, "response_format.json_schema.schema")


def _logprobs_of(body: ChatCompletionBody) -> int | None:
    if not body.logprobs:
        if body.top_logprobs:
            raise bad_request("top_logprobs needs logprobs: true", "top_logprobs")
        return None
    return body.top_logprobs or 0


def marks_of(language_model: LanguageModel) -> dict[int, str]:
    """The marks of a call that are tokens of their own: the engine writes out no special token."""
    special = language_model.tokenizer.special_tokens
    return {special[mark]: mark for mark in (OPEN, CLOSE) if mark in special}

"""What goes into a chat model: messages, and the tools that it may ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's wish to have a tool run with these arguments. The answer to it carries the same id."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ValueError, naming everything that is wrong, if its parts do not fit its role.

    tool_calls: what an assistant asked for. tool_call_id: on a message of role "tool", which call it answers.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.role not in get_args(Role):
            problems.append(f"role is {self.role!r}; it must be one of {', '.join(get_args(Role))}")
        if not isinstance(self.content, str):
            problems.append(f"content is {type(self.content).__name__}; it must be text")
        if self.tool_calls and self.role != "assistant":
            problems.append(
                f"tool_calls on a message of role {self.role!r}; only an assistant asks for tools"
            )
        if (self.tool_call_id is not None) != (self.role == "tool"):
            problems.append("tool_call_id belongs to role 'tool', which needs one")
        if problems:
            raise ValueError("this is no message: " + "; ".join(problems))

    def as_dict(self, *, arguments: Literal["text", "object"] = "text") -> dict[str, Any]:
        """OpenAI's shape. Its interface carries the arguments of calls as JSON text, templates read them as
        objects.
        """
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": json.dumps(call.arguments, ensure_ascii=False)
                        if arguments == "text"
                        else dict(call.arguments),
                    },
                }
                for call in self.tool_calls
            ]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask for. `parameters` is a JSON schema of type "object"."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    def __post_init__(self) -> None:
        problems = []
        if not self.name or not self.name.replace("_", "").replace("-", "").isalnum() or len(self.name) > 64:
            problems.append(f"name is {self.name!r}; it must be 1 to 64 letters, digits, - and _")
        if self.parameters.get("type") != "object":
            problems.append(f"parameters have type {self.parameters.get('type')!r}; it must be 'object'")
        if problems:
            raise ValueError("this is no tool: " + "; ".join(problems))

    def as_dict(self) -> dict[str, Any]:
        """OpenAI's shape, which templates read as well."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

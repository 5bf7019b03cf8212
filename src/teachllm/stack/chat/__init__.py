"""The one door to a language model: messages and tools in, a stream of typed events out.

`ChatModel` is the protocol; `OpenAIChatModel` and `ScriptedChatModel` are here, the local model is
`teachllm.stack.inference.LocalChatModel`.
"""

from teachllm.stack.chat.events import (
    Answer,
    ChatError,
    Event,
    Failure,
    Finish,
    TextDelta,
    ToolCallMade,
    Usage,
    collect,
)
from teachllm.stack.chat.messages import Message, Role, Tool, ToolCall
from teachllm.stack.chat.model import ChatModel, ChatOptions
from teachllm.stack.chat.openai_compatible import OpenAIChatModel
from teachllm.stack.chat.scripted import ScriptedChatModel
from teachllm.stack.chat.template import ChatTemplate, TemplateFailed

__all__ = [
    "Answer",
    "ChatError",
    "ChatModel",
    "ChatOptions",
    "ChatTemplate",
    "Event",
    "Failure",
    "Finish",
    "Message",
    "OpenAIChatModel",
    "Role",
    "ScriptedChatModel",
    "TemplateFailed",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallMade",
    "Usage",
    "collect",
]

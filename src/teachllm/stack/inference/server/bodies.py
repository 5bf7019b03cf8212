"""What clients send: the fields of OpenAI's requests that this server reads.

Fields that are not listed are ignored, as other engines do: clients send new ones every month. A field that
is listed and that this engine cannot honour is refused, unless it is given the value that changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from teachllm.stack.inference.engine.request import MOST_PRIORITY


class Body(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=False)


class StreamOptions(Body):
    """include_usage: one more event, before the end, tells how many tokens were read and written."""

    include_usage: bool = False


class JsonSchema(Body):
    name: str
    json_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Body):
    """An extension that vLLM has too: the answer matches one of these. Give one."""

    json_schema: dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None


class Sampled(Body):
    """What both endpoints share. None leaves the choice to the server."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(1, ge=1, le=64)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    # Refused unless they change nothing: the engine has no such step in its sampler.
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    # Extensions, by the names that other engines gave them; the official client sends them by `extra_body`.
    top_k: int | None = None
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    priority: int = Field(0, ge=-MOST_PRIORITY, le=MOST_PRIORITY)
    structured_outputs: StructuredOutputs | None = None

    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ContentPart(Body):
    type: str
    text: str | None = None


class FunctionCalled(Body):
    name: str
    arguments: str = "{}"


class CalledTool(Body):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCalled


class ChatMessage(Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: str | None = None


class FunctionDefinition(Body):
    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


class ToolDefinition(Body):
    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(Body):
    name: str


class NamedTool(Body):
    type: Literal["function"]
    function: FunctionName


class ChatCompletionBody(Sampled):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool = True
    functions: list[Any] | None = None
    function_call: Any = None


class CompletionBody(Sampled):
    """``POST /v1/completions``. A prompt is text, in which special tokens are text, or token ids."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(16, ge=1)
    best_of: int | None = Field(None, ge=1, le=64)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
    suffix: str | None = None


class EmbeddingsBody(Body):
    """``POST /v1/embeddings``. truncate_prompt_tokens is an extension that vLLM has too: read only so
    many tokens of each input, −1 for as many as the model reads.
    """

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    truncate_prompt_tokens: int | None = Field(None, ge=-1)

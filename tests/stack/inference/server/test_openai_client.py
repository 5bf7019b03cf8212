"""The official client of OpenAI, unmodified, against a running server: everything that it promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
import torch

from teachllm.stack.inference import LanguageModel, Sampling, generate

USER: Any = [{"role": "user", "content": "Hello"}]
GREEDY: Any = {"model": "tiny", "temperature": 0, "max_tokens": 12}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"$ref": "#/$defs/Days"}},
            "required": ["city", "days"],
            "additionalProperties": False,
            "$defs": {"Days": {"enum": [1, 2, 3]}},
        },
    },
}
CLOCK: Any = {"type": "function", "function": {"name": "clock", "description": "The time."}}


def written_by_generate(tiny: LanguageModel, ids: list[int], seed: int | None = None, **options: Any) -> str:
    """The same without a server or an engine."""
    sampling = Sampling(0.0 if seed is None else 1.0, seed=seed)
    options = {"max_tokens": 12, "end_tokens": tiny.end_tokens, **options}
    return "".join(
        event.text for event in generate(tiny.model, tiny.tokenizer, ids, sampling=sampling, **options)
    )


def prompt_of(tiny: LanguageModel) -> list[int]:
    from teachllm.stack.chat import Message

    return tiny.encode_chat([Message("user", "Hello")])


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("alias").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="'gpt-9' is not served here") as refused:
        client.models.retrieve("gpt-9")
    assert refused.value.code == "model_not_found"


def test_chat_is_what_the_model_writes(client: openai.OpenAI, tiny: LanguageModel) -> None:
    answer = client.chat.completions.create(messages=USER, **GREEDY)
    prompt = prompt_of(tiny)
    assert answer.choices[0].message.content == written_by_generate(tiny, prompt)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is None
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), 12)
    assert answer.usage.total_tokens == len(prompt) + 12
    assert answer.id.startswith("chatcmpl-")


def test_a_stream_has_the_same_text_and_ends_with_its_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(messages=USER, n=2, seed=5, model="tiny", max_tokens=12)
    chunks = list(
        client.chat.completions.create(
            messages=USER,
            n=2,
            seed=5,
            model="tiny",
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    texts = ["", ""]
    ends: list[str | None] = [None, None]
    for chunk in chunks[:-1]:
        assert chunk.usage is None
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        ends[choice.index] = choice.finish_reason or ends[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert ends == [choice.finish_reason for choice in whole.choices]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_a_stream_tells_its_usage_only_when_asked(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(messages=USER, stream=True, **GREEDY))
    assert all(chunk.choices for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"


def test_seeds_and_n(client: openai.OpenAI, tiny: LanguageModel) -> None:
    def texts(seed: int, n: int) -> list[str | None]:
        answer = client.chat.completions.create(model="tiny", messages=USER, seed=seed, n=n, max_tokens=12)
        return [choice.message.content for choice in answer.choices]

    three = texts(7, 3)
    assert len(set(three)) == 3
    assert three == texts(7, 3)
    assert three[0] == texts(7, 1)[0] == written_by_generate(tiny, prompt_of(tiny), 7)
    assert texts(8, 1) != texts(7, 1)


def test_stop(client: openai.OpenAI) -> None:
    text = client.chat.completions.create(messages=USER, **GREEDY).choices[0].message.content
    assert text
    stop = text[4:6]
    answer = client.chat.completions.create(messages=USER, stop=[stop, "never"], **GREEDY)
    assert answer.choices[0].message.content == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_logprobs_of_chat(client: openai.OpenAI, tiny: LanguageModel) -> None:
    answer = client.chat.completions.create(messages=USER, logprobs=True, top_logprobs=3, **GREEDY)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 12
    spelled = bytes(byte for one in logprobs.content for byte in one.bytes or [])
    assert spelled.decode("utf-8", "replace") == answer.choices[0].message.content
    for one in logprobs.content:
        assert len(one.top_logprobs) == 3
        # Greedy: the token that was written is the most probable one.
        assert (one.top_logprobs[0].token, one.top_logprobs[0].logprob) == (one.token, one.logprob)
    assert _first_logprob(tiny) == pytest.approx(logprobs.content[0].logprob, abs=1e-4)
    alone = client.chat.completions.create(messages=USER, logprobs=True, **GREEDY).choices[0].logprobs
    assert alone is not None
    assert alone.content is not None
    assert all(not one.top_logprobs for one in alone.content)


def _first_logprob(tiny: LanguageModel) -> float:
    with torch.inference_mode():
        logits = tiny.model(torch.tensor([prompt_of(tiny)]), None, last_only=True)[0, -1]
    return float(logits.float().log_softmax(-1).max())


def test_max_completion_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=USER, temperature=0, max_completion_tokens=3, max_tokens=9
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_json_schema_and_json_object(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "n": {"enum": [1, 2]}},
        "required": ["colour", "n"],
        "additionalProperties": False,
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}
    for seed in range(3):
        answer = client.chat.completions.create(
            model="tiny", messages=USER, response_format=wanted, seed=seed, max_tokens=200
        )
        thing = json.loads(answer.choices[0].message.content or "")
        assert thing["colour"] in ("red", "blue")
        assert thing["n"] in (1, 2)
        assert answer.choices[0].finish_reason == "stop"
    answer = client.chat.completions.create(
        model="tiny", messages=USER, response_format={"type": "json_object"}, seed=1, max_tokens=30
    )
    assert (answer.choices[0].message.content or "").startswith("{")


def test_structured_outputs_as_an_extension(client: openai.OpenAI) -> None:
    def text(**wanted: Any) -> str:
        answer = client.completions.create(
            model="tiny", prompt="Q", seed=3, max_tokens=40, extra_body={"structured_outputs": wanted}
        )
        return answer.choices[0].text

    assert text(choice=["yes", "no"]) in ("yes", "no")
    assert len(text(regex="[0-9]{4}")) == 4
    with pytest.raises(openai.BadRequestError, match="exactly one"):
        text(choice=["a"], regex="b")


def test_a_forced_call_always_fits_its_schema(client: openai.OpenAI) -> None:
    for seed in range(4):
        answer = client.chat.completions.create(
            model="tiny",
            messages=USER,
            tools=[CLOCK, WEATHER],
            tool_choice={"type": "function", "function": {"name": "weather"}},
            seed=seed,
            max_tokens=300,
        )
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "weather"
        arguments = json.loads(call.function.arguments)
        assert arguments["city"] in ("Paris", "Rome")
        assert arguments["days"] in (1, 2, 3)
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content is None
    answer = client.chat.completions.create(
        model="tiny", messages=USER, tools=[WEATHER], tool_choice="required", seed=1, max_tokens=300
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    free = client.chat.completions.create(messages=USER, tools=[WEATHER], **GREEDY)
    assert answer.usage is not None
    assert free.usage is not None
    # The mark that opens a call, and a line break, stand in the prompt.
    assert answer.usage.prompt_tokens == free.usage.prompt_tokens + 2


def test_a_forced_call_in_a_stream(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="tiny",
            messages=USER,
            tools=[WEATHER],
            tool_choice="required",
            seed=2,
            max_tokens=300,
            stream=True,
        )
    )
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert len(calls) == 1
    assert calls[0].index == 0
    assert calls[0].function is not None
    assert set(json.loads(calls[0].function.arguments or "")) == {"city", "days"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert all(not choice.delta.content for chunk in chunks for choice in chunk.choices)


def test_a_model_that_chooses_to_call(reciting: Callable[..., LanguageModel], running: Any) -> None:
    from teachllm.stack.chat import Message, Tool

    said = 'I look.\n<tool_call>\n{"name": "clock", "arguments": {"zone": "巴黎"}}\n</tool_call>'
    tools = [Tool("clock", "The time.", {"type": "object", "properties": {}})]
    start = len(reciting("", start=0).encode_chat([Message("user", "Hello")], tools))
    with running(reciting(said, start=start)) as server, server.client() as client:
        answer = client.chat.completions.create(messages=USER, tools=[CLOCK], **{**GREEDY, "max_tokens": 99})
        (call,) = answer.choices[0].message.tool_calls or []
        assert (call.function.name, json.loads(call.function.arguments)) == ("clock", {"zone": "巴黎"})
        assert (answer.choices[0].message.content or "").strip() == "I look."
        assert answer.choices[0].finish_reason == "tool_calls"
        twice = said + said.removeprefix("I look.")
        serving = server.serving.language_model
        serving.model.recited = torch.tensor(
            [*serving.tokenizer.encode(twice, special="all"), *serving.end_tokens]
        )
        chunks = client.chat.completions.create(
            messages=USER, tools=[CLOCK], stream=True, **{**GREEDY, "max_tokens": 199}
        )
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert [one.index for delta in deltas for one in delta.tool_calls or []] == [0, 1]
        one_only: Any = {**GREEDY, "max_tokens": 199, "parallel_tool_calls": False}
        single = client.chat.completions.create(messages=USER, tools=[CLOCK], **one_only)
        assert len(single.choices[0].message.tool_calls or []) == 1
        # The result goes back under the call's id, and the conversation goes on.
        follow_up: Any = [
            *USER,
            answer.choices[0].message,
            {"role": "tool", "tool_call_id": call.id, "content": "noon"},
        ]
        client.chat.completions.create(messages=follow_up, tools=[CLOCK], **GREEDY)


def test_completions(client: openai.OpenAI, tiny: LanguageModel) -> None:
    prompts = ["One", "Another"]
    answer = client.completions.create(prompt=prompts, n=2, **GREEDY)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    for choice in answer.choices:
        assert choice.text == written_by_generate(tiny, tiny.encode_text(prompts[choice.index // 2]))
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(len(prompt) for prompt in prompts)
    assert answer.usage.completion_tokens == 4 * 12
    ids = client.completions.create(prompt=tiny.encode_text("One"), **GREEDY)
    assert ids.choices[0].text == answer.choices[0].text
    echoed = client.completions.create(prompt="One", echo=True, **GREEDY)
    assert echoed.choices[0].text == "One" + answer.choices[0].text


def test_completions_stream(client: openai.OpenAI) -> None:
    whole = client.completions.create(prompt=["One", "Another"], **GREEDY)
    texts = ["", ""]
    for chunk in client.completions.create(prompt=["One", "Another"], stream=True, **GREEDY):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in whole.choices]


def test_logprobs_of_completions(client: openai.OpenAI) -> None:
    choice = client.completions.create(prompt="One", logprobs=2, **GREEDY).choices[0]
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert logprobs.text_offset is not None
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 12
    assert logprobs.text_offset[0] == 0
    for token, logprob, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert top[token] == logprob == max(top.values())


def test_best_of(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="tiny", prompt="One", best_of=4, n=2, seed=1, max_tokens=6)
    assert len(answer.choices) == 2
    four = client.completions.create(model="tiny", prompt="One", n=4, seed=1, max_tokens=6)
    assert {choice.text for choice in answer.choices} <= {choice.text for choice in four.choices}


def test_content_in_parts_and_the_developer_s_role(client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
    ]
    plain: Any = [{"role": "system", "content": "Be short."}, *USER]
    one = client.chat.completions.create(messages=messages, **GREEDY)
    two = client.chat.completions.create(messages=plain, **GREEDY)
    assert one.choices[0].message.content == two.choices[0].message.content


CHAT: Any = {"model": "tiny", "messages": USER}


@pytest.mark.parametrize(
    ("endpoint", "body", "says", "param"),
    [
        ("chat", {**CHAT, "messages": []}, "at least 1", "messages"),
        ("chat", {**CHAT, "temperature": 9}, "less than or equal to 2", "temperature"),
        ("chat", {**CHAT, "logit_bias": {"5": 1}}, "logit_bias is not supported", "logit_bias"),
        ("chat", {**CHAT, "frequency_penalty": 1}, "repetition_penalty", "frequency_penalty"),
        ("chat", {**CHAT, "top_logprobs": 2}, "needs logprobs", "top_logprobs"),
        ("chat", {**CHAT, "stop": [""]}, "1 to 200 characters", "stop"),
        ("chat", {**CHAT, "functions": [{}]}, "send tools", "functions"),
        ("chat", {**CHAT, "tool_choice": "required"}, "no tools", "tool_choice"),
        ("chat", {**CHAT, "tools": [WEATHER, WEATHER]}, "one name", "tools"),
        (
            "chat",
            {**CHAT, "tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "'x'",
            "tool_choice",
        ),
        (
            "chat",
            {**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "text only",
            "messages[0].content",
        ),
        ("chat", {**CHAT, "messages": [{"role": "tool", "content": "x"}]}, "tool_call_id", "messages[0]"),
        ("chat", {**CHAT, "response_format": {"type": "json_schema"}}, "needs a json_schema", None),
        ("completions", {"model": "tiny", "prompt": ""}, "empty", "prompt"),
        ("completions", {"model": "tiny", "prompt": [1, 99999]}, "outside of the vocabulary", "prompt"),
        ("completions", {"model": "tiny", "prompt": "x", "suffix": "y"}, "only continues", "suffix"),
        ("completions", {"model": "tiny", "prompt": "x", "echo": True, "logprobs": 1}, "echo", "logprobs"),
        ("completions", {"model": "tiny", "prompt": "x", "n": 3, "best_of": 2}, "less than n", "best_of"),
    ],
)
def test_what_cannot_be_done_is_refused(
    client: openai.OpenAI, endpoint: str, body: dict[str, Any], says: str, param: str | None
) -> None:
    create: Any = client.chat.completions.create if endpoint == "chat" else client.completions.create
    with pytest.raises(openai.BadRequestError, match=says) as refused:
        create(**body)
    assert refused.value.type == "invalid_request_error"
    if param is not None:
        assert refused.value.param == param


def test_a_schema_that_cannot_be_used_is_the_client_s_error(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    with pytest.raises(openai.BadRequestError, match="nonsense"):
        client.chat.completions.create(messages=USER, response_format=wanted, **GREEDY)


def test_a_prompt_that_is_too_long(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="1024") as refused:
        client.completions.create(prompt="x" * 1100, **GREEDY)
    assert refused.value.code == "context_length_exceeded"


def test_unknown_fields_are_ignored(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(messages=USER, **GREEDY)
    more = client.chat.completions.create(
        messages=USER, user="me", extra_body={"novelty": {"a": 1}}, **GREEDY
    )
    assert more.choices[0].message.content == plain.choices[0].message.content


def test_our_own_client_understands_this_server(server: Any) -> None:
    from teachllm.stack.chat import ChatOptions, Message, OpenAIChatModel, collect

    model = OpenAIChatModel(f"{server.address}/v1", "tiny")
    answer = collect(model.stream([Message("user", "Hello")], options=ChatOptions(0.0, max_tokens=12)))
    assert answer.finish.reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    model.close()

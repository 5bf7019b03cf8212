"""Chat templates render exactly as in `transformers`: that of SmolLM2, and others that use what they may."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from teachllm.stack.chat import ChatTemplate, Message, Tool, ToolCall
from teachllm.stack.data.assets import find_asset
from teachllm.stack.models.gguf import read_gguf

pytestmark = pytest.mark.parity

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

# In the manner of several families; together they use every function and statement that templates have.
TEMPLATES = {
    "headers, date and tools": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- set date_string = strftime_now("%Y") %}
<|start|>system<|end|>
Year: {{ date_string }}
{{ system_message }}
{%- if tools is not none %}
    {%- for t in tools %}
{{ t | tojson(indent=4) }}
    {%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if 'tool_calls' in message %}
        {%- for call in message.tool_calls %}
{"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}
        {%- endfor %}
    {%- elif message.role in ("tool", "ipython") %}
<|start|>ipython<|end|>{{ message.content | tojson }}
    {%- else %}
<|start|>{{ message['role'] }}<|end|>{{ '\\n\\n' + message['content'] | trim }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|start|>assistant<|end|>
{% endif %}""",
    "turns that must alternate": """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('roles must alternate') }}{% endif %}
{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]
{% elif message.role == 'assistant' %}{{ ' ' + message.content + ' ' + eos_token }}
{% endif %}{% endfor %}""",
    "namespace and loop controls": """{%- set ns = namespace(last=0, found=false) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if message.role == 'user' and not ns.found %}{%- set ns.last = index %}
        {%- set ns.found = true %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'system' %}{%- continue %}{%- endif %}
    {%- if loop.first %}first {%- endif %}
    {%- if loop.last %}last {%- endif %}
    {%- if loop.previtem is defined and loop.previtem.role == message.role %}again {%- endif %}
{{ loop.index }}/{{ loop.length }} {{ message.role }}: {{ message.content.split('</think>')[-1].lstrip() }}
    {%- if loop.index0 == ns.last %} <- answer this{% endif %}
{% endfor %}
{%- for a, b in {'x': 1, 'y': [1, 2]} | dictsort %}{{ a }}={{ b }};{% else %}none{% endfor %}""",
    "macros and training marks": """{% macro turn(role, text) -%}
<{{ role }}>{{ text | replace('\\n', ' ') | upper }}</{{ role }}>
{%- endmacro %}
{% for message in messages if message.content %}
{{ turn(message.role, message.content) }}{% if message.role == 'assistant' %}{% generation %}
{{ message.content ~ eos_token }}{% endgeneration %}{% endif %}
{% endfor %}{% set block %}{{ messages | length }} turns{% endset %}{{ block }}""",
}

CONVERSATIONS = {
    "one question": [Message("user", "你好 <b>&\"quotes'</b>")],
    "with a system": [Message("system", " Be brief.\n"), Message("user", "1 + 1?")],
    "several turns": [
        Message("user", "hi\n\nthere"),
        Message("assistant", "<think>hm</think>\n\nhello"),
        Message("user", "🙂  bye  "),
        Message("assistant", "bye"),
    ],
    "tools": [
        Message("user", "weather?"),
        Message("assistant", "", (ToolCall("1", "weather", {"city": "上海", "days": [1, 2.5], "deep": {}}),)),
        Message("tool", '{"sun": true}', tool_call_id="1"),
    ],
}
WEATHER = Tool("weather", "天气 & sun", {"type": "object", "properties": {"city": {"type": "string"}}})


@functools.cache
def smollm2_template() -> str:
    path = find_asset("smollm2-135m-instruct")
    if path is None:
        pytest.skip("the asset smollm2-135m-instruct is not here (teachllm assets fetch brings it)")
    return str(read_gguf(path).metadata["tokenizer.chat_template"])


def reference(source: str, messages: list[Message], tools: list[Tool], prompt: bool) -> str:
    conversation: list[Any] = [message.as_dict(arguments="object") for message in messages]
    [text], _ = render_jinja_template(
        [conversation],
        tools=[tool.as_dict() for tool in tools] or None,  # pyright: ignore[reportArgumentType]
        chat_template=source,
        add_generation_prompt=prompt,
        **TOKENS,  # pyright: ignore[reportArgumentType]
    )
    return text


@pytest.mark.parametrize("name", ["SmolLM2", *TEMPLATES])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_templates_render_as_in_transformers(name: str, conversation: str) -> None:
    source = smollm2_template() if name == "SmolLM2" else TEMPLATES[name]
    template = ChatTemplate(source, TOKENS)
    messages = CONVERSATIONS[conversation]
    for tools in ([], [WEATHER]):
        for prompt in (True, False):
            try:
                expected = reference(source, messages, tools, prompt)
            except Exception as refusal:
                with pytest.raises(Exception, match=str(refusal)):
                    template.render(messages, tools, add_generation_prompt=prompt)
                continue
            assert template.render(messages, tools, add_generation_prompt=prompt) == expected
            special = [*TOKENS.values(), "<|start|>", "<|end|>", "<|im_start|>", "<|im_end|>"]
            parts = template.render_parts(messages, special, tools, add_generation_prompt=prompt)
            assert "".join(text for text, _ in parts) == expected


def test_every_template_renders_something() -> None:
    for name, source in TEMPLATES.items():
        texts = [
            reference(source, messages, [], True) for messages in CONVERSATIONS.values() if len(messages) == 1
        ]
        assert all(len(text) > 10 for text in texts), name

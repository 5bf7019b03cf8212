"""A model's own chat template: messages to the text that it was trained on.

Templates are Jinja programs inside model files, so they are foreign code: they run in Jinja's sandbox, with
the functions that `transformers` gives them, and with limits on their steps and on what they write.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from teachllm.stack.chat.messages import Message, Tool

MOST_SECONDS = 2.0
MOST_STEPS = 1_000_000  # turns of loops and calls
MOST_CHARACTERS = 10_000_000  # of what it writes, and of any text on the way
LARGEST_NUMBER = 100_000  # as an argument: of center, ljust, indent, range, *


class TemplateFailed(Exception):
    """The messages cannot be put into this template; the message says why."""


class ChatTemplate:
    """A template and the special tokens that it may name (``{"bos_token": …, "eos_token": …}``).

    Raises `TemplateFailed` if it is not a Jinja template.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens or {})
        try:
            self._template = _Sandbox().from_string(source)
        except jinja2.TemplateSyntaxError as problem:
            raise TemplateFailed(
                f"the chat template is not valid Jinja: line {problem.lineno}: {problem.message}"
            ) from None
        except RecursionError:
            raise TemplateFailed("the chat template is nested too deeply") from None

    @property
    def renders_tools(self) -> bool:
        """Whether the template looks at tools at all; one that does not would drop them in silence."""
        return re.search(r"\btools\b", self.source) is not None

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, add_generation_prompt: bool = True
    ) -> str:
        """The text of the conversation, ready for the model's answer unless `add_generation_prompt` is off.

        Raises `TemplateFailed`, also for what the template itself refuses (two questions in a row, say).
        """
        return self._render(self._variables(messages, tools, add_generation_prompt))

    def render_parts(
        self,
        messages: Sequence[Message],
        special_tokens: Sequence[str],
        tools: Sequence[Tool] = (),
        *,
        add_generation_prompt: bool = True,
    ) -> list[tuple[str, bool]]:
        """`render`, cut at the special tokens that the template wrote: (text, whether it is such a token).

        Where somebody's message spells a special token it stays text, so that nobody can end their turn and
        speak as the system.
        """
        if not special_tokens:
            return [(self.render(messages, tools, add_generation_prompt=add_generation_prompt), False)]
        any_special = re.compile("|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True))))
        hidden = _Hidden(any_special)
        variables = self._variables(messages, tools, add_generation_prompt)
        for name in ("messages", "tools"):
            variables[name] = hidden.hide(variables[name])
        text = self._render(variables)
        parts: list[tuple[str, bool]] = []
        end = 0
        for found in any_special.finditer(text):
            parts += [(hidden.reveal(text[end : found.start()]), False), (found.group(), True)]
            end = found.end()
        parts.append((hidden.reveal(text[end:]), False))
        return [part for part in parts if part[0]]

    def _variables(
        self, messages: Sequence[Message], tools: Sequence[Tool], add_generation_prompt: bool
    ) -> dict[str, Any]:
        return {
            "messages": [message.as_dict(arguments="object") for message in messages],
            "tools": [tool.as_dict() for tool in tools] or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._special_tokens,
        }

    def _render(self, variables: dict[str, Any]) -> str:
        budget = _Budget()
        earlier = _budget.set(budget)
        written: list[str] = []
        try:
            for piece in self._template.generate(variables):
                budget.write(piece)
                written.append(piece)
        except TemplateFailed:
            raise
        except (MemoryError, RecursionError) as problem:
            raise TemplateFailed(f"the chat template does not end: {type(problem).__name__}") from None
        except jinja2.TemplateError as problem:
            raise TemplateFailed(f"the chat template refuses this conversation: {problem}") from None
        except Exception as problem:
            raise TemplateFailed(f"the chat template fails: {type(problem).__name__}: {problem}") from problem
        finally:
            _budget.reset(earlier)
        return "".join(written)


class _Hidden:
    """Stand-ins for special tokens that people wrote, in characters that nobody wrote."""

    def __init__(self, any_special: re.Pattern[str]) -> None:
        self._any_special = any_special
        self._texts: list[str] = []
        self._marks: str | None = None

    def hide(self, value: Any) -> Any:
        if self._marks is None:
            everything = json.dumps(value, ensure_ascii=False)
            self._marks = next(chr(code) for code in range(0xF0000, 0xFFFFD) if chr(code) not in everything)
        if isinstance(value, str):
            return self._any_special.sub(self._stand_in, value)
        if isinstance(value, dict):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        return value

    def _stand_in(self, found: re.Match[str]) -> str:
        self._texts.append(found.group())
        return f"{self._marks}{len(self._texts) - 1}{self._marks}"

    def reveal(self, text: str) -> str:
        if not self._texts:
            return text
        return re.sub(
            f"{self._marks}(\\d+){self._marks}", lambda found: self._texts[int(found.group(1))], text
        )


# The sandbox ---------------------------------------------------------------------------------------------


class _Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self._steps = 0
        self._characters = 0
        self._deadline = time.monotonic() + MOST_SECONDS

    def step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS or (self._steps % 64 == 0 and time.monotonic() > self._deadline):
            raise TemplateFailed(
                f"the chat template does not end: {self._steps} steps, more than {MOST_SECONDS:g} s or "
                f"{MOST_STEPS:,} steps"
            )

    def write(self, piece: str) -> None:
        self.step()
        self._characters += len(piece)
        if self._characters > MOST_CHARACTERS:
            raise TemplateFailed(f"the chat template writes more than {MOST_CHARACTERS:,} characters")


_STEPS, _MEASURED = "count the steps", "measure the text"
_budget: ContextVar[_Budget] = ContextVar("budget")


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The environment that `transformers` makes for chat templates, with limits."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationBlock]
        )
        self.filters["tojson"] = _tojson
        self.filters = {name: _checked_filter(function) for name, function in self.filters.items()}
        self.filters |= {_STEPS: _counted, _MEASURED: _checked}
        del self.globals["lipsum"]  # invents text at length
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda form: datetime.now().strftime(form)

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        """Every loop counts its turns, and what `~` and block assignments put together is measured."""
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(jinja2.nodes.For):
            loop.iter = jinja2.nodes.Filter(loop.iter, _STEPS, [], [], None, None)
        for block in tree.find_all(jinja2.nodes.AssignBlock):
            block.filter = jinja2.nodes.Filter(block.filter, _MEASURED, [], [], None, None)
        for parent in [tree, *tree.find_all(jinja2.nodes.Node)]:
            for field, value in parent.iter_fields():
                if isinstance(value, jinja2.nodes.Concat):
                    setattr(parent, field, jinja2.nodes.Filter(value, _MEASURED, [], [], None, None))
        return tree

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore
        _budget.get().step()
        _check_arguments(function, args, kwargs)
        return _checked(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _budget.get().step()
        if operator in ("*", "**"):
            for one, other in ((left, right), (right, left)):
                if isinstance(one, int) and abs(one) > LARGEST_NUMBER:
                    raise TemplateFailed(f"the chat template multiplies by {one}")
                if isinstance(one, int) and isinstance(other, str | list | tuple):
                    _check_length(len(other) * max(one, 0))
        if operator == "%":
            _check_padding(left)
        return _checked(super().call_binop(context, operator, left, right))


class _GenerationBlock(jinja2.ext.Extension):
    """``{% generation %}``: marks what the assistant wrote, for training. Here it writes what is in it."""

    tags = {"generation"}  # noqa: RUF012  Jinja declares it so

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _counted(values: Any) -> Iterator[Any]:
    for value in values:
        _budget.get().step()
        yield value


def _checked_filter(function: Any) -> Any:
    """The filter, with limits on its arguments and its result."""

    def limited(*args: Any, **kwargs: Any) -> Any:
        _check_arguments(function, args, kwargs)
        return _checked(function(*args, **kwargs))

    limited.__dict__.update(
        getattr(function, "__dict__", {})
    )  # whether Jinja passes the context or the environment
    return limited


def _check_arguments(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if "format" in getattr(function, "__name__", ""):
        _check_padding(getattr(getattr(function, "__wrapped__", function), "__self__", None))
        _check_padding(args[0] if args else None)
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            name = getattr(function, "__name__", "a function")
            raise TemplateFailed(f"the chat template calls {name} with {value}")


def _check_padding(form: Any) -> None:
    if isinstance(form, str) and re.search(r"[%:][^%{}a-zA-Z]*(\d{6,}|\*)", form):
        raise TemplateFailed("the chat template asks for padding that is too wide")


def _checked(value: Any) -> Any:
    if isinstance(value, str | list | tuple):
        _check_length(len(value))
    return value


def _check_length(length: int) -> None:
    if length > MOST_CHARACTERS:
        raise TemplateFailed(f"the chat template makes a text of {length:,} characters")


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes HTML, which no template for text wants."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )

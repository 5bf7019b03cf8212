"""References inside a sentence: ``{value …}``, ``{term …}``, ``{lesson …}``, ``{paper …}``."""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass, field
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from teachllm.school.language import Both

KINDS = ("value", "term", "lesson", "paper")
BAR = "\ue000"
"""Stands for ``|`` inside a reference while Markdown is parsed, so that a table does not split there."""

_IN_TEXT = re.compile(r"\{(" + "|".join(KINDS) + r")\s[^{}\n]*\}")
_REFERENCE = re.compile(r"\{(?P<kind>[a-z]+)\s+(?P<body>[^{}\n]*)\}")
_ARGUMENT = re.compile(r"""\s*(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^\s"']+)""")
_PAPER = re.compile(r"^(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})(v\d+)?$")


@dataclass(frozen=True)
class Reference:
    """One reference. ``target`` is a value's name, a term's id, a lesson's id or an arXiv id.

    ``problem`` says what is wrong with the way that it is written.
    """

    kind: str
    target: str
    text: str | None = None
    anchor: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    format: str = ""
    problem: Both | None = None


def protect_bars(text: str) -> str:
    return _IN_TEXT.sub(lambda found: found[0].replace("|", BAR), text)


def restore_bars(text: str) -> str:
    return text.replace(BAR, "|")


def references_plugin(md: MarkdownIt) -> None:
    """Makes each reference a token of type ``reference`` whose ``meta`` holds the :class:`Reference`."""
    md.inline.ruler.before("escape", "reference", _rule)


def _rule(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "{":
        return False
    found = _REFERENCE.match(state.src, state.pos)
    if not found:
        return False
    kind, body = found["kind"], restore_bars(found["body"]).strip()
    if kind in KINDS:
        reference = parse_reference(kind, body)
    else:
        near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.7)
        if not near:
            return False
        message = Both(
            f"{{{kind} …}} 不认识；是不是 {{{near[0]} …}}？",
            f"{{{kind} …}} is unknown; did you mean {{{near[0]} …}}?",
        )
        reference = Reference(kind, body, problem=message)
    if not silent:
        token = state.push("reference", "", 0)
        token.content = found[0]
        token.meta = {"reference": reference}
    state.pos = found.end()
    return True


def parse_reference(kind: str, body: str) -> Reference:
    if kind == "value":
        return _value(body)
    target, bar, text = (part.strip() for part in body.partition("|"))
    shown = text if bar else None
    if kind == "lesson":
        target, _, anchor = target.partition("#")
        return Reference(kind, target, shown, anchor or None)
    if kind == "paper" and not _PAPER.match(target):
        message = Both(
            f"{target} 不像 arXiv 编号（例如 1706.03762）", f"{target} is no arXiv id (such as 1706.03762)"
        )
        return Reference(kind, target, shown, problem=message)
    return Reference(kind, target, shown)


def _value(body: str) -> Reference:
    """``name a=1 b="x" | .2f``."""
    call, _, format_spec = (part.strip() for part in body.partition("|"))
    name, _, rest = call.partition(" ")
    args: dict[str, Any] = {}
    position = 0
    while rest[position:].strip():
        found = _ARGUMENT.match(rest, position)
        problem = None
        if found is None:
            problem = Both(
                f"读不懂参数 {rest[position:].strip()}；写成 名字=值，例如 {{value {name} d=64 | .2f}}",
                f"cannot read {rest[position:].strip()}; write name=value, as in {{value {name} d=64 | .2f}}",
            )
        else:
            try:
                args[found["name"]] = ast.literal_eval(found["value"])
            except (ValueError, SyntaxError):
                problem = Both(
                    f"参数 {found['name']} 的值 {found['value']} 不是 Python 字面量；文字要加引号",
                    f"the value {found['value']} of {found['name']} is no Python literal; quote text",
                )
        if problem is not None or found is None:
            return Reference("value", name, args=args, format=format_spec, problem=problem)
        position = found.end()
    return Reference("value", name, args=args, format=format_spec)

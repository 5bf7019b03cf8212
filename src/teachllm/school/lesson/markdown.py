"""The Markdown of lessons: CommonMark, tables, mathematics, ``:::`` boxes, references; never raw HTML."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from teachllm.school.language import Lang
from teachllm.school.lesson.references import references_plugin

_ANCHOR = re.compile(r"\s*\{#(?P<anchor>[^}]*)\}\s*$")
_CJK = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f“”‘’…—]")


@cache
def parser(lang: Lang) -> MarkdownIt:
    """One parser a language; it keeps no state between documents."""
    md = MarkdownIt("commonmark", {"html": False, "typographer": lang == "en", "quotes": "“”‘’"})
    md.enable(["table", "strikethrough"])
    if lang == "en":
        md.enable("smartquotes")
    container_plugin(md, name="box", validate=lambda *_: True)
    dollarmath_plugin(md, allow_space=False, allow_digits=True, double_inline=True)
    references_plugin(md)
    md.inline.ruler.at("emphasis", _emphasis)
    md.core.ruler.before("inline", "heading_anchors", _heading_anchors)
    return md


def is_cjk(character: str) -> bool:
    """Chinese characters, kana, full-width forms and Chinese punctuation."""
    return bool(_CJK.match(character))


def _heading_anchors(state: StateCore) -> None:
    """``## Heading {#anchor}`` gives the heading token the attribute ``id``."""
    for heading, inline in zip(state.tokens, state.tokens[1:], strict=False):
        if heading.type != "heading_open":
            continue
        found = _ANCHOR.search(inline.content)
        if found:
            heading.attrSet("id", found["anchor"])
            inline.content = inline.content[: found.start()]


def _emphasis(state: StateInline, silent: bool) -> bool:
    """``*`` and ``_`` as in CommonMark, except that a Chinese neighbour counts as a word boundary.

    By the letter of CommonMark ``**注意：**后面`` is no emphasis, since no space follows the punctuation.
    """
    marker = state.src[state.pos]
    if silent or marker not in "*_":
        return False
    end = state.pos
    while end < state.posMax and state.src[end] == marker:
        end += 1
    before = state.src[state.pos - 1] if state.pos > 0 else " "
    after = state.src[end] if end < state.posMax else " "
    opens = not isWhiteSpace(ord(after)) and (not _is_punctuation(after) or _is_boundary(before))
    closes = not isWhiteSpace(ord(before)) and (not _is_punctuation(before) or _is_boundary(after))
    if marker == "_":
        opens, closes = (
            opens and (not closes or _is_boundary(before)),
            closes and (not opens or _is_boundary(after)),
        )
    for _ in range(end - state.pos):
        token = state.push("text", "", 0)
        token.content = marker
        state.delimiters.append(
            Delimiter(
                marker=ord(marker),
                length=end - state.pos,
                token=len(state.tokens) - 1,
                end=-1,
                open=opens,
                close=closes,
            )
        )
    state.pos = end
    return True


def _is_punctuation(character: str) -> bool:
    return isMdAsciiPunct(ord(character)) or isPunctChar(character) or unicodedata.category(character) == "Sc"


def _is_boundary(character: str) -> bool:
    return isWhiteSpace(ord(character)) or _is_punctuation(character) or is_cjk(character)

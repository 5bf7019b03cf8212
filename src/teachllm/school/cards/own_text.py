"""A learner's Markdown as HTML: no raw HTML, no links but http(s), no pictures but those brought along."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from functools import cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

MEDIA = "media/"
"""Where pictures of own cards are, in their Markdown: ``![](media/name.png)``."""
MEDIA_ADDRESS = "/api/cards/media/"


def own_html(text: str) -> str:
    return _parser().render(text)


@cache
def _parser() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "breaks": True})
    md.enable(["table", "strikethrough"])
    dollarmath_plugin(md, allow_space=False, allow_digits=False)
    md.validateLink = lambda url: url.lower().startswith(("http://", "https://", MEDIA))  # type: ignore[method-assign]
    md.add_render_rule("image", _image)
    md.add_render_rule("link_open", _link)
    for kind, display in (("math_inline", 0), ("math_block", 1)):
        md.add_render_rule(kind, _math(display))
    return md


def _image(
    self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    source, words = str(tokens[at].attrGet("src")), escape(tokens[at].content)
    if not source.startswith(MEDIA):
        return words  # a picture from elsewhere would tell its server what one learns
    return f'<img src="{escape(MEDIA_ADDRESS + source.removeprefix(MEDIA))}" alt="{words}" loading="lazy">'


def _link(
    self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    return f'<a href="{escape(str(tokens[at].attrGet("href")))}" rel="noreferrer noopener" target="_blank">'


def _math(display: int) -> Any:
    def rule(
        self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: MutableMapping[str, Any]
    ) -> str:
        return f'<span class="math" data-display="{display}">{escape(tokens[at].content)}</span>'

    return rule

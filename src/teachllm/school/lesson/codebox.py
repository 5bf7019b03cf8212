"""Code on the page: coloured by Pygments, with the lines that matter marked and explained."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from html import escape

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from teachllm.school.language import Both, Lang
from teachllm.school.lesson.source_code import SourceCode

COPY = Both("复制", "Copy")


class RemarkError(ValueError):
    """A remark that points to no line, or to more than one; ``offset`` is its line in the fence."""

    def __init__(self, offset: int, message: Both) -> None:
        self.offset = offset
        self.message = message
        super().__init__(message.en)


@dataclass(frozen=True)
class Remark:
    """``substring => text``: the line of code that contains ``substring``, and what to say about it."""

    line: int
    text: str


def parse_remarks(body: str, code: str) -> list[Remark]:
    """The remarks in the body of a code fence, each with the index of its line in ``code``.

    Raises :class:`RemarkError`.
    """
    lines = code.splitlines()
    remarks = []
    for offset, entry in enumerate(body.splitlines(), start=1):
        if not entry.strip():
            continue
        substring, _, text = (part.strip() for part in f" {entry} ".partition(" => "))
        matches = [index for index, line in enumerate(lines) if substring in line]
        if not matches:
            near = difflib.get_close_matches(substring, [line.strip() for line in lines], n=1, cutoff=0.3)
            zh = f"；最接近的是 {near[0]}" if near else ""
            en = f"; the nearest is: {near[0]}" if near else ""
            message = Both(
                f"代码里没有一行包含 {substring}{zh}", f"no line of the code contains {substring}{en}"
            )
            raise RemarkError(offset, message)
        if len(matches) > 1:
            message = Both(
                f"有 {len(matches)} 行包含 {substring}；写长一点，只让一行对上",
                f"{len(matches)} lines contain {substring}; write more of the line you mean",
            )
            raise RemarkError(offset, message)
        remarks.append(Remark(matches[0], text))
    return remarks


@lru_cache(maxsize=512)
def coloured_lines(code: str, language: str) -> tuple[str, ...]:
    """Each line of the code as HTML with Pygments' classes; unknown languages stay plain."""
    try:
        lexer = get_lexer_by_name(language or "text", stripnl=False, ensurenl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text", stripnl=False, ensurenl=False)
    return tuple(highlight(code.rstrip("\n"), lexer, HtmlFormatter(nowrap=True)).rstrip("\n").split("\n"))


def code_box(
    source: SourceCode, anchor: str, remarks: list[Remark], lang: Lang, inline: Callable[[str], str]
) -> str:
    """The box of a piece of the stack; ``inline`` renders a remark's Markdown."""
    said: dict[int, list[str]] = {}
    for remark in remarks:
        said.setdefault(remark.line, []).append(inline(remark.text) if remark.text else "")
    lines = []
    for index, line in enumerate(coloured_lines(source.text, "python")):
        if index not in said:
            lines.append(f'<span class="line">{line}</span>')
            continue
        notes = "".join(f'<span class="remark">{text}</span>' for text in said[index] if text)
        lines.append(f'<span class="line hl">{line}{notes}</span>')
    return _box(
        lines,
        lang,
        caption=f"<b>{escape(source.shown_path)}</b><span><code>{escape(source.name)}</code> · "
        f"{Both('第', 'line').get(lang)} {source.line}{Both(' 行', '').get(lang)}</span>",
        attributes=f' id="{escape(anchor)}" data-symbol="{escape(source.symbol)}" data-line="{source.line}"',
        label=source.name,
    )


def example_box(code: str, language: str, lang: Lang) -> str:
    """A box for something that is not code of the stack: a command, an output, a piece of data."""
    lines = [f'<span class="line">{line}</span>' for line in coloured_lines(code, language)]
    caption = f"<span>{escape(language)}</span>" if language else "<span></span>"
    label = Both("例子", "example").get(lang)
    return _box(lines, lang, caption=caption, attributes=' data-example=""', label=label)


def _box(lines: list[str], lang: Lang, *, caption: str, attributes: str, label: str) -> str:
    body = "\n".join(lines)
    return (
        f'<div class="codebox"{attributes}><div class="cap">{caption}'
        f'<button type="button" data-copy="">{COPY.get(lang)}</button></div>'
        f'<pre class="highlight" tabindex="0" role="group" aria-label="{escape(label)}">'
        f"<code>{body}\n</code></pre></div>\n"
    )

"""A stranger's HTML as Markdown: words, lists, code, formulas, pictures by name. Nothing else passes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from teachllm.school.cards.own_text import MEDIA

_DROPPED = {"script", "style", "head", "title", "iframe", "object", "template", "noscript", "svg", "math"}
_BLOCKS = {"p", "div", "ul", "ol", "table", "tr", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr"}
_MARKS = {"b": "**", "strong": "**", "i": "*", "em": "*", "s": "~~", "del": "~~", "code": "`"}
_BREAK = "\0"
"""Stands for a line break until it is known whether anything follows it."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>$~|])")
_LINE_START = re.compile(r"^(\d*)(?=#{1,6}\s|[-+]\s|(?<=\d)[.)]\s|>|=+$|-+$)")
_TEX = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_SOUND = re.compile(r"\[sound:[^\]]*\]")


def markdown_of(text: str) -> tuple[str, list[str]]:
    """Markdown, and the names of the pictures in it, which stand there as ``media/NAME``."""
    reader = _Reader()
    reader.feed(_SOUND.sub("", text))
    reader.close()
    text = "".join(reader.parts).strip(f"{_BREAK} \n").replace(_BREAK, "\\\n")
    lines = [line.rstrip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)), reader.pictures


def text_of(markdown_html: str) -> str:
    """HTML that the studio made, as Anki takes it: its formulas in the delimiters of Anki's MathJax."""
    shown = re.sub(
        r'<span class="math" data-display="([01])">(.*?)</span>',
        lambda found: (r"\[{}\]" if found[1] == "1" else r"\({}\)").format(found[2]),
        markdown_html,
        flags=re.DOTALL,
    )
    # Addresses of the studio mean nothing elsewhere; a term's definition hangs in attributes.
    shown = re.sub(r"<a\b[^>]*href=\"/[^>]*>(.*?)</a>", r"\1", shown, flags=re.DOTALL)
    return re.sub(r"</?span\b[^>]*>", "", shown).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.pictures: list[str] = []
        self._dropped: list[str] = []
        self._waiting: list[str] = []
        self._preformatted = 0
        self._in_code = False
        self._lists: list[int | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._flush()
        if tag in _DROPPED:
            self._dropped.append(tag)
        if self._dropped:
            return
        if tag == "br":
            self.parts.append("\n" if self._preformatted else _BREAK)
        elif tag == "pre":
            self._preformatted += 1
            self.parts.append("\n\n```\n")
        elif tag in _MARKS and not self._preformatted:
            self.parts.append(_MARKS[tag])
            self._in_code = self._in_code or tag == "code"
        elif tag == "img":
            self._picture(dict(attrs).get("src") or "")
        elif tag == "li":
            number = self._lists[-1] if self._lists else None
            self.parts.append(f"\n{'  ' * (len(self._lists) - 1)}{'-' if number is None else f'{number}.'} ")
            if number is not None:
                self._lists[-1] = number + 1
        elif tag in _BLOCKS:
            if tag in ("ul", "ol"):
                self._lists.append(1 if tag == "ol" else None)
            self.parts.append("\n\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._flush()
        if self._dropped:
            if tag == self._dropped[-1]:
                self._dropped.pop()
            return
        if tag == "pre" and self._preformatted:
            self._preformatted -= 1
            self.parts.append("\n```\n\n")
        elif tag in _MARKS and not self._preformatted:
            self.parts.append(_MARKS[tag])
            self._in_code = self._in_code and tag != "code"
        elif tag in ("ul", "ol") and self._lists:
            self._lists.pop()
            self.parts.append("\n\n")
        elif tag in _BLOCKS:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        self._waiting.append(data)

    def close(self) -> None:
        super().close()
        self._flush()

    def _flush(self) -> None:
        """The words up to here, whole: the parser hands them over in pieces, which may part a formula."""
        data, self._waiting = "".join(self._waiting).replace("\0", ""), []
        if self._dropped or not data:
            return
        if self._preformatted:
            self.parts.append(data.replace("```", "'''"))
            return
        at = 0
        for found in _TEX.finditer(data):
            self._words(data[at : found.start()])
            tex = (found[1] or found[2]).strip().replace("$", r"\$")
            self.parts.append(f"${tex}$" if found[1] else f"\n\n$$\n{tex}\n$$\n\n")
            at = found.end()
        self._words(data[at:])

    def _words(self, text: str) -> None:
        if not text:
            return
        if self._in_code:
            self.parts.append(text.replace("`", "'"))
            return
        text = re.sub(r"\s+", " ", text)
        if not self.parts or self.parts[-1].endswith(("\n", _BREAK)):
            text = text.lstrip()
            marked = _LINE_START.match(text)
            if marked is not None:
                self.parts.append(f"{marked[1]}\\")
                self.parts.append(text[marked.end()])
                text = text[marked.end() + 1 :]
        self.parts.append(_SPECIAL.sub(r"\\\1", text))

    def _picture(self, source: str) -> None:
        name = source.rsplit("/", 1)[-1] if "://" not in source else ""
        if name:
            self.pictures.append(name)
            self.parts.append(f"![]({MEDIA}{name})")

"""A lesson's Markdown, parsed: its sections, everything placed in it, what is wrong with how it is written.

Nothing is computed here, neither code nor figures are looked up: search and lint read a lesson cheaply.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it.token import Token

from teachllm.school.language import Both, Lang
from teachllm.school.lesson.markdown import is_cjk, parser
from teachllm.school.lesson.references import Reference, protect_bars, restore_bars
from teachllm.school.problem import CourseFileError, LessonError, Problem
from teachllm.school.yaml_file import read_text

BOXES = ("ask", "idea", "margin", "pitfall", "details")
MARGINS = ("shape", "misconception", "source", "note")
FENCES = ("code", "figure", "lab", "exercise", "cards")
OPENING = "opening"
"""The anchor of what stands before the first section."""

_ANCHOR = re.compile(r"^[a-z][a-z0-9-]*$")


@dataclass(frozen=True)
class Element:
    """Something placed in the text: a section, a box, a fence or a reference, with its line."""

    kind: str
    name: str
    line: int


@dataclass(frozen=True)
class Section:
    """Plain text from one heading to the next, for search and counting; the opening has level 1."""

    anchor: str
    title: str
    level: int
    line: int
    text: str


@dataclass
class Document:
    path: Path
    lang: Lang
    title: str = ""
    tokens: list[Token] = field(default_factory=list)
    elements: list[Element] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    references: list[tuple[Reference, int]] = field(default_factory=list)
    author_notes: list[tuple[int, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def report(self, line: int | None, zh: str, en: str) -> None:
        self.problems.append(Problem(self.path, line, Both(zh, en)))

    def anchors(self) -> list[str]:
        """Anchors of its sections in order, without the opening."""
        return [section.anchor for section in self.sections if section.level == 2]

    def prose(self) -> str:
        return "\n".join(section.text for section in self.sections)


def read_document(path: Path, lang: Lang) -> Document:
    """Reads a lesson's text. Raises :class:`LessonError` if the file cannot be read at all.

    Everything else that is wrong is in ``problems``.
    """
    try:
        text = read_text(path)
    except CourseFileError as error:
        raise LessonError(error.problems) from None
    if not text.strip():
        message = Both("文件是空的：第一行写“# 标题”", "the file is empty: its first line is `# Title`")
        raise LessonError([Problem(path, None, message)])
    document = Document(path, lang)
    text = _without_author_notes(document, text)
    document.tokens = parser(lang).parse(protect_bars(text))
    _Reader(document, text.splitlines()).read()
    return document


def _without_author_notes(document: Document, text: str) -> str:
    """Lines that begin with ``%%`` are the author's notes: not shown, and reported by lint."""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if line.startswith("%%"):
            document.author_notes.append((index + 1, line.lstrip("% ").strip()))
            lines[index] = ""
    return "\n".join(lines)


def fence_parts(token: Token) -> tuple[str, str, dict[str, str]]:
    """``code module:name docstring=short`` as (``code``, ``module:name``, ``{"docstring": "short"}``)."""
    words = restore_bars(token.info).split()
    kind = words[0] if words else ""
    options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    names = [word for word in words[1:] if "=" not in word]
    return kind, " ".join(names), options


def box_parts(token: Token) -> tuple[str, str]:
    """``pitfall The title`` as (``pitfall``, ``The title``)."""
    kind, _, rest = token.info.strip().partition(" ")
    return kind, rest.strip()


def plain_text(children: list[Token] | None) -> str:
    """What a reader sees of inline content, without mathematics; computed values are left out."""
    parts: list[str] = []
    for child in children or []:
        if child.type in ("text", "code_inline"):
            parts.append(restore_bars(child.content))
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "reference":
            parts.append(child.meta["reference"].text or "")
    joined = "".join(parts)
    return re.sub(r"(.)\n(.)", lambda m: m[1] + ("" if is_cjk(m[1]) and is_cjk(m[2]) else " ") + m[2], joined)


class _Reader:
    """Walks the tokens once."""

    def __init__(self, document: Document, lines: list[str]) -> None:
        self.document = document
        self.lines = lines
        self.line = 1
        self.section = (OPENING, "", 1, 1)
        self.texts: list[str] = []
        self.subsections = 0

    def read(self) -> None:
        document = self.document
        tokens = document.tokens
        if not (tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1"):
            document.report(1, "第一行要写“# 标题”", "the first line must be `# Title`")
        for index, token in enumerate(tokens):
            if token.map:
                self.line = token.map[0] + 1
            if token.type == "heading_open":
                self._heading(index, token)
            elif token.type == "container_box_open":
                self._box(token)
            elif token.type in ("fence", "code_block"):
                self._fence(token)
            elif token.type == "inline":
                self._inline(token, in_heading=tokens[index - 1].type == "heading_open")
        self._close_section()

    def _heading(self, index: int, token: Token) -> None:
        document = self.document
        level = int(token.tag[1])
        title = plain_text(document.tokens[index + 1].children).strip()
        anchor = str(token.attrGet("id") or "")
        if level == 1:
            if index != 0:
                document.report(
                    self.line, "“# 标题”只能出现一次", "`# Title` may appear only once; use ## here"
                )
            document.title = document.title or title
            return
        if level > 3:
            document.report(self.line, "标题最多三级（###）", "headings go down to ### only")
        if level == 2 and not anchor:
            document.report(
                self.line,
                f"“{title}”后面要写锚点，例如 ## {title} {{#name}}",
                f"“{title}” needs an anchor, as in ## {title} {{#name}}",
            )
            anchor = f"section-{len(document.sections)}"
        if level == 2:
            self.subsections = 0
        elif not anchor:
            self.subsections += 1
            parent = self.section[0].rpartition("--")[0] or self.section[0]
            anchor = f"{parent}--{self.subsections}"
        elif level == 3:
            self.subsections += 1
        if level == 2 and anchor and not _ANCHOR.match(anchor):
            document.report(
                self.line,
                f"锚点 {anchor} 只能用小写字母、数字和连字符",
                f"anchor {anchor}: only lower-case letters, digits and hyphens",
            )
        if any(anchor == section.anchor for section in document.sections) or anchor == self.section[0]:
            document.report(self.line, f"锚点 {anchor} 重复了", f"anchor {anchor} is used twice")
        token.attrSet("id", anchor)
        self._close_section()
        self.section = (anchor, title, level, self.line)
        self._element("section" if level == 2 else "subsection", anchor if level == 2 else "")

    def _close_section(self) -> None:
        anchor, title, level, line = self.section
        text = "\n".join(self.texts)
        if text.strip() or level > 1:
            self.document.sections.append(Section(anchor, title, level, line, text))
        self.texts = []

    def _box(self, token: Token) -> None:
        document = self.document
        kind, title = box_parts(token)
        if kind not in BOXES:
            near = difflib.get_close_matches(kind, BOXES, n=1) or BOXES
            options = " ".join(f":::{name}" for name in near)
            document.report(
                self.line, f"没有 :::{kind}；可用的是 {options}", f":::{kind} is unknown; there is {options}"
            )
        if kind == "margin" and title not in MARGINS:
            document.report(
                self.line,
                f":::margin 后面要写 {'、'.join(MARGINS)} 之一",
                f":::margin needs one of {', '.join(MARGINS)}",
            )
        if kind in ("pitfall", "details") and not title:
            document.report(self.line, f":::{kind} 后面要有标题", f":::{kind} needs a title on its line")
        end = token.map[1] if token.map else 0
        closed = [line.strip() for line in self.lines[max(0, end - 1) : end + 1]]
        if not any(len(line) >= 3 and set(line) == {":"} for line in closed):
            document.report(
                self.line, f":::{kind} 没有用 ::: 结束", f":::{kind} is not closed by a line with :::"
            )
        self._element(kind, title if kind == "margin" else "")
        if kind in ("pitfall", "details") and title:
            children = parser(document.lang).parseInline(protect_bars(title))[0].children or []
            token.meta = {"title": children}
            self._references(children, self.line)
            self.texts.append(plain_text(children))

    def _fence(self, token: Token) -> None:
        if token.type == "code_block":
            return
        document = self.document
        kind, name, _ = fence_parts(token)
        end = token.map[1] if token.map else len(self.lines)
        if (
            not self.lines[end - 1].strip().lstrip(":").strip().startswith(token.markup[:3])
            or end == self.line
        ):
            document.report(
                self.line, f"代码块没有用 {token.markup} 结束", f"the fence is not closed by {token.markup}"
            )
        if kind in FENCES:
            needs_name = kind in ("code", "figure", "lab")
            if needs_name and not name:
                document.report(
                    self.line, f"```{kind} 后面要写名字", f"```{kind} needs a name, as in ```{kind} name"
                )
            if not needs_name and name:
                document.report(self.line, f"```{kind} 后面不写名字", f"```{kind} takes no name")
            self._element(kind, name)
            return
        near = difflib.get_close_matches(kind, FENCES, n=1, cutoff=0.75)
        if near and kind != "cpp":
            document.report(
                self.line, f"```{kind}：是不是 {near[0]}？", f"```{kind}: did you mean {near[0]}?"
            )
        self._element("example", kind)

    def _inline(self, token: Token, *, in_heading: bool) -> None:
        self._references(token.children or [], self.line)
        if not in_heading:
            text = plain_text(token.children)
            if text.lstrip().startswith(":::"):
                self.document.report(
                    self.line,
                    "这一行 ::: 没有被识别：前面要空一行，或多了一个 :::",
                    "this ::: is not part of a box: is there one too many?",
                )
            self.texts.append(text)

    def _references(self, children: list[Token], line: int) -> None:
        document = self.document
        for child in children:
            if child.type in ("softbreak", "hardbreak"):
                line += 1
            elif child.type == "image":
                document.report(
                    line, "课文里不放图片文件：画成图（figure）", "no image files in lessons: draw a figure"
                )
            elif child.type == "reference":
                reference: Reference = child.meta["reference"]
                child.meta["line"] = line
                document.references.append((reference, line))
                document.elements.append(Element(reference.kind, reference.target, line))
                if reference.problem is not None:
                    document.report(line, reference.problem.zh, reference.problem.en)

    def _element(self, kind: str, name: str) -> None:
        self.document.elements.append(Element(kind, name, self.line))

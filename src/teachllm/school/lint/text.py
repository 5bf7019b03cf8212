"""Checks of the text: both languages hold the same parts, nothing is missing, it is set as it should be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from markdown_it.token import Token

from teachllm.school.course import Course
from teachllm.school.language import Both, Lang
from teachllm.school.lesson.document import Document, Element, fence_parts, read_document
from teachllm.school.lesson.references import restore_bars
from teachllm.school.lint.requirements import SECTIONS, Requirements
from teachllm.school.problem import LessonError, Problem

_REFERENCES = ("value", "term", "lesson", "paper")
_HAN = "\u4e00-\u9fff\u3400-\u4dbf"
_HALF_WIDTH = re.compile(rf"(?<=[{_HAN}])[,;:!?](?=[{_HAN}\s]|$)|(?<=[{_HAN}])\.(?=[{_HAN}\s]|$)")
_HALF_WIDTH_BRACKET = re.compile(rf"\((?=[^()]*[{_HAN}])|(?<=[{_HAN}])\((?=[^()]*\)[{_HAN}])")
_STRAIGHT_QUOTE = re.compile(rf'(?<=[{_HAN}，。、；：！？])"|"(?=[{_HAN}])')
_FULL_WIDTH = re.compile("[，。；：！？、（）]")
_STOCK_PHRASES = {
    "zh": ("众所周知", "不言而喻", "显而易见", "在本节中", "本节将", "值得注意的是", "综上所述"),
    "en": ("in this section we will", "it is well known", "as we all know", "needless to say", "delve into"),
}
_MUST_HAVE = {
    "ask": Both("一个 :::ask（他的问题）", "an :::ask (the learner's question)"),
    "idea": Both("一个 :::idea（一句话说破）", "an :::idea (the one sentence)"),
    "figure": Both("一张图 ```figure", "a ```figure"),
    "lab": Both("一个实验 ```lab", "a ```lab"),
    "code": Both("一段 stack 的代码 ```code", "a piece of the stack, ```code"),
    "exercise": Both("```exercise", "```exercise"),
    "cards": Both("```cards", "```cards"),
}


def text_problems(
    course: Course, documents: dict[Lang, Document], requirements: Requirements
) -> Iterator[Problem]:
    for document in documents.values():
        yield from _missing_parts(document)
        yield from _author_notes(document)
        yield from _pasted_code(document)
        yield from _typography(document)
        yield from _links(course, document)
    if "zh" in documents:
        yield from _length(documents["zh"], requirements.chinese_characters)
    if "zh" in documents and "en" in documents:
        yield from _differences(documents["zh"], documents["en"])


def han_characters(text: str) -> int:
    """Chinese characters in a text; punctuation does not count."""
    return len(re.findall(rf"[{_HAN}]", text))


def _missing_parts(document: Document) -> Iterator[Problem]:
    anchors = document.anchors()
    for anchor in SECTIONS:
        if anchor not in anchors:
            message = Both(f"缺少一节 ## … {{#{anchor}}}", f"a section ## … {{#{anchor}}} is missing")
            yield Problem(document.path, None, message)
    kinds = Counter(element.kind for element in document.elements)
    for kind, what in _MUST_HAVE.items():
        if not kinds[kind]:
            yield Problem(document.path, None, Both(f"缺少{what.zh}", f"{what.en} is missing"))
    for kind in ("exercise", "cards"):
        if kinds[kind] > 1:
            message = Both(f"```{kind} 只能放一次", f"```{kind} may be placed only once")
            yield Problem(document.path, None, message)
    ends = [section.line for section in document.sections[1:]] + [10**9]
    for section, end in zip(document.sections, ends, strict=True):
        placed = any(section.line < element.line < end for element in document.elements)
        noted = any(section.line < line < end for line, _ in document.author_notes)
        if section.level > 1 and not (section.text.strip() or placed or noted):
            message = Both(f"“{section.title}”这一节是空的", f"section “{section.title}” is empty")
            yield Problem(document.path, section.line, message)


def _author_notes(document: Document) -> Iterator[Problem]:
    for line, note in document.author_notes:
        yield Problem(document.path, line, Both(f"还没写：{note}", f"not written yet: {note}"))


def _length(document: Document, bounds: tuple[int, int]) -> Iterator[Problem]:
    count = han_characters(document.prose())
    low, high = bounds
    if not low <= count <= high:
        message = Both(
            f"正文有 {count} 个汉字，应在 {low} 到 {high} 之间",
            f"the text has {count} Chinese characters; it should have {low} to {high}",
        )
        yield Problem(document.path, None, message)


def _pasted_code(document: Document) -> Iterator[Problem]:
    for token in document.tokens:
        kind = fence_parts(token)[0] if token.type == "fence" else ""
        if kind in ("python", "py", "python3") and len(token.content.strip().splitlines()) > 2:
            message = Both(
                "超过两行的 Python 不要贴在课文里：放进 stack，用 ```code 模块:名字 引用",
                "do not paste more than two lines of Python: put it in the stack and include it with ```code",
            )
            yield Problem(document.path, token.map[0] + 1 if token.map else None, message)


def _typography(document: Document) -> Iterator[Problem]:
    for text, line in _texts(document):
        if "**" in text:
            message = Both(
                "** 没有成为强调：检查两个 ** 是否成对", "** did not become emphasis: check its pair"
            )
            yield Problem(document.path, line, message)
        for phrase in _STOCK_PHRASES[document.lang]:
            if phrase in text.lower():
                message = Both(f"套话“{phrase}”：直接说事", f"stock phrase “{phrase}”: say the thing itself")
                yield Problem(document.path, line, message, "warning")
        if document.lang == "en":
            found = _FULL_WIDTH.search(text)
            if found:
                message = Both(
                    f"英文里有全角标点 {found[0]}", f"full-width punctuation {found[0]} in English"
                )
                yield Problem(document.path, line, message)
            continue
        found = _HALF_WIDTH.search(text) or _HALF_WIDTH_BRACKET.search(text) or _STRAIGHT_QUOTE.search(text)
        if found:
            around = text[max(0, found.start() - 8) : found.end() + 8].strip()
            message = Both(
                f"汉字旁边用了半角的 {found[0]}：…{around}…",
                f"half-width {found[0]} beside Chinese characters: …{around}…",
            )
            yield Problem(document.path, line, message)


def _texts(document: Document) -> Iterator[tuple[str, int]]:
    """Runs of plain text with their lines; mathematics, code and references cut them."""
    for token in document.tokens:
        if token.type == "inline":
            yield from _runs(token, token.map[0] + 1 if token.map else 1)


def _runs(token: Token, line: int) -> Iterator[tuple[str, int]]:
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            line += 1
        elif child.type == "text" and child.content:
            yield restore_bars(child.content), line


def _links(course: Course, document: Document) -> Iterator[Problem]:
    anchors = {section.anchor for section in document.sections}
    for token in document.tokens:
        for child in token.children or []:
            href = str(child.attrGet("href") or "") if child.type == "link_open" else ""
            if href.startswith("#") and href[1:] not in anchors and not href.startswith("#code-"):
                message = Both(f"本课没有锚点 {href}", f"this lesson has no anchor {href}")
                yield Problem(document.path, token.map[0] + 1 if token.map else None, message)
    for reference, line in document.references:
        target = course.lessons.get(reference.target) if reference.kind == "lesson" else None
        if target is None or not reference.anchor:
            continue
        if not target.available:
            message = Both(
                f"{target.id} 还没写，不能指到它的 #{reference.anchor}",
                f"lesson {target.id} is not written, so there is no #{reference.anchor} to point to",
            )
            yield Problem(document.path, line, message)
            continue
        try:
            there = read_document(target.file(f"lesson.{document.lang}.md"), document.lang)
        except LessonError:
            continue
        if reference.anchor not in {section.anchor for section in there.sections}:
            message = Both(
                f"{target.id} 里没有锚点 #{reference.anchor}",
                f"lesson {target.id} has no anchor #{reference.anchor}",
            )
            yield Problem(document.path, line, message)


def _differences(zh: Document, en: Document) -> Iterator[Problem]:
    """The first place at which the two languages part, and references that only one of them has."""
    ours, theirs = _placed(zh), _placed(en)
    for one, other in zip(ours, theirs, strict=False):
        if (one.kind, one.name) != (other.kind, other.name):
            yield Problem(
                en.path,
                other.line,
                Both(
                    f"两种语言从这里开始不同：英文是 {_shown(other)}，中文第 {one.line} 行是 {_shown(one)}",
                    f"the languages part here: {_shown(other)}, but lesson.zh.md:{one.line} is {_shown(one)}",
                ),
            )
            break
    else:
        longer, shorter = (zh, en) if len(ours) > len(theirs) else (en, zh)
        extra = _placed(longer)[len(_placed(shorter)) :]
        if extra:
            name = shorter.path.name
            message = Both(f"{name} 里没有这个 {_shown(extra[0])}", f"{name} lacks this {_shown(extra[0])}")
            yield Problem(longer.path, extra[0].line, message)
    for kind in ("value", "paper"):
        for one, other in ((zh, en), (en, zh)):
            there = {element.name for element in other.elements if element.kind == kind}
            for element in one.elements:
                if element.kind == kind and element.name not in there:
                    there.add(element.name)
                    message = Both(
                        f"{{{kind} {element.name}}} 在 {other.path.name} 里没有",
                        f"{{{kind} {element.name}}} is not in {other.path.name}",
                    )
                    yield Problem(one.path, element.line, message, "warning")
    yield from _different_remarks(zh, en)


def _placed(document: Document) -> list[Element]:
    return [element for element in document.elements if element.kind not in _REFERENCES]


def _shown(element: Element) -> str:
    if element.kind in ("section", "subsection"):
        return f"## {{#{element.name}}}" if element.name else "###"
    fence = element.kind in ("code", "figure", "lab", "exercise", "cards", "example")
    return f"{'```' if fence else ':::'}{element.kind} {element.name}".rstrip()


def _different_remarks(zh: Document, en: Document) -> Iterator[Problem]:
    """Code fences must show the same code and mark the same lines."""
    for one, other in zip(_code_fences(zh), _code_fences(en), strict=False):
        if one[:2] != other[:2] and one[0].split()[:2] == other[0].split()[:2]:
            message = Both(
                f"中文第 {one[2]} 行的同一段代码标的行或选项不同",
                f"the same code at lesson.zh.md:{one[2]} marks other lines or has other options",
            )
            yield Problem(en.path, other[2], message)


def _code_fences(document: Document) -> list[tuple[str, tuple[str, ...], int]]:
    found = []
    for token in document.tokens:
        if token.type == "fence" and fence_parts(token)[0] == "code":
            marked = tuple(
                line.partition("=>")[0].strip() for line in token.content.splitlines() if line.strip()
            )
            found.append((token.info.strip(), marked, token.map[0] + 1 if token.map else 1))
    return found

"""From a parsed lesson to HTML. All HTML of a lesson is written here; nothing in the text can add its own."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping, Sequence
from html import escape
from typing import Any

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from teachllm.school.course import Course
from teachllm.school.figures.failure import described
from teachllm.school.language import Both, Lang, say
from teachllm.school.lesson.codebox import RemarkError, code_box, example_box, parse_remarks
from teachllm.school.lesson.document import Document, box_parts, fence_parts
from teachllm.school.lesson.figures_module import line_in
from teachllm.school.lesson.islands import Island, figure_island, lab_island
from teachllm.school.lesson.loaded import LoadedLesson, unknown_name
from teachllm.school.lesson.markdown import is_cjk, parser
from teachllm.school.lesson.references import Reference, protect_bars, restore_bars
from teachllm.school.lesson.source_code import SourceCode, SymbolError, source_of
from teachllm.school.problem import CourseFileError, Problem

ISLAND = "\ue001{}\ue001"
"""Marks the place of an island in the HTML until the page is put together."""

MARGIN_TITLES = {
    "shape": Both("形状", "Shape"),
    "misconception": Both("常见误解", "Misconception"),
    "source": Both("出处", "Source"),
    "note": Both("旁注", "Note"),
}
ASKS = Both("他问", "He asks")
IDEA = Both("一句话", "The idea")
PITFALL = Both("坑", "Pitfall")


class PageRenderer(RendererHTML):
    """Renders one document; collects its islands, the source files it shows and the problems it meets.

    A mistake of the author goes to the document's ``problems``: the lesson is not shown. A figure or value
    that fails when it runs (its model is not on this machine yet) goes to ``failures``: the rest is shown.
    Without a ``loaded`` lesson (a task, a card), fences and values are not available.
    """

    def __init__(self, document: Document, course: Course, loaded: LoadedLesson | None) -> None:
        super().__init__()
        self.document = document
        self.lang: Lang = document.lang
        self.course = course
        self.loaded = loaded
        self.islands: list[Island] = []
        self.sources: list[SourceCode] = []
        self.failures: list[Problem] = []
        self.boxes: list[str] = []
        self.section_open = False
        self.numbers = [0, 0]
        self.code_anchors: set[str] = set()

    def page(self) -> str:
        """The whole document without its title, in ``<section id data-section>`` elements."""
        tokens = self.document.tokens
        start = 3 if tokens and tokens[0].tag == "h1" else 0
        body = self.render(tokens[start:], parser(self.lang).options, {})
        return restore_bars(body + ("</section>\n" if self.section_open else ""))

    def snippet(self) -> str:
        return restore_bars(self.render(self.document.tokens, parser(self.lang).options, {}))

    def inline_markdown(self, text: str) -> str:
        tokens = parser(self.lang).parseInline(protect_bars(text))
        return self.renderInline(tokens[0].children or [], parser(self.lang).options, {})

    def report(self, line: int | None, message: Both) -> str:
        self.document.problems.append(Problem(self.document.path, line, message))
        return ""

    # Blocks

    def heading_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping
    ) -> str:
        token = tokens[idx]
        anchor = escape(str(token.attrGet("id") or ""))
        if token.tag == "h2":
            self.numbers = [self.numbers[0] + 1, 0]
            before = "</section>\n" if self.section_open else ""
            self.section_open = True
            return (
                f'{before}<section id="{anchor}" data-section="{anchor}"><h2 data-number="{self.numbers[0]}">'
            )
        self.numbers[1] += 1
        return f'<{token.tag} id="{anchor}" data-number="{self.numbers[0]}.{self.numbers[1]}">'

    def container_box_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping
    ) -> str:
        token = tokens[idx]
        kind, title = box_parts(token)
        self.boxes.append(kind)
        if kind == "ask":
            return f'<div class="ask" role="note"><b class="label">{ASKS.get(self.lang)}</b>'
        if kind == "idea":
            return f'<div class="idea" role="note"><b class="label">{IDEA.get(self.lang)}</b>'
        if kind == "margin":
            label = MARGIN_TITLES.get(title, MARGIN_TITLES["note"]).get(self.lang)
            return f'<aside class="note" data-kind="{escape(title)}"><b class="label">{label}</b>'
        shown = self.renderInline((token.meta or {}).get("title", []), options, env)
        if kind == "pitfall":
            label = PITFALL.get(self.lang)
            return (
                f'<div class="pitfall" role="note"><p class="title"><b class="label">{label}</b> {shown}</p>'
            )
        return f'<details class="more"><summary>{shown}</summary>'

    def container_box_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping
    ) -> str:
        kind = self.boxes.pop()
        return {"margin": "</aside>\n", "details": "</details>\n"}.get(kind, "</div>\n")

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        label = Both("表格", "Table").get(self.lang)
        return f'<div class="table" role="group" aria-label="{label}" tabindex="0"><table>'

    def table_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping
    ) -> str:
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        """An empty corner heads nothing. Alignment is a class: the page allows no style attributes."""
        return _cell("th" if tokens[idx + 1].content.strip() else "td", tokens[idx])

    def th_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        return "</th>" if tokens[idx - 1].content.strip() else "</td>"

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        return _cell("td", tokens[idx])

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        token = tokens[idx]
        line = token.map[0] + 1 if token.map else 1
        kind, name, fence_options = fence_parts(token)
        body = restore_bars(token.content)
        if self.loaded is None or kind not in ("code", "figure", "lab", "exercise", "cards"):
            return example_box(body, kind, self.lang)
        if kind == "code":
            return self._code(name, fence_options, body, line)
        if not name and kind in ("figure", "lab"):
            return ""
        place: Callable[[str, int], str] = getattr(self, f"_{kind}")
        return place(name, line)

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        return example_box(restore_bars(tokens[idx].content), "", self.lang)

    def _code(self, symbol: str, options: dict[str, str], body: str, line: int) -> str:
        unknown = set(options) - {"docstring", "region"}
        docstring = options.get("docstring", "full")
        if unknown or docstring not in ("full", "short", "none"):
            return self.report(
                line,
                Both(
                    "code 只认识 docstring=full|short|none 和 region=名字",
                    "code takes docstring=full|short|none and region=name",
                ),
            )
        try:
            source = source_of(symbol, docstring=docstring, region=options.get("region"))  # type: ignore[arg-type]
            remarks = parse_remarks(body, source.text)
        except SymbolError as error:
            return self.report(line, error.message)
        except RemarkError as error:
            return self.report(line + error.offset, error.message)
        self.sources.append(source)
        anchor = source.anchor + (f"-{options['region']}" if "region" in options else "")
        while anchor in self.code_anchors:
            anchor += "-again"
        self.code_anchors.add(anchor)
        return code_box(source, anchor, remarks, self.lang, self.inline_markdown)

    def _figure(self, name: str, line: int) -> str:
        assert self.loaded is not None
        spec = self.loaded.figures.get(name)
        if spec is None:
            return self.report(line, unknown_name(Both("图", "figure"), name, self.loaded.figures))
        try:
            initial = spec.draw({}, self.lang)
        except Exception as error:
            initial = None
            self._failed(Both(f"图 {name}", f"figure {name}"), error)
        return self._island(figure_island(self.loaded.lesson.id, spec, self.lang, initial))

    def _lab(self, name: str, line: int) -> str:
        assert self.loaded is not None
        spec = self.loaded.labs.get(name)
        if spec is None:
            return self.report(line, unknown_name(Both("实验", "lab"), name, self.loaded.labs))
        return self._island(lab_island(self.loaded.lesson.id, spec, self.lang, self._replaceable(name)))

    def _replaceable(self, lab: str) -> str | None:
        """The exercise's symbol, if the lab is the one to try the learner's own function in."""
        assert self.loaded is not None
        try:
            exercise = self.loaded.exercise
        except CourseFileError as error:
            self.document.problems.extend(error.problems)
            return None
        return exercise.symbol if exercise.try_it == lab else None

    def _exercise(self, name: str, line: int) -> str:
        assert self.loaded is not None
        try:
            exercise = self.loaded.exercise
        except CourseFileError as error:
            self.document.problems.extend(error.problems)
            return ""
        return self._island(Island("exercise", self.loaded.lesson.id, "", {}, exercise.title.get(self.lang)))

    def _cards(self, name: str, line: int) -> str:
        assert self.loaded is not None
        title = Both("卡片", "Cards").get(self.lang)
        return self._island(Island("cards", self.loaded.lesson.id, "", {}, title))

    def _island(self, island: Island) -> str:
        self.islands.append(island)
        return ISLAND.format(len(self.islands) - 1)

    def _failed(self, what: Both, error: Exception) -> str:
        """Keeps an error in ``figures.py`` with its line; returns it in the reader's language."""
        assert self.loaded is not None
        path = self.loaded.lesson.file("figures.py")
        why = described(error)
        message = Both(f"{what.zh} 出错：{why.zh}", f"{what.en} failed: {why.en}")
        self.failures.append(Problem(path, line_in(path, error), message))
        return message.get(self.lang)

    # Inside a sentence

    def reference(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        token = tokens[idx]
        reference: Reference = token.meta["reference"]
        line = token.meta.get("line")
        if reference.problem is not None:
            return ""
        place: Callable[[Reference, int | None], str] = getattr(self, f"_{reference.kind}_reference")
        return place(reference, line)

    def _value_reference(self, reference: Reference, line: int | None) -> str:
        if self.loaded is None:
            return self.report(line, Both("这里不能用 {value …}", "{value …} cannot be used here"))
        spec = self.loaded.values.get(reference.target)
        if spec is None:
            return self.report(
                line, unknown_name(Both("数值", "value"), reference.target, self.loaded.values)
            )
        try:
            value = spec.evaluate(reference.args)
        except Exception as error:
            if isinstance(error, TypeError) and "; the function is " in str(error):
                return self.report(line, Both(f"{{value}} 的参数不对：{error}", f"{{value}}: {error}"))
            what = self._failed(Both(f"数值 {reference.target}", f"value {reference.target}"), error)
            return f'<span class="value missing" title="{escape(what)}">—</span>'
        return self._shown_value(reference, value, line)

    def _shown_value(self, reference: Reference, value: Any, line: int | None) -> str:
        if hasattr(value, "item"):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            name = reference.target
            return self.report(line, Both(f"数值 {name} 得到 {value}", f"value {name} came out as {value}"))
        try:
            shown = (
                say(value, self.lang) if isinstance(value, (Both, str)) else format(value, reference.format)
            )
        except (ValueError, TypeError) as error:
            what = f"{value!r} | {reference.format}: {error}"
            return self.report(line, Both(f"格式不对：{what}", f"cannot be formatted: {what}"))
        title = Both("由课程的代码算出", "computed by the course's code").get(self.lang)
        name = escape(reference.target)
        return f'<span class="value" data-value="{name}" title="{title}">{escape(shown)}</span>'

    def _term_reference(self, reference: Reference, line: int | None) -> str:
        glossary = self.course.glossary
        if reference.target not in glossary:
            return self.report(line, unknown_term(reference.target, glossary.terms))
        term = glossary[reference.target]
        shown = reference.text or term.name.get(self.lang)
        other = term.name.get("en" if self.lang == "zh" else "zh")
        title = term.name.get(self.lang) + (f" · {other}" if other != term.name.get(self.lang) else "")
        return (
            f'<span class="term" data-term="{escape(term.id)}" data-title="{escape(title)}" '
            f'data-definition="{escape(term.definition.get(self.lang))}">{self.inline_markdown(shown)}</span>'
        )

    def _lesson_reference(self, reference: Reference, line: int | None) -> str:
        lesson = self.course.lessons.get(reference.target)
        if lesson is None:
            message = Both(f"没有 {reference.target} 这一课", f"there is no lesson {reference.target}")
            return self.report(line, message)
        fragment = f"#{escape(reference.anchor)}" if reference.anchor else ""
        shown = reference.text or f"{lesson.id} {lesson.title.get(self.lang)}"
        css = "lesson-link" if lesson.available else "lesson-link planned"
        return f'<a class="{css}" href="/lesson/{lesson.id}{fragment}">{self.inline_markdown(shown)}</a>'

    def _paper_reference(self, reference: Reference, line: int | None) -> str:
        shown = escape(reference.text or f"arXiv {reference.target}")
        url = f"https://arxiv.org/abs/{escape(reference.target)}"
        return f'<a class="paper" href="{url}" rel="noopener noreferrer" target="_blank">{shown}</a>'

    def math_inline(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping
    ) -> str:
        return f'<span class="math" data-display="0">{escape(tokens[idx].content)}</span>'

    def math_inline_double(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping
    ) -> str:
        return f'<span class="math" data-display="1">{escape(tokens[idx].content)}</span>'

    def math_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        tex = escape(tokens[idx].content.strip())
        return f'<div class="equation"><span class="math" data-display="1">{tex}</span></div>\n'

    def softbreak(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        """A line break between two Chinese characters is no space."""
        before = tokens[idx - 1].content[-1:] if idx else ""
        after = tokens[idx + 1].content[:1] if idx + 1 < len(tokens) else ""
        return "" if before and after and is_cjk(before) and is_cjk(after) else "\n"

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        token = tokens[idx]
        if str(token.attrGet("href") or "").startswith(("http://", "https://", "//")):
            token.attrSet("rel", "noopener noreferrer")
            token.attrSet("target", "_blank")
        return self.renderToken(tokens, idx, options, env)

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping) -> str:
        return ""


def _cell(tag: str, token: Token) -> str:
    aligned = str(token.attrGet("style") or "").removeprefix("text-align:")
    return f'<{tag} class="{aligned}">' if aligned in ("right", "center") else f"<{tag}>"


def unknown_term(term: str, known: dict[str, Any]) -> Both:
    import difflib

    near = difflib.get_close_matches(term, known, n=3)
    zh = f"；是不是 {'、'.join(near)}？" if near else ""
    en = f"; did you mean {', '.join(near)}?" if near else ""
    return Both(
        f"glossary.yaml 里没有术语 {term}{zh}；没有就在那里加上",
        f"glossary.yaml has no term {term}{en}; if it is new, add it there",
    )

"""From Markdown to the page: directives, references, errors that help, caching, isolation."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from teachllm.school.course import load_course
from teachllm.school.lesson import LessonError, load_lesson, read_document, render, render_snippet
from teachllm.school.lesson.islands import computed_by
from teachllm.school.lesson.markdown import parser

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures/course"


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of lesson 1.1 in a copy of the test course that may be broken."""
    shutil.copytree(FIXTURE, tmp_path / "course", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("TEACHLLM_COURSE", str(tmp_path / "course"))
    return tmp_path / "course/01-basics/01-temperature"


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    touch(path)


def touch(path: Path) -> None:
    stamp = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(stamp, stamp))


def problem(lesson: Path, lang: str = "en") -> tuple[str, int | None, str]:
    with pytest.raises(LessonError) as caught:
        render("1.1", lang)  # type: ignore[arg-type]
    first = caught.value.problems[0]
    return first.file.name, first.line, first.message.en


class Checker(HTMLParser):
    """Finds tags that are not closed properly."""

    VOID = ("br", "hr", "img", "input", "meta", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_page_is_well_formed_and_ids_are_unique(lesson: Path, lang: str) -> None:
    page = render("1.1", lang)  # type: ignore[arg-type]
    checker = Checker()
    checker.feed(page.html)
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert not re.search("[\ue000-\uf8ff]", page.html), "a private-use mark was left in the page"
    assert "%%" not in page.html


def test_the_parts_of_the_page(lesson: Path) -> None:
    page = render("1.1", "zh")
    assert page.title == "温度"
    assert "<h1" not in page.html
    assert [entry.anchor for entry in page.toc if entry.level == 2] == [
        "idea", "code", "run", "pitfalls", "differs", "write", "recall", "sources"
    ]  # fmt: skip
    assert [entry.anchor for entry in page.toc if entry.level == 3] == ["idea--1"]
    assert '<section id="idea" data-section="idea"><h2 data-number="1">先算一个</h2>' in page.html
    assert '<div class="ask" role="note"><b class="label">他问</b><p>同一句话' in page.html
    assert '<aside class="note" data-kind="misconception"><b class="label">常见误解</b>' in page.html
    assert '<details class="more"><summary>为什么 <span class="math" data-display="0">T \\to 0' in page.html
    assert '<span class="math" data-display="1">p_i = ' in page.html
    assert page.symbols == ("teachllm.school.figures.plain:number",)
    assert (page.figures, page.labs) == (("sharpness",), ("sample_many",))


def test_values_are_computed_also_inside_tables(lesson: Path) -> None:
    page = render("1.1", "en").html
    assert ">0.665</span>; at 0.5 it has <span" in page
    cell = re.search(r"<td>1</td>\s*<td><span class=\"value\"[^>]*>([^<]*)</span></td>", page)
    assert cell is not None
    assert cell[1] == "0.67"


def test_tables_have_no_empty_headings_and_no_style_attributes(lesson: Path) -> None:
    """An empty corner is no heading for a screen reader; the page's policy refuses style attributes."""
    change(
        lesson / "lesson.en.md",
        "| temperature | probability of the first |\n|---|---|",
        "| | probability |\n|---|---:|",
    )
    page = render("1.1", "en").html
    assert re.search(r'<tr>\s*<td></td>\s*<th class="right">probability</th>\s*</tr>', page)
    assert '<td class="right"><span class="value"' in page
    assert "style=" not in page


def test_references(lesson: Path) -> None:
    page = render("1.1", "en").html
    assert 'data-term="token" data-title="token" data-definition="The smallest unit' in page
    assert ">tokens</span>" in page
    assert '<a class="lesson-link planned" href="/lesson/1.2">sampling</a>' in page
    assert 'href="https://arxiv.org/abs/1503.02531" rel="noopener noreferrer"' in page
    assert 'data-title="温度 · temperature"' in render("1.1", "zh").html


def island(page: str, kind: str) -> dict[str, object]:
    found = re.search(rf'data-island="{kind}".*?<script type="application/json">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def test_islands_carry_what_the_scripts_need(lesson: Path) -> None:
    page = render("1.1", "zh")
    data = island(page.html, "figure")
    assert data["title"] == "同一组分数，不同的温度"
    assert [control["name"] for control in data["controls"]] == ["temperature", "as_table"]  # type: ignore[index,attr-defined]
    assert data["initial"]["charts"][0]["kind"] == "bars"  # type: ignore[index]
    assert "answer" not in json.dumps(data["prediction"])
    assert island(page.html, "lab")["mine"] == "teachllm.school.figures.plain:number"
    assert island(page.html, "exercise") == {}
    personal = page.html_with({("figure", "sharpness"): {"predicted": {"answer": 0.5}}})
    assert island(personal, "figure")["predicted"] == {"answer": 0.5}
    assert "predicted" not in page.html


def test_json_in_the_page_cannot_end_its_script(lesson: Path) -> None:
    change(lesson / "figures.py", '"同一组分数，不同的温度"', '"</script><script>alert(1)</script>"')
    page = render("1.1", "zh").html
    assert "<script>alert" not in page
    assert island(page, "figure")["title"] == "</script><script>alert(1)</script>"


def test_html_in_the_text_is_shown_and_not_used(lesson: Path) -> None:
    change(lesson / "lesson.en.md", "One by hand", "One <img src=x onerror=alert(1)> by hand")
    change(
        lesson / "lesson.en.md",
        "Three {term",
        "<script>alert(1)</script> [x](javascript:alert(1)) Three {term",
    )
    change(lesson / "lesson.en.md", "$s$", "$<b>$")
    page = render("1.1", "en").html
    assert "<script>alert" not in page
    assert "<img" not in page
    assert 'href="javascript' not in page
    assert "&lt;b&gt;</span>" in page


def test_author_notes_are_not_shown_and_lines_still_count(lesson: Path) -> None:
    change(lesson / "lesson.en.md", "At each step", "%% write more here\n\nAt each step")
    page = render("1.1", "en")
    assert "write more" not in page.html
    document = read_document(lesson / "lesson.en.md", "en")
    assert document.author_notes == [(7, "write more here")]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("# Temperature", "Temperature", "first line must be"),
        ("## One by hand {#idea}", "## One by hand", "needs an anchor"),
        ("{#code}", "{#idea}", "used twice"),
        ("{#code}", "{#Code it}", "only lower-case"),
        ("## Pitfalls", "# Pitfalls", "only once"),
        (":::idea", ":::idee", "there is :::idea"),
        (":::margin shape", ":::margin form", "one of shape"),
        (":::pitfall Temperature zero", ":::pitfall", "needs a title"),
        ("```figure sharpness", "```figure sharpnes", "did you mean sharpness"),
        ("```figure sharpness", "```figur sharpness", "did you mean figure"),
        ("```lab sample_many", "```lab sharpness", "no lab sharpness"),
        ("```figure sharpness", "```figure", "needs a name"),
        ("plain:number", "plain:numbre", "did you mean number"),
        ("docstring=short", "docstring=tiny", "docstring=full"),
        ("math.isfinite(value) =>", "math.isnan(value) =>", "no line of the code contains"),
        ("{term token|", "{term tokn|", "did you mean token"),
        ("{term token|", "{trem token|", "did you mean {term"),
        ("{value top_probability temperature=0.5", "{value top_prob temperature=0.5", "did you mean"),
        ("temperature=0.5 | .3f", "heat=0.5 | .3f", "top_probability(temperature"),
        ("temperature=0.5 | .3f", "0.5 | .3f", "write name=value"),
        ("temperature=0.5 | .3f", "temperature=half | .3f", "no Python literal"),
        ("temperature=0.5 | .3f", "temperature=0.5 | .3q", "cannot be formatted"),
        ("{lesson 1.2|", "{lesson 7.2|", "no lesson 7.2"),
        ("{paper 1503.02531} uses", "{paper 150302531} uses", "no arXiv id"),
        ("Differences of scores", "![a](b.png) Differences", "no image files"),
    ],
)
def test_mistakes_are_named_with_their_line(lesson: Path, before: str, after: str, message: str) -> None:
    text = (lesson / "lesson.en.md").read_text(encoding="utf-8")
    line = text[: text.index(before)].count("\n") + 1
    change(lesson / "lesson.en.md", before, after)
    name, found, text = problem(lesson)
    assert (name, found) == ("lesson.en.md", line)
    assert message in text


def test_all_mistakes_are_reported_at_once(lesson: Path) -> None:
    change(lesson / "lesson.en.md", "{term token|", "{term tokn|")
    change(lesson / "lesson.en.md", "```lab sample_many", "```lab sampel_many")
    with pytest.raises(LessonError) as caught:
        render("1.1", "en")
    assert [p.line for p in caught.value.problems] == [15, 50]
    assert "是不是" in caught.value.get("zh")
    assert render("1.1", "zh").title == "温度", "the other language is not affected"


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"frac") + 2])


def spoil(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace("温度".encode(), "温度".encode("gbk"), 1))


@pytest.mark.parametrize(
    ("name", "damage", "line", "message"),
    [
        ("lesson.zh.md", lambda p: p.write_bytes(b""), None, "file is empty"),
        ("lesson.zh.md", lambda p: p.unlink(), None, "does not exist"),
        ("lesson.zh.md", spoil, 1, "not valid UTF-8"),
        ("figures.py", lambda p: p.unlink(), None, "figures.py is missing"),
        ("figures.py", lambda p: change(p, "import math", "import maths"), 5, "No module named 'maths'"),
        ("figures.py", lambda p: change(p, "def probabilities(", "def probabilities"), 32, "syntax error"),
        (
            "figures.py",
            lambda p: change(p, "= 1.0,\n    as_table", "= 9.0,\n    as_table"),
            44,
            "between 0.1 and 3",
        ),
        ("exercise.yaml", lambda p: change(p, "title:", "titel:"), None, "missing"),
        ("exercise.yaml", lambda p: change(p, "plain:number", "plain:nombre"), 1, "nombre"),
    ],
)
def test_damaged_files_say_what_is_wrong_and_where(
    lesson: Path, name: str, damage: Callable[[Path], object], line: int | None, message: str
) -> None:
    damage(lesson / name)
    touch(lesson / name) if (lesson / name).exists() else None
    found_name, found_line, text = problem(lesson, "zh")
    assert found_name == name
    assert message in text
    if line is not None:
        assert abs((found_line or 0) - line) <= 1


def test_a_figure_or_value_that_fails_does_not_take_the_lesson_down(
    lesson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the model that a figure runs has not been downloaded yet."""
    flag = lesson / "model.gguf"
    change(
        lesson / "figures.py",
        "    weights = [",
        f"    open({str(flag)!r}).close()\n    weights = [",
    )
    page = render("1.1", "en")
    assert ">—</span>; at 0.5 it has" in page.html
    assert "value top_probability failed: FileNotFoundError" in page.html
    data = island(page.html, "figure")
    assert data["initial"] is None
    assert data["controls"]
    assert "FileNotFoundError" in str([failure.message for failure in page.failures])
    assert {failure.file.name for failure in page.failures} == {"figures.py"}
    flag.touch()
    monkeypatch.setattr("teachllm.school.lesson.page._RETRY_SECONDS", 0.0)
    mended = render("1.1", "en")
    assert mended.failures == ()
    assert island(mended.html, "figure")["initial"] is not None


def test_a_truncated_lesson_is_not_shown_as_if_it_were_whole(lesson: Path) -> None:
    text = (lesson / "lesson.en.md").read_text(encoding="utf-8")
    (lesson / "lesson.en.md").write_text(text[: text.index("```figure") + 12], encoding="utf-8")
    assert "not closed" in problem(lesson)[2]
    (lesson / "lesson.en.md").write_text(text[: text.index("pulled apart")], encoding="utf-8")
    touch(lesson / "lesson.en.md")
    assert "not closed" in problem(lesson)[2]


def test_a_planned_lesson_says_so(lesson: Path) -> None:
    for function in (lambda: render("1.2", "zh"), lambda: load_lesson("1.2")):
        with pytest.raises(LessonError, match="not written yet"):
            function()


def test_a_page_is_kept_until_something_changes(lesson: Path) -> None:
    first = render("1.1", "zh")
    assert render("1.1", "zh") is first
    change(lesson / "lesson.zh.md", "先算一个", "先算两个")
    second = render("1.1", "zh")
    assert second is not first
    assert "先算两个" in second.html
    change(lesson / "figures.py", '"同一组分数，不同的温度"', '"新标题"')
    assert "新标题" in render("1.1", "zh").html
    change(lesson.parents[1] / "glossary.yaml", "越小概率越集中", "改过的定义")
    assert "改过的定义" in render("1.1", "zh").html


def test_after_a_mistake_is_mended_the_page_is_back(lesson: Path) -> None:
    change(lesson / "figures.py", "import math", "import maths")
    problem(lesson, "zh")
    change(lesson / "figures.py", "import maths", "import math")
    assert render("1.1", "zh").title == "温度"


def test_figures_are_imported_under_a_name_of_their_own(lesson: Path) -> None:
    loaded = load_lesson("1.1")
    assert loaded.module.__name__ == "teachllm_course.l01_01.figures"
    assert sys.modules["teachllm_course.l01_01.figures"] is loaded.module
    assert load_lesson("1.1") is loaded
    assert list(loaded.figures) == ["sharpness"]
    assert list(loaded.labs) == ["sample_many"]
    assert list(loaded.values) == ["top_probability"]
    assert not (lesson / "__pycache__").exists()
    assert load_lesson("1.1").exercise.function == "number"


def test_two_courses_do_not_share_modules(lesson: Path) -> None:
    change(lesson / "figures.py", "SCORES = (2.0, 1.0, 0.0)", "SCORES = (9.0, 1.0, 0.0)")
    other = load_lesson("1.1", load_course(FIXTURE))
    mine = load_lesson("1.1")
    assert mine.values["top_probability"].evaluate({}) > other.values["top_probability"].evaluate({})


def test_many_threads_get_the_same_page(lesson: Path) -> None:
    pages = []
    threads = [threading.Thread(target=lambda: pages.append(render("1.1", "zh"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pages) == 8
    assert len({id(page) for page in pages}) == 1


def test_computed_by_names_the_room_of_the_stack(lesson: Path) -> None:
    change(
        lesson / "figures.py",
        "def probabilities(temperature: float) -> list[float]:\n",
        "def probabilities(temperature: float) -> list[float]:\n    import_me\n",
    )
    change(lesson / "figures.py", "SCORES =", "from teachllm.stack import __doc__ as import_me\nSCORES =")
    assert computed_by(load_lesson("1.1").figures["sharpness"].function) is None
    from teachllm.stack.tokenizer import byte_alphabet

    def inner() -> object:
        return byte_alphabet

    assert computed_by(inner) is None, "a local variable is not looked up"
    loaded = load_lesson("1.1")
    loaded.module.__dict__["import_me"] = byte_alphabet
    assert computed_by(loaded.figures["sharpness"].function) == "stack.tokenizer.byte_alphabet"


def test_snippets_render_markdown_and_references_only(lesson: Path) -> None:
    text = render_snippet("先看 `q` 的形状，$d_k$，{term token}。\n\n- 一\n- 二", "zh")
    assert '<span class="math" data-display="0">d_k</span>' in text
    assert 'data-term="token"' in text
    assert "<li>二</li>" in text
    assert "&lt;script" in render_snippet("<script>", "zh")
    with pytest.raises(LessonError, match="no term nothing"):
        render_snippet("{term nothing}", "zh")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**注意：**后面", "<strong>注意：</strong>后面"),
        ("前面**“引号”**后面", "<strong>“引号”</strong>"),
        ("中文**粗**中文", "<strong>粗</strong>"),
        ("a ** b ** c", "a ** b ** c"),
        ("snake_case_name", "snake_case_name"),
        ("*a*_b_", "<em>a</em>"),
        ("**粗*斜*粗**", "<strong>粗<em>斜</em>粗</strong>"),
        ("第一行\n第二行", "第一行第二行"),
        ("line\n中文", "line\n中文"),
    ],
)
def test_chinese_emphasis_and_line_breaks(lesson: Path, text: str, expected: str) -> None:
    assert expected in render_snippet(text, "zh")


def test_quotes_are_typographic_in_english_only() -> None:
    assert html.unescape(parser("en").render('"it\'s"')).strip() == "<p>“it’s”</p>"
    assert html.unescape(parser("zh").render('"it"')).strip() == '<p>"it"</p>'


def test_plain_text_of_sections_for_search(lesson: Path) -> None:
    document = read_document(lesson / "lesson.zh.md", "zh")
    sections = {section.anchor: section for section in document.sections}
    assert "概率表" in sections["opening"].text
    assert sections["opening"].level == 1
    assert sections["code"].title == "代码"
    assert "温度为零" in sections["run"].text
    assert "采样" in sections["pitfalls"].text
    assert not any("\\frac" in section.text for section in sections.values())

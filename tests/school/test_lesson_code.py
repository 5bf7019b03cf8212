"""Code included by symbol: found by source, cut to docstrings and regions, marked where it matters."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

import teachllm
from teachllm.school.lesson import source_code
from teachllm.school.lesson.codebox import RemarkError, code_box, coloured_lines, parse_remarks
from teachllm.school.lesson.source_code import SymbolError, source_of

MODULE = textwrap.dedent('''\
    """A module that only a test has."""

    import functools
    from math import sqrt

    LIMIT: int = 3


    @functools.cache
    def scaled(x, d):
        """Divides by the root.

        x: a number. Vaswani 2017.
        """
        # region: scale
        y = x / sqrt(d)  # root
        # endregion
        return y


    class Cache:
        """Keeps things."""

        def update(self, k):
            """Appends.

            Longer story.
            """
            self.k = k

        def empty(self):
            """Nothing else."""


    def open_region():
        # region: never closed
        pass
''')


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``teachllm.sample`` as a file of a package folder of the test's own."""
    path = tmp_path / "sample.py"
    path.write_text(MODULE, encoding="utf-8")
    (tmp_path / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(source_code, "_PACKAGE", tmp_path)
    return path


def test_a_function_with_its_decorator_and_without_region_marks(module: Path) -> None:
    source = source_of("teachllm.sample:scaled")
    assert source.text.splitlines()[0] == "@functools.cache"
    assert "region" not in source.text
    assert source.text.rstrip().endswith("return y")
    assert (source.line, source.shown_path, source.name) == (9, "sample.py", "scaled")
    assert source.anchor == "code-scaled"
    compile(source.text, "shown", "exec")


def test_docstrings_short_and_none(module: Path) -> None:
    short = source_of("teachllm.sample:scaled", docstring="short").text
    assert '    """Divides by the root."""\n' in short
    assert "Vaswani" not in short
    none = source_of("teachllm.sample:scaled", docstring="none").text
    assert none.splitlines()[1:3] == ["def scaled(x, d):", "    y = x / sqrt(d)  # root"]
    for text in (short, none):
        compile(text, "shown", "exec")


def test_a_class_a_method_a_constant(module: Path) -> None:
    whole = source_of("teachllm.sample:Cache", docstring="none").text
    assert "Longer story" not in whole
    assert "..." in whole, "a body that was only a docstring still is one"
    compile(whole, "shown", "exec")
    method = source_of("teachllm.sample:Cache.update", docstring="short")
    assert method.text.startswith('def update(self, k):\n    """Appends."""')
    assert method.anchor == "code-Cache-update"
    assert source_of("teachllm.sample:LIMIT").text == "LIMIT: int = 3\n"


def test_a_region_is_dedented(module: Path) -> None:
    source = source_of("teachllm.sample:scaled", region="scale")
    assert source.text == "y = x / sqrt(d)  # root\n"
    assert source.line == 16
    assert source_of("teachllm.sample", region="scale").text == source.text


@pytest.mark.parametrize(
    ("symbol", "region", "message"),
    [
        ("teachllm.sample:scaledd", None, "did you mean scaled"),
        ("teachllm.sampel:scaled", None, "did you mean teachllm.sample"),
        ("teachllm.sample:sqrt", None, "it is defined in math:sqrt"),
        ("teachllm.sample", None, "write module:name"),
        ("torch.nn:Linear", None, "only modules of teachllm"),
        ("teachllm.sample:scaled", "scala", "did you mean scale"),
        ("teachllm.sample:open_region", "never closed", "has no # endregion"),
    ],
)
def test_what_does_not_exist_is_named_with_suggestions(
    module: Path, symbol: str, region: str | None, message: str
) -> None:
    with pytest.raises(SymbolError, match=message):
        source_of(symbol, region=region)


def test_an_edit_of_the_source_is_seen(module: Path) -> None:
    assert "LIMIT: int = 3" in source_of("teachllm.sample:LIMIT").text
    module.write_text(MODULE.replace("= 3", "= 30"), encoding="utf-8")
    assert "LIMIT: int = 30" in source_of("teachllm.sample:LIMIT").text


def test_every_public_function_of_the_engine_can_be_shown() -> None:
    package = Path(teachllm.__file__).parent
    for path in sorted((package / "school/lesson").glob("*.py")):
        module = f"teachllm.school.lesson.{path.stem}"
        if path.stem == "__init__":
            continue
        for name in source_code.symbols_of(module):
            for docstring in ("full", "short", "none"):
                compile(source_of(f"{module}:{name}", docstring=docstring).text, name, "exec")


CODE = "def f(x):\n    y = x * 2\n    return y\n"


def test_remarks_point_to_one_line() -> None:
    first, second = parse_remarks("x * 2 => twice, so $y = 2x$\n\nreturn y =>", CODE)
    assert (first.line, first.text) == (1, "twice, so $y = 2x$")
    assert (second.line, second.text) == (2, "")


@pytest.mark.parametrize(
    ("body", "offset", "message"),
    [
        ("x * 3 => no", 1, "no line of the code contains x \\* 3"),
        ("x * 2 => a\ny => b", 2, "2 lines contain y"),
    ],
)
def test_remarks_that_point_nowhere(body: str, offset: int, message: str) -> None:
    with pytest.raises(RemarkError, match=message) as caught:
        parse_remarks(body, CODE)
    assert caught.value.offset == offset


def test_coloured_lines_keep_the_text(module: Path) -> None:
    import re
    from html import unescape

    source = source_of("teachllm.sample:scaled")
    lines = coloured_lines(source.text, "python")
    assert [unescape(re.sub("<[^>]+>", "", line)) for line in lines] == source.text.splitlines()
    assert coloured_lines("a < b", "no-such-language") == ("a &lt; b",)


def test_the_box_escapes_and_names_its_source(module: Path) -> None:
    source = source_of("teachllm.sample:scaled")
    remarks = parse_remarks("x / sqrt => <b>", source.text)
    html = code_box(source, "code-scaled", remarks, "zh", lambda text: text.replace("<", "&lt;"))
    assert 'id="code-scaled"' in html
    assert 'data-symbol="teachllm.sample:scaled"' in html
    assert "第 9 行" in html
    assert '<span class="line hl">' in html
    assert '<span class="remark">&lt;b></span>' in html
    assert "data-copy" in html

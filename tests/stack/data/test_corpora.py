"""Corpora that are on every machine: there, the same every time, and no longer than asked for."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from teachllm.stack.data.corpora import course_text, docstrings, python_sources, stdlib_docs, stdlib_sources


def test_the_course_in_one_language_or_both() -> None:
    chinese, english = list(course_text("zh")), list(course_text("en"))
    assert chinese
    assert sorted(course_text()) == sorted(chinese + english)
    assert all(_share_of_han(text) > 0.1 for text in chinese)
    assert all(_share_of_han(text) < 0.05 for text in english)  # examples may be Chinese


def _share_of_han(text: str) -> float:
    return sum("一" <= character <= "鿿" for character in text) / len(text)


def test_a_missing_course_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="TEACHLLM_COURSE"):
        next(course_text())


def test_the_standard_library_is_there() -> None:
    prose = list(islice(stdlib_docs(), 200))
    assert len(prose) == 200
    assert all(prose)
    assert any("import " in text for text in islice(stdlib_sources(), 20))


def test_the_limit_counts_bytes_and_cuts_no_character(tmp_path: Path) -> None:
    lesson = tmp_path / "01-basics" / "01-one"
    lesson.mkdir(parents=True)
    (lesson / "lesson.zh.md").write_text("语言模型", encoding="utf-8")
    (lesson / "lesson.en.md").write_text("model", encoding="utf-8")
    read = lambda size: list(course_text(folder=tmp_path, max_bytes=size))  # noqa: E731
    assert read(None) == read(17) == ["model", "语言模型"]
    assert read(16) == ["model", "语言模"]
    assert read(7) == ["model"]
    assert read(0) == []


def test_docstrings_and_sources_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text('"""A test."""')
    (tmp_path / "b.py").write_text('class B:\n    """What B is."""\n')
    (tmp_path / "a.py").write_text('"""What a is."""\nx = "\\d"')
    (tmp_path / "c.py").write_text("not python(")
    sources = list(python_sources(tmp_path))
    assert len(sources) == 3
    assert list(docstrings(sources, shortest=5)) == ["What a is.", "What B is."]
    assert list(docstrings(sources, shortest=11)) == []

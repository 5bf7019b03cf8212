"""YAML as the course writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from teachllm.school.problem import CourseFileError
from teachllm.school.yaml_file import BothText, read_yaml, validate


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a: >-\n  先说训练，\n  再说编码。\n", "先说训练，再说编码。"),
        ("a: 先说训练，\n  再说编码。\n", "先说训练，再说编码。"),
        ("a: >-\n  一条叫 Llama\n  的规则\n", "一条叫 Llama 的规则"),
        ("a: >-\n  方差是 1，\n  d 个加起来\n", "方差是 1，d 个加起来"),
        ("a: >-\n  first,\n  then\n", "first, then"),
        ("a: 一行里的 空格 是作者写的\n", "一行里的 空格 是作者写的"),
        ("a: |-\n  第一行\n  第二行\n", "第一行\n第二行"),
    ],
)
def test_a_fold_between_chinese_characters_is_no_space(tmp_path: Path, text: str, read: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path).data == {"a": read}


@pytest.mark.parametrize(
    ("text", "zh"), [("a: {zh: '', en: x}\n", "zh 是空的"), ("a: x\n", "两种语言都要写")]
)
def test_a_text_in_one_language_is_told_in_both(tmp_path: Path, text: str, zh: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CourseFileError) as told:
        validate(read_yaml(path), dict[str, BothText])
    (problem,) = told.value.problems
    assert problem.line == 1
    assert zh in problem.message.zh
    assert "language" in problem.message.en or "zh text is empty" in problem.message.en

"""YAML as the course writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from teachllm.school.yaml_file import read_yaml


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

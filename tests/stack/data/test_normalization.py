"""Texts that look the same become the same, and what means something stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachllm.stack.data.normalization import normalize


@pytest.mark.parametrize(
    ("text", "expected", "counts"),
    [
        ("cafe\u0301", "café", {"composed": 1}),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd", {"line ends": 3}),
        ("a\r\nb", "a\nb", {"line ends": 1}),
        ("好\xa0好\u3000好", "好 好 好", {"spaces": 2}),
        ("\ufeff模\u200b型\x00", "模型", {"invisible characters": 3}),
        ("a\x00b\x1b", "ab", {"invisible characters": 2}),
        ("if x:\n    y \t\n\n\n\nz", "if x:\n    y\n\nz", {"line tails": 1, "empty lines": 1}),
        ("\n\n  a\n ", "  a", {"line tails": 0, "blank ends": 1}),
        ("好，１２", "好，１２", {}),
        ("👩\u200d💻", "👩\u200d💻", {}),
    ],
)
def test_what_changes(text: str, expected: str, counts: dict[str, int]) -> None:
    normal, found = normalize(text)
    assert normal == expected
    assert {kind: n for kind, n in found.items() if n} == {kind: n for kind, n in counts.items() if n}


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from("a \n\r\t\x0c\xa0\u200b\u0301e模\u2028\ufeff")) | st.text())
def test_twice_is_the_same_as_once(text: str) -> None:
    once, _ = normalize(text)
    again, counts = normalize(once)
    assert again == once
    assert not any(counts.values())

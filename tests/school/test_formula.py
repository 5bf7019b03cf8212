"""Formulas as plain text: what search results and the terminal show."""

from __future__ import annotations

import pytest

from teachllm.school.lesson.formula import readable


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"d_k = 64", "d_k=64"),
        (r"\frac{1}{\sqrt{d_k}}", "1/√d_k"),
        (r"\mathrm{softmax}\!\left(\frac{QK^{\top}}{\sqrt{d_k}}\right)V", "softmax(QKᵀ/√d_k)V"),
        (r"e^{-\infty}=0", "e^−∞=0"),
        (r"10000^{-2i/d}", "10000^(−2i/d)"),
        (r"O(n^2 d)", "O(n²d)"),
        (r"q_i\cdot k_i = \sum_i q_ik_i", "q_i·k_i=∑_i q_i k_i"),
        (r"a\cos\varphi-b\sin\varphi", "a cos φ−b sin φ"),
        (r"\log\frac{P(ab)}{P(a)\,P(b)}", "log(P(ab))/(P(a) P(b))"),
        (r"\lambda\Delta", "λΔ"),
        (r"\text{字节数}\le 2", "字节数≤2"),
        (r"\unheard{x}", "unheard x"),
        (r"\{a\}", "{a}"),
        ("", ""),
    ],
)
def test_what_a_formula_says(tex: str, text: str) -> None:
    assert readable(tex) == text


@pytest.mark.parametrize("tex", ["{", "}", "a}b", r"\frac", r"\frac{1", "^", "x_", r"\begin", "\\", "{" * 50])
def test_a_broken_formula_is_still_text(tex: str) -> None:
    assert isinstance(readable(tex), str)

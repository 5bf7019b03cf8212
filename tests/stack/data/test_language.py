"""Chinese, English and code are told apart, and other languages are called other."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from teachllm.stack.data.corpora import course_text, stdlib_docs, stdlib_sources
from teachllm.stack.data.language import (
    bits_per_letter,
    count_trigrams,
    guess_language,
    language_problem,
    trigram_bits,
)
from teachllm.stack.data.words import code_points

# ruff: noqa: E501
TEXTS = [
    ("en", "Once upon a time there was a little girl who lived in a small house by the river. Every morning she "
           "fed the ducks, and every evening her father told her a story about the stars."),
    ("en", "The government said on Tuesday that it would raise the minimum wage next year, although economists "
           "warned that the move could push up prices."),
    ("en", "hey, are you coming to the party tonight? I can't find my keys but don't wait for me!"),
    ("zh", "政府周二表示，明年将提高最低工资，尽管经济学家警告说，这可能会推高物价。"),
    ("zh", "政府週二表示，明年將提高最低工資，儘管經濟學家警告說，這可能會推高物價。"),
    ("zh", "注意力的公式是 softmax(QK^T/√d)V，其中 Q、K、V 是 query、key 和 value 的矩阵，d 是每个头的维度。"),
    ("code", "def add(a, b):\n    if a is None:\n        return b\n    return a + b\n"),
    ("code", "int main(void) {\n    for (int i = 0; i < 10; i++) {\n        printf(\"%d\", i);\n    }\n}\n"),
    ("other", "Le gouvernement a annoncé mardi une augmentation du salaire minimum pour l'année prochaine."),
    ("other", "Die Regierung hat am Dienstag angekündigt, den Mindestlohn im nächsten Jahr zu erhöhen."),
    ("other", "El gobierno anunció el martes que subirá el salario mínimo el próximo año."),
    ("other", "Het minimumloon gaat volgend jaar omhoog, hoewel economen waarschuwen voor stijgende prijzen."),
    ("other", "Pemerintah mengumumkan pada hari Selasa bahwa upah minimum akan dinaikkan tahun depan."),
    ("other", "Gallia est omnis divisa in partes tres, quarum unam incolunt Belgae, aliam Aquitani."),
    ("other", "Chính phủ cho biết hôm thứ ba rằng lương tối thiểu sẽ tăng vào năm tới."),
    ("other", "政府は火曜日、来年最低賃金を引き上げると発表したが、物価がさらに上がる可能性がある。"),
    ("other", "Правительство объявило во вторник, что в следующем году повысит минимальную плату."),
    ("other", "정부는 화요일에 내년 최저임금을 인상하겠다고 밝혔다."),
    ("none", "1234 5678 --- 12"),
    ("none", ""),
]  # fmt: skip


@pytest.mark.parametrize(("language", "text"), TEXTS)
def test_languages_are_told_apart(language: str, text: str) -> None:
    assert guess_language(text).language == language


def test_corpora_are_what_they_are() -> None:
    def share(texts: list[str], language: str) -> float:
        return sum(guess_language(text).language == language for text in texts) / len(texts)

    assert share(list(course_text("zh")), "zh") == 1
    assert share(list(course_text("en")), "en") == 1
    assert share(list(islice(stdlib_docs(), 200)), "en") > 0.95
    assert share([text for text in islice(stdlib_sources(), 100) if len(text) > 500], "code") > 0.95


def test_the_filter_says_what_it_found() -> None:
    german = dict((text, language) for language, text in TEXTS if "Regierung" in text)  # noqa: C402
    verdict = language_problem(next(iter(german)))
    assert verdict is not None
    assert verdict.reason == "language: other"
    assert "bits a letter" in verdict.detail
    assert language_problem(TEXTS[0][1]) is language_problem(TEXTS[3][1]) is None
    assert language_problem(TEXTS[3][1], ("en",)) is not None


def test_a_model_of_letters_is_a_distribution() -> None:
    bits = trigram_bits(count_trigrams(["the cat sat on the mat, and the other cat sat there"] * 3))
    np.testing.assert_allclose(np.exp2(-bits).sum(-1), 1, rtol=1e-12)
    t, h, e, x = (ord(letter) - ord("a") + 1 for letter in "thex")
    assert bits[t, h, e] < 0.5
    assert bits[t, h, x] > 5
    assert trigram_bits(np.zeros((64, 64, 64), np.uint32)) == pytest.approx(6.0), "knows nothing: log₂ 64"


def test_bits_do_not_depend_on_length_or_white_space() -> None:
    text = TEXTS[0][1]
    once, often = (bits_per_letter(code_points(t))["en"] for t in (text, (text + " \n ") * 50))
    assert often == pytest.approx(once, abs=0.05)
    spread = bits_per_letter(code_points(text.replace(" ", "  \n")))["en"]
    assert spread == pytest.approx(once, abs=1e-9)

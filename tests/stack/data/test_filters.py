"""Length and symbols, and the rules of Gopher in English and Chinese: each drops what it is for, no more."""

from __future__ import annotations

from itertools import islice

import pytest

from teachllm.stack.data.corpora import stdlib_docs
from teachllm.stack.data.filters import length_problem, symbol_problem
from teachllm.stack.data.gopher import QualityLimits, count_ellipses, quality_problem
from teachllm.stack.data.pipeline import Verdict

ENGLISH = (
    "The model reads the words that people have written, and it learns to say which word comes next. "
    "To be good at this, it has to know a little of everything: how sentences are built, what things are "
    "called, and what follows from what. Nobody tells it these rules with examples and answers; they are in "
    "the text, and the text is all that it gets."
)
CHINESE = (
    "语言模型读的是人写的文章，学的是下一个词该是什么。要猜得准，它得知道一点语法，也得知道一点常识："
    "句子怎么写，东西叫什么，前面的话和后面的话有什么关系。这些规则没有人直接告诉它，都在文章里，"
    "而文章是它唯一能看到的东西。所以，用什么样的文章来训练，决定了它最后会说什么样的话。"
)


def test_length_is_in_bytes() -> None:
    assert length_problem("模型" * 5, shortest=30) is None
    assert length_problem("model" * 5, shortest=30) == Verdict("too short", "25 bytes")
    assert length_problem("模型" * 5, shortest=0, longest=29) == Verdict("too long", "30 bytes")


def test_symbols_and_broken_characters() -> None:
    assert symbol_problem(ENGLISH) is symbol_problem(CHINESE) is symbol_problem("") is None
    assert symbol_problem("| a | b |\n|---|---|") is not None
    broken = symbol_problem(ENGLISH + "\ufffd")
    assert broken is not None
    assert broken.reason == "broken characters"


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_prose_passes(text: str) -> None:
    assert quality_problem(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ENGLISH[:200], "too few words"),
        (CHINESE[:78], "too few words"),
        (ENGLISH + " word" * 100_000, "too many words"),
        ("a b c d " * 20 + ENGLISH[:60], "odd word lengths"),
        ("internationalisation " * 60, "odd word lengths"),
        (ENGLISH + " #" * 20, "symbols instead of words"),
        (CHINESE + "……啊" * 20, "symbols instead of words"),
        ("\n".join(f"- {words}" for words in ENGLISH.split(" that ")) * 2, "a list"),
        (
            "\n".join(f"Here is what we know of the weather on day {day} and more..." for day in range(8)),
            "teasers",
        ),
        (ENGLISH + " 12345" * 60, "too few letters"),
        ("Le chat dort sur le lit pendant que la pluie tombe dehors. " * 8, "no sentences"),
        ("甲乙丙丁戊己庚辛壬癸" * 10, "no sentences"),
    ],
)
def test_each_rule_drops_what_it_is_for(text: str, reason: str) -> None:
    verdict = quality_problem(text)
    assert verdict is not None
    assert verdict.reason == reason


def test_limits_can_be_changed() -> None:
    assert quality_problem(ENGLISH[:200], QualityLimits(fewest_words=20)) is None
    assert quality_problem("", QualityLimits()) == Verdict("too few words", "0 words")
    assert quality_problem("", QualityLimits(fewest_words=0)) == Verdict("too few words", "0 words")


def test_ellipses_of_both_makes() -> None:
    assert count_ellipses("a... b… 好……") == 3


def test_most_real_documents_of_length_pass() -> None:
    docs = [text for text in islice(stdlib_docs(), 300) if len(text) > 2_000]
    passed = sum(quality_problem(text) is None for text in docs)
    assert len(docs) > 30
    assert passed > 0.8 * len(docs)

"""Texts become terms: English stems, Chinese words and pairs, and both in one sentence."""

from __future__ import annotations

import pytest

from teachllm.stack.retrieval.lexical.analysis import _ASCII_TERM, _TERM, TextAnalyzer, folded
from teachllm.stack.retrieval.lexical.chinese import Dictionary, segment, segment_for_search


def test_english_words_lose_case_endings_and_stop_words() -> None:
    analyze = TextAnalyzer()
    assert analyze("The caches of the model's KV_cache are CACHED.") == [
        "cach",
        "model",
        "kv",
        "cach",
        "cach",
    ]
    assert analyze("") == analyze("?! the") == []
    assert TextAnalyzer(language=None, stop_words=())("The Caches") == ["the", "caches"]


def test_widths_and_accents_do_not_matter_and_apostrophes_do_not_split() -> None:
    assert folded("Ｎａïve Café") == "naive cafe"
    assert folded("が й") == "が й"  # marks of other scripts make other letters
    analyze = TextAnalyzer(language=None)
    assert analyze("ＢＭ２５ naïve") == analyze("bm25 naive") == ["bm25", "naive"]
    assert analyze("don’t") == analyze("don't") == ["don't"]


def test_ascii_is_only_a_faster_way_to_the_same_words() -> None:
    text = "It's BM25's k1=1.5, x_y 'quoted' a-b\tC3PO\n(don't)!".lower()
    assert _ASCII_TERM.findall(text) == _TERM.findall(text)


def test_chinese_runs_become_words_and_pairs() -> None:
    text = "自注意力用了KV缓存"
    assert TextAnalyzer(han="pairs")(text) == ["自注", "注意", "意力", "力用", "用了", "kv", "缓存"]
    words = TextAnalyzer(han="words")(text)
    assert "注意力" in words
    assert "缓存" in words
    assert "kv" in words
    assert "了" not in words
    both = TextAnalyzer()(text)
    assert both.count("缓存") == 1
    assert "注意力" in both
    assert "意力" in both
    assert TextAnalyzer(han="pairs")("猫") == ["猫"]
    assert "猫" in TextAnalyzer()("我有一只猫")


def test_a_language_without_a_stemmer_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"klingon.*english"):
        TextAnalyzer("klingon")


SMALL = Dictionary({"研": -9.0, "研究": -3.0, "研究生": -4.0, "生": -6.0, "生命": -3.5, "命": -6.0}, -12.0)


def test_segmentation_takes_the_most_probable_cut_not_the_longest_word() -> None:
    assert segment("研究生命", SMALL) == ["研究", "生命"]  # −6.5; 研究生 + 命 is −10
    assert segment("研究生", SMALL) == ["研究生"]
    assert segment("研〇究", SMALL) == ["研", "〇", "究"]
    assert segment("", SMALL) == []
    assert segment_for_search("研究生", SMALL) == ["研究", "研究生"]

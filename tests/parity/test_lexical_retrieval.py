"""BM25, TF-IDF, stems and Chinese words beside bm25s, rank_bm25, scikit-learn, and jieba itself."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest

from teachllm.stack.retrieval.lexical import BM25, LexicalIndex, TextAnalyzer, TfIdf
from teachllm.stack.retrieval.lexical.bm25 import VARIANTS, Variant, inverse_document_frequency, saturation
from teachllm.stack.retrieval.lexical.chinese import jieba_dictionary, segment, segment_for_search

pytestmark = pytest.mark.parity

WORDS = [f"w{i}" for i in range(200)]


class Spaces:
    settings = {"kind": "spaces"}  # noqa: RUF012

    def __call__(self, text: str) -> list[str]:
        return text.split()


@pytest.fixture(scope="module")
def documents() -> list[list[str]]:
    generator = random.Random(0)
    popularity = [1 / (i + 1) for i in range(len(WORDS))]
    return [generator.choices(WORDS, popularity, k=generator.randrange(1, 80)) for _ in range(300)]


def all_scores(index: LexicalIndex, query: list[str], n: int) -> np.ndarray:
    scores = np.zeros(n)
    for key, score in index.search([" ".join(query)], n).of(0):
        scores[key] = score
    return scores


def of_absent_terms(
    query: list[str], documents: list[list[str]], variant: Variant, k1: float, delta: float
) -> np.ndarray:
    """What bm25s and rank_bm25 give a document for terms that it does not have: idf · saturation at tf = 0.

    By the papers of BM25L and BM25+ such terms add nothing; that is all that these are about.
    """
    scores = np.zeros(len(documents))
    if variant in ("bm25l", "bm25+"):
        for term in query:
            df = sum(term in document for document in documents)
            absent = inverse_document_frequency(variant, df, len(documents)) * saturation(
                variant, 0, 1.0, k1, delta
            )
            scores += [0.0 if term in document else absent for document in documents]
    return scores


QUERIES = [["w0", "w1"], ["w5", "w5", "w77"], ["w150", "w3", "w20", "w9"]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_those_of_bm25s(documents: list[list[str]], variant: Variant) -> None:
    bm25s = pytest.importorskip("bm25s")
    k1, b = 1.3, 0.6
    delta = {"bm25l": 0.4, "bm25+": 0.8}.get(variant)
    peer = bm25s.BM25(method=variant, k1=k1, b=b, delta=delta or 0.0)
    peer.index(documents, show_progress=False)
    index = LexicalIndex(Spaces(), BM25(variant, k1, b, delta))
    index.add([" ".join(document) for document in documents])
    for query in QUERIES:
        expected = peer.get_scores(query) - of_absent_terms(query, documents, variant, k1, delta or 0.0)
        np.testing.assert_allclose(all_scores(index, query, 300), expected, rtol=1e-5, atol=5e-6)


def test_scores_are_those_of_rank_bm25(documents: list[list[str]]) -> None:
    rank_bm25 = pytest.importorskip("rank_bm25")
    # Its BM25L of version 0.2.2 multiplies by the count once more, which no paper does.
    plus, index = rank_bm25.BM25Plus(documents), LexicalIndex(Spaces(), BM25("bm25+"))
    index.add([" ".join(document) for document in documents])
    for query in QUERIES:
        expected = plus.get_scores(query) - of_absent_terms(query, documents, "bm25+", 1.5, 1.0)
        np.testing.assert_allclose(all_scores(index, query, 300), expected, rtol=1e-5, atol=1e-6)
    # Its Okapi is Robertson's idf with the numerator of atire, where no idf is negative.
    okapi, index = rank_bm25.BM25Okapi(documents), LexicalIndex(Spaces(), BM25("robertson"))
    index.add([" ".join(document) for document in documents])
    rare = ["w150", "w77"]
    np.testing.assert_allclose(
        2.5 * all_scores(index, rare, 300), okapi.get_scores(rare), rtol=1e-5, atol=1e-6
    )


def test_tf_idf_is_that_of_scikit_learn(documents: list[list[str]]) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    texts = [" ".join(document) for document in documents]
    vectorizer = text.TfidfVectorizer(analyzer=str.split)
    matrix = vectorizer.fit_transform(texts)
    index = LexicalIndex(Spaces(), TfIdf())
    index.add(texts)
    for query in QUERIES:
        expected = (matrix @ vectorizer.transform([" ".join(query)]).T).toarray()[:, 0]
        np.testing.assert_allclose(all_scores(index, query, 300), expected, rtol=1e-5, atol=1e-7)


def test_chinese_words_are_those_that_jieba_cuts() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba's source has escapes that Python warns of
        import jieba
    jieba.setLogLevel(60)
    dictionary = jieba_dictionary()
    for run in (
        "小明硕士毕业于中国科学院计算所后在日本京都大学深造", "研究生命的起源", "南京市长江大桥",
        "自注意力把每个词元和其他词元联系起来", "工信处女干事每月经过下属科室都要亲口交代", "〇龘的",
        "检索增强生成先检索再生成", "结合成分子时", "他从马上下来", "乒乓球拍卖完了",
    ):  # fmt: skip
        assert segment(run, dictionary) == jieba.lcut(run, HMM=False)
        assert segment_for_search(run, dictionary) == jieba.lcut_for_search(run, HMM=False)


def test_terms_of_english_are_the_stems_of_bm25s() -> None:
    bm25s, stemmer = pytest.importorskip("bm25s"), pytest.importorskip("Stemmer")
    texts = [
        "Running runners ran quickly over generalized theories",
        "Attention weights were normalized twice",
    ]
    ours = TextAnalyzer(stop_words=())
    theirs = bm25s.tokenize(
        texts, stopwords=[], stemmer=stemmer.Stemmer("english"), return_ids=False, show_progress=False
    )
    assert [ours(text) for text in texts] == theirs

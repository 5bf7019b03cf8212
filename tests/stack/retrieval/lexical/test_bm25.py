"""BM25 by its formula, its limits, and the index that must give the same numbers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from teachllm.stack.retrieval.lexical.bm25 import (
    BM25,
    VARIANTS,
    Variant,
    bm25_scores,
    inverse_document_frequency,
    length_factor,
    saturation,
)
from teachllm.stack.retrieval.lexical.index import LexicalIndex
from teachllm.stack.retrieval.lexical.tf_idf import TfIdf, tf_idf_scores


class Spaces:
    """Terms between spaces."""

    settings = {"kind": "spaces"}  # noqa: RUF012

    def __call__(self, text: str) -> list[str]:
        return text.split()


def random_documents(seed: int, n: int = 60) -> list[list[str]]:
    generator = random.Random(seed)
    words = [f"w{i}" for i in range(30)]
    popularity = [1 / (i + 1) for i in range(30)]
    return [generator.choices(words, popularity, k=generator.randrange(25)) for _ in range(n)]


def test_a_score_worked_out_by_hand() -> None:
    documents = [["cat", "cat", "dog"], ["dog"], ["bird", "fish"]]
    # cat: df 1 of 3, idf ln(1 + 2.5/1.5); tf 2 in 3 words, mean 2: factor 1 - 0.75 + 0.75·1.5 = 1.375
    expected = math.log(1 + 2.5 / 1.5) * 2 / (2 + 1.5 * 1.375)
    assert bm25_scores(["cat"], documents) == pytest.approx([expected, 0, 0])
    assert bm25_scores(["cat", "cat", "snake"], documents) == pytest.approx([2 * expected, 0, 0])
    assert bm25_scores(["cat"], []) == []


def test_limits_of_k1_and_b() -> None:
    for variant in VARIANTS:
        assert inverse_document_frequency(variant, 90, 100) >= 0
        counts = [saturation(variant, tf, 1.0, k1=1.2) for tf in (1, 2, 10, 1000)]
        assert counts == sorted(counts)
        assert len(set(counts)) == 4
        assert saturation(variant, 7, 3.0, k1=0.0) == pytest.approx(1)  # only whether it is there
    assert saturation("lucene", 10**9, 1.0, 1.2) == pytest.approx(1)
    assert saturation("bm25+", 1, 1e9, 1.2, delta=1.0) == pytest.approx(1)  # however long the document
    large = 1e6  # of k1: twice as often counts twice as much
    assert saturation("lucene", 2, 1.0, large) / saturation("lucene", 1, 1.0, large) == pytest.approx(
        2, rel=1e-5
    )
    assert length_factor(500, 10.0, b=0.0) == 1
    assert length_factor(500, 10.0, b=1.0) == 50


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_index_gives_the_numbers_of_the_formula(variant: Variant) -> None:
    documents = random_documents(1)
    weighting = BM25(variant, k1=0.9, b=0.4)
    index = LexicalIndex(Spaces(), weighting)
    index.add([" ".join(one) for one in documents])
    for query in (["w0", "w7"], ["w20", "w3", "w3"], ["w29"]):
        expected = np.array(bm25_scores(query, documents, variant, 0.9, 0.4, weighting.shift))
        hits = index.search([" ".join(query)], k=len(documents))
        found = np.zeros(len(documents))
        for key, score in hits.of(0):
            found[key] = score
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-7)
        order = np.lexsort((np.arange(len(documents)), -expected.astype(np.float32)))
        assert [key for key, _ in hits.of(0)] == [i for i in order if expected[i] > 0]


def test_tf_idf_is_the_cosine() -> None:
    documents = random_documents(2)
    index = LexicalIndex(Spaces(), TfIdf())
    index.add([" ".join(one) for one in documents])
    hits = index.search(["w1 w5 w5 unknown", "w2", "unknown"], k=60)
    for row, query in enumerate((["w1", "w5", "w5", "unknown"], ["w2"], ["unknown"])):
        expected = tf_idf_scores(query, documents)
        assert dict(hits.of(row)) == pytest.approx(
            {i: score for i, score in enumerate(expected) if score > 0}, rel=1e-5
        )


def test_all_that_is_wrong_with_the_settings_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"bm26.*k1 is -1.*b is 2.*delta is 1"):
        BM25("bm26", k1=-1, b=2, delta=1)  # pyright: ignore[reportArgumentType]

"""BM25F: the index computes what the formula says, and one field is BM25."""

from __future__ import annotations

import random

import numpy as np
import pytest

from teachllm.stack.retrieval.lexical import Field, FieldedIndex
from teachllm.stack.retrieval.lexical.bm25 import bm25_scores
from teachllm.stack.retrieval.lexical.fields import bm25f_scores

FIELDS = {"title": Field(4.0, 0.3), "text": Field(1.0, 0.6)}


def _documents(seed: int, n: int = 60) -> list[dict[str, list[str]]]:
    draw = random.Random(seed)
    words = [f"w{i}" for i in range(40)]
    made = [
        {
            "title": draw.choices(words, k=draw.randint(0, 4)),
            "text": draw.choices(words, k=draw.randint(0, 30)),
        }
        for _ in range(n)
    ]
    del made[3]["title"]
    return made


@pytest.mark.parametrize("seed", range(3))
def test_the_index_computes_the_formula(seed: int) -> None:
    documents = _documents(seed)
    query = ["w1", "w7", "w7", "unknown", "w39"]
    told = np.array(bm25f_scores(query, documents, FIELDS))
    hits = FieldedIndex(documents, FIELDS).search([query, []], len(documents))
    found = hits.of(0)
    assert {number for number, _ in found} == set(np.flatnonzero(told))
    np.testing.assert_allclose([score for _, score in found], told[[i for i, _ in found]], rtol=1e-5)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert hits.of(1) == []


def test_one_field_is_bm25() -> None:
    texts = [document["text"] for document in _documents(5)]
    index = FieldedIndex([{"text": text} for text in texts], {"text": Field(1.0, 0.75)}, k1=1.5)
    told = bm25_scores(["w2", "w9"], texts)
    for number, score in index.search([["w2", "w9"]], len(texts)).of(0):
        assert score == pytest.approx(told[number], rel=1e-5)


def test_the_best_way_to_write_a_word_counts_once() -> None:
    index = FieldedIndex(_documents(1), FIELDS)
    one, other = (np.zeros(len(index), dtype=np.float32) for _ in range(2))
    for array, term in ((one, "w1"), (other, "w2")):
        documents, weights = index.weights_of(term)
        array[documents] = weights
    np.testing.assert_allclose(index.best_of({"w1": 1.0, "w2": 0.5, "no": 9.0}), np.maximum(one, other / 2))


def test_what_an_unfinished_word_may_become() -> None:
    index = FieldedIndex([{"text": ["cache", "cached", "call", "zebra"]}], {"text": Field()})
    assert index.beginning_with("cach", 10) == ["cache", "cached"]
    assert index.beginning_with("c", 2) == ["cache", "cached"]
    assert index.beginning_with("x", 10) == []


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="titel"):
        FieldedIndex([{"titel": ["x"]}], FIELDS)
    with pytest.raises(ValueError, match="at least one field"):
        FieldedIndex([], {})
    with pytest.raises(ValueError, match="b is 2"):
        Field(1.0, 2)
    with pytest.raises(ValueError, match="k is 0"):
        FieldedIndex([], FIELDS).search([["x"]], 0)
    assert FieldedIndex([], FIELDS).search([["x"]], 3).of(0) == []

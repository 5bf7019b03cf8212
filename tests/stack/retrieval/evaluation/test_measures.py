"""Measures by hand, tests of differences that know the answer, collections on disk, and the harness."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from teachllm.stack.retrieval.evaluation.agreement import spearman, v_measure
from teachllm.stack.retrieval.evaluation.collection import CollectionError, JudgedCollection, read_beir
from teachllm.stack.retrieval.evaluation.harness import MEASURES, measure, table
from teachllm.stack.retrieval.evaluation.metrics import (
    average_precision,
    ndcg,
    precision,
    ranking,
    recall,
    reciprocal_rank,
)
from teachllm.stack.retrieval.evaluation.significance import bootstrap_interval, paired_randomization_test
from teachllm.stack.retrieval.lexical import LexicalIndex

JUDGED = {"a": 2, "b": 0, "c": 1, "d": 1}


def test_measures_worked_out_by_hand() -> None:
    ranked = ["b", "c", "x", "a"]  # relevant at ranks 2 and 4; d is missed
    assert recall(ranked, JUDGED, 3) == pytest.approx(1 / 3)
    assert precision(ranked, JUDGED, 10) == 0.2  # of ten places, though only four are filled
    assert reciprocal_rank(ranked, JUDGED) == 0.5
    assert reciprocal_rank(ranked, JUDGED, 1) == 0
    assert average_precision(ranked, JUDGED) == pytest.approx((1 / 2 + 2 / 4) / 3)
    ideal = 2 + 1 / math.log2(3) + 1 / 2
    assert ndcg(ranked, JUDGED) == pytest.approx((1 / math.log2(3) + 2 / math.log2(5)) / ideal)
    assert ndcg(["a", "c", "d"], JUDGED) == 1
    assert ndcg(ranked, {"b": 0}) == 0
    assert recall([], JUDGED, 5) == ndcg([], JUDGED) == average_precision([], JUDGED) == 0
    assert ranking({"a": 0.5, "b": 0.5, "c": 0.5 + 1e-12, "d": 0.7}) == ["d", "c", "b", "a"]
    with pytest.raises(ValueError, match="k is 0"):
        recall(ranked, JUDGED, 0)


def test_p_is_small_for_a_difference_and_uniform_without_one() -> None:
    generator = np.random.default_rng(0)
    a = generator.random(60)
    assert paired_randomization_test(a, a + 0.1 + 0.02 * generator.standard_normal(60)) < 0.001
    assert paired_randomization_test(a, a) == 1
    p = [
        paired_randomization_test(*generator.standard_normal((2, 20)), seed=i, n_samples=500)
        for i in range(200)
    ]
    assert 0.4 < float(np.mean(p)) < 0.6
    assert 0.01 < float(np.mean(np.array(p) < 0.05)) < 0.11
    # Three queries that all gain: of the 8 ways to swap, 2 are as extreme.
    assert paired_randomization_test([1, 1, 1], [0, 0, 0], n_samples=20_000) == pytest.approx(0.25, abs=0.02)
    with pytest.raises(ValueError, match="3 scores and 2"):
        paired_randomization_test([1, 2, 3], [1, 2])


def test_a_bootstrap_interval_is_about_two_standard_errors_to_each_side() -> None:
    values = np.random.default_rng(1).standard_normal(400)
    low, high = bootstrap_interval(values.tolist(), seed=2)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert bootstrap_interval(values.tolist(), seed=2) == (low, high)
    with pytest.raises(ValueError, match="0 scores"):
        bootstrap_interval([])


def test_spearman_and_v_measure_at_their_ends() -> None:
    assert spearman([1, 5, 9], [2, 3, 80]) == pytest.approx(1)
    assert spearman([1, 5, 9], [3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    with pytest.raises(ValueError, match="NaN"):
        spearman([1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="equal length"):
        spearman([1, 2], [1, 2, 3])
    assert v_measure("aabb", [7, 7, 3, 3]) == pytest.approx(1)
    assert v_measure("aabb", [1, 1, 1, 1]) == 0
    with pytest.raises(ValueError, match="0 labels"):
        v_measure([], [])


def write_collection(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True)
    rows = [
        {"_id": f"d{i}", "title": f"T{i}", "text": text} for i, text in enumerate(["red fox", "blue whale"])
    ]
    with gzip.open(folder / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, rows)) + "\n")
    queries = [{"_id": "q1", "text": "fox"}, {"_id": "q2", "text": "whale"}, {"_id": "train", "text": "?"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), "utf-8")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td1\t2\n", "utf-8")


def test_a_folder_of_beir_is_read_and_its_faults_are_placed(tmp_path: Path) -> None:
    write_collection(tmp_path)
    collection = read_beir(tmp_path)
    assert collection.documents == {"d0": "T0 red fox", "d1": "T1 blue whale"}
    assert dict(collection.queries) == {"q1": "fox", "q2": "whale"}
    assert collection.judged == {"q1": {"d0": 1}, "q2": {"d1": 2}}
    with pytest.raises(CollectionError, match=r"dev\.tsv is not there"):
        read_beir(tmp_path, "dev")
    (tmp_path / "qrels" / "test.tsv").write_text("q1\td0\tvery\n", "utf-8")
    with pytest.raises(CollectionError, match=r"test\.tsv:1: not query"):
        read_beir(tmp_path)
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1"}\n', "utf-8")
    with pytest.raises(CollectionError, match=r"queries\.jsonl:1.*text"):
        read_beir(tmp_path)
    with pytest.raises(
        CollectionError, match=r"1 queries have no judgment.*1 judged documents are not there"
    ):
        JudgedCollection({"d": ""}, {"q": "", "r": ""}, {"q": {"e": 1}})


def test_the_harness_measures_a_search(tmp_path: Path) -> None:
    write_collection(tmp_path)
    collection = read_beir(tmp_path)

    def build(texts: Sequence[str]) -> LexicalIndex:
        index = LexicalIndex()
        index.add(texts)
        return index

    def build_poor(texts: Sequence[str]) -> LexicalIndex:
        return build([text.replace("fox", "dog") for text in texts])

    good, poor = measure("good", collection, build), measure("poor", collection, build_poor)
    assert all(good.mean(name) == (0.1 if name == "precision@10" else 1) for name in MEASURES)
    assert poor.scores["nDCG@10"] == [0, 1]
    assert poor.n_bytes > 0
    assert poor.queries_per_second > 0
    printed = table([good, poor]).splitlines()
    assert len(printed) == 3
    assert "1.000" in printed[1]
    assert "0.500" in printed[2]

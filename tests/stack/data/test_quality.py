"""The classifier learns what its examples say, like the reference's logistic regression, and can be kept."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from teachllm.stack.data.corpora import stdlib_docs, stdlib_sources
from teachllm.stack.data.quality import N_BUCKETS, QualityClassifier, features, sigmoid, train_classifier


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[str]]:
    docs = [text[:1500] for text in islice(stdlib_docs(), 100)]
    sources = [text[-1500:] for text in islice(stdlib_sources(), 100) if len(text) > 200]
    return docs, sources


def test_it_tells_prose_from_code_it_has_not_seen(texts: tuple[list[str], list[str]]) -> None:
    good, bad = texts
    classifier = train_classifier(good[::2], bad[::2], seed=0)
    right = [classifier.score(text) > 0.5 for text in good[1::2]]
    right += [classifier.score(text) < 0.5 for text in bad[1::2]]
    assert np.mean(right) > 0.93
    verdict = classifier.problem(bad[1], least=0.9)
    assert verdict is not None
    assert verdict.reason == "low quality"
    assert verdict.detail == f"score {classifier.score(bad[1]):.2f}"


def test_the_same_for_a_seed(texts: tuple[list[str], list[str]]) -> None:
    good, bad = (side[:20] for side in texts)
    first, again, other = (train_classifier(good, bad, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.weights, again.weights)
    assert first.bias == again.bias
    assert not np.array_equal(first.weights, other.weights)


def test_sides_weigh_the_same_however_many_texts_they_have() -> None:
    classifier = train_classifier(["alpha beta"] * 2, ["gamma delta"] * 60, seed=0)
    assert classifier.score("alpha beta") > 0.9
    assert classifier.score("gamma delta") < 0.1
    assert classifier.score("") == pytest.approx(0.5, abs=0.2), "no bias towards the many"


def test_features_count_words_and_pairs_once_each() -> None:
    buckets, values = features("Ab, cd! ab 模型")
    assert len(buckets) == len(set(buckets.tolist())) == 4 + 4  # ab cd 模 型, and four pairs
    assert np.all((buckets >= 0) & (buckets < N_BUCKETS))
    assert np.linalg.norm(values) == pytest.approx(1, abs=1e-6)
    assert len(np.unique(values)) == 2, "only ab stands twice"
    assert np.array_equal(features("AB CD ab 模型")[0], buckets)


def test_it_can_be_kept(tmp_path: Path) -> None:
    classifier = train_classifier(["good"], ["bad"], seed=0)
    classifier.save(tmp_path / "quality.npz")
    again = QualityClassifier.load(tmp_path / "quality.npz")
    assert again.score("good day") == classifier.score("good day")
    (tmp_path / "broken.npz").write_bytes((tmp_path / "quality.npz").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"broken\.npz holds no quality classifier"):
        QualityClassifier.load(tmp_path / "broken.npz")


def test_both_sides_are_needed() -> None:
    with pytest.raises(ValueError, match="0 bad texts"):
        train_classifier(["good"], [], seed=0)


def test_the_sigmoid_does_not_overflow() -> None:
    assert (sigmoid(-1e4), sigmoid(0.0), sigmoid(1e4)) == (0.0, 0.5, 1.0)

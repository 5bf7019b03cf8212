"""A classifier of good and bad text: logistic regression on hashed words and pairs of words.

Good and bad is what the examples say. GPT-3 took curated text against a crawl (Brown et al. 2020, appendix
A); later ones ask a large model to grade some pages and learn the grades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from teachllm.stack.data.pipeline import Verdict
from teachllm.stack.data.words import LETTERS, find_words

N_BUCKETS = 1 << 18
FORMAT = 1


@dataclass(frozen=True)
class QualityClassifier:
    """p(good | text) = σ(w · x + b), where x counts words and pairs of words in `N_BUCKETS` buckets, as
    `features` does.
    """

    weights: np.ndarray
    """float32[N_BUCKETS]"""
    bias: float

    def score(self, text: str) -> float:
        """How likely the text is one of the good ones: 0 to 1."""
        buckets, values = features(text)
        return sigmoid(float(self.weights[buckets] @ values) + self.bias)

    def problem(self, text: str, least: float = 0.5) -> Verdict | None:
        """For a `Filter`: the text scores below `least`."""
        score = self.score(text)
        return Verdict("low quality", f"score {score:.2f}") if score < least else None

    def save(self, path: Path) -> None:
        np.savez_compressed(path, weights=self.weights, bias=np.float64(self.bias), format=FORMAT)

    @classmethod
    def load(cls, path: Path) -> QualityClassifier:
        """ValueError when the file is no classifier that `save` wrote."""
        try:
            with open(path, "rb") as stream, np.load(stream) as file:
                if int(file["format"]) != FORMAT:
                    raise ValueError(f"its format is {int(file['format'])}, not {FORMAT}")
                return cls(file["weights"], float(file["bias"]))
        except FileNotFoundError:
            raise
        except Exception as problem:  # a damaged zip file raises errors of many kinds
            raise ValueError(f"{path} holds no quality classifier: {problem}. Train it again.") from None


def train_classifier(
    good: Sequence[str], bad: Sequence[str], *, seed: int, epochs: int = 5, learning_rate: float = 0.5
) -> QualityClassifier:
    """Learn to tell `good` from `bad` texts, both sides weighing the same however many there are of each.

    Stochastic gradient descent, one text at a time in an order of the seed, with AdaGrad's step for each
    weight (Duchi et al. 2011): a rare word learns as much from its few texts as a common one from its many.
    ValueError when one side is empty.
    """
    if not good or not bad:
        raise ValueError(f"there are {len(good)} good and {len(bad)} bad texts; both are needed")
    examples = [features(text) for text in (*good, *bad)]
    labels = np.r_[np.ones(len(good)), np.zeros(len(bad))]
    importance = np.where(labels == 1, 0.5 / len(good), 0.5 / len(bad)) * len(labels)
    weights, squares = np.zeros((2, N_BUCKETS), np.float32)
    bias, bias_squares = 0.0, 0.0
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        for i in random.permutation(len(examples)):
            buckets, values = examples[i]
            error = importance[i] * (sigmoid(float(weights[buckets] @ values) + bias) - labels[i])
            gradient = (error * values).astype(np.float32)
            squares[buckets] += gradient**2
            weights[buckets] -= learning_rate * gradient / np.sqrt(squares[buckets] + 1e-8)
            bias_squares += error**2
            bias -= learning_rate * error / float(np.sqrt(bias_squares + 1e-8))
    return QualityClassifier(weights, float(bias))


def features(text: str) -> tuple[np.ndarray, np.ndarray]:
    """(buckets, values): the buckets of the words and pairs of words, each once, and log(1 + count) scaled so
    that Σ value² = 1: a long text counts no more than a short one. Buckets are int64, values float32.
    """
    hashes = find_words(text.lower(), LETTERS).hashes
    pairs = hashes[:-1] * np.uint64(0x9E3779B97F4A7C15) + hashes[1:]
    buckets, counts = np.unique(np.r_[hashes, pairs] >> np.uint64(64 - 18), return_counts=True)
    values = np.log1p(counts).astype(np.float32)
    return buckets.astype(np.int64), values / np.float32(max(1e-12, float(np.linalg.norm(values))))


def sigmoid(x: float) -> float:
    """1 / (1 + e^(−x)), without overflow."""
    return float(np.exp(-np.logaddexp(0.0, -x)))

"""What each posting is worth, once for the whole index: `bm25.saturation` and TF-IDF over all lists."""

from __future__ import annotations

import numpy as np

from teachllm.stack.tokenizer.fast.compiled import compiled


@compiled
def fill_bm25_weights(starts, documents, counts, factors, idf, numbers, weights):
    """weights[j] = idf · (α·(tf + p·factor) / (tf + q·factor) + s), with α, p, q, s = `numbers`."""
    alpha, p, q, s = numbers[0], numbers[1], numbers[2], numbers[3]
    for term in range(len(starts) - 1):
        for j in range(starts[term], starts[term + 1]):
            tf = counts[j]
            factor = factors[documents[j]]
            weights[j] = idf[term] * (alpha * (tf + p * factor) / (tf + q * factor) + s)


@compiled
def fill_tf_idf_weights(starts, documents, counts, idf, squares, weights):
    """weights[j] = tf · idf / ‖document‖; `squares` is a zero for each document."""
    for term in range(len(starts) - 1):
        for j in range(starts[term], starts[term + 1]):
            squares[documents[j]] += (counts[j] * idf[term]) ** 2
    for term in range(len(starts) - 1):
        for j in range(starts[term], starts[term + 1]):
            weights[j] = counts[j] * idf[term] / np.sqrt(squares[documents[j]])

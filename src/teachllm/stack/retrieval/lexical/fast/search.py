"""Search term by term: add the weights of every list into one score a document, then keep the k best.

The scores are all zero between queries. A query with short lists looks again only at the documents in them;
one with long lists looks at all, 128 at a time, and mostly sees that none of them comes near the k best.
"""

from __future__ import annotations

import numpy as np

from teachllm.stack.tokenizer.fast.compiled import compiled, inlined

BLOCK = 128
LEAST = np.float32(1e-30)
"""What a score must reach to be a hit at all: more than the 0 of a document that has none of the terms."""
FEW = 8
"""Lists with fewer entries than documents / FEW are walked a second time instead of looking at all scores."""


@compiled
def search(
    terms, query_weights, bounds, starts, documents, weights, ids, allowed, k,
    scores, slots, hit_ids, hit_scores,
):  # fmt: skip
    """Fill `hit_ids` and `hit_scores`, one row of k a query.

    allowed: one byte a document, or none at all where every document may be found. scores: a zero for each
    document and up to a whole number of blocks, zero again afterwards. slots: room for k numbers.
    """
    n_documents = np.int64(len(scores))
    for query in range(len(bounds) - 1):
        best = hit_scores[query]
        size, n_entries = 0, 0
        for i in range(bounds[query], bounds[query + 1]):
            term, weight = terms[i], query_weights[i]
            n_entries += starts[term + 1] - starts[term]
            for j in range(starts[term], starts[term + 1]):
                scores[np.uint32(documents[j])] += weight * weights[j]
        if n_entries * FEW < n_documents:
            for i in range(bounds[query], bounds[query + 1]):
                term = terms[i]
                for j in range(starts[term], starts[term + 1]):
                    document = np.uint32(documents[j])
                    score = scores[document]
                    scores[document] = 0.0  # so that it is seen once, although it is in several lists
                    size = offer(score, np.int64(document), allowed, ids, k, best, slots, size)
        else:
            least = LEAST
            for begin in range(0, n_documents, BLOCK):
                block = scores[begin : begin + BLOCK]
                if has_near(block, least):
                    for i in range(BLOCK):
                        if block[i] >= least:
                            size = offer(block[i], begin + i, allowed, ids, k, best, slots, size)
                            least = best[0] if size == k else LEAST
                for i in range(BLOCK):
                    block[i] = 0.0
        sort_best_first(best, slots, ids, size)
        for rank in range(size):
            hit_ids[query, rank] = ids[slots[rank]]


@inlined
def has_near(block, least):
    """Whether a score reaches `least`: counted in vectors, without a branch."""
    n_near = np.int32(0)
    for i in range(BLOCK):
        n_near += np.int32(block[i] >= least)
    return n_near > 0


@inlined
def offer(score, document, allowed, ids, k, best, slots, size):
    """Put a document into the heap of the k best if it is one of them; returns the size of the heap.

    The worst stands at the root.
    """
    if score < LEAST or (size == k and score < best[0]):
        return size
    if len(allowed) > 0 and allowed[document] == 0:
        return size
    if size < k:
        best[size], slots[size] = score, document
        child = size
        while child > 0:
            parent = (child - 1) >> 1
            if not is_worse(best[child], ids[slots[child]], best[parent], ids[slots[parent]]):
                break
            best[child], best[parent] = best[parent], best[child]
            slots[child], slots[parent] = slots[parent], slots[child]
            child = parent
        return size + 1
    if is_worse(best[0], ids[slots[0]], score, ids[document]):
        best[0], slots[0] = score, document
        sink(best, slots, ids, size)
    return size


@inlined
def sink(best, slots, ids, size):
    """Let the root of the heap move down to its place."""
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            return
        if child + 1 < size and is_worse(
            best[child + 1], ids[slots[child + 1]], best[child], ids[slots[child]]
        ):
            child += 1
        if not is_worse(best[child], ids[slots[child]], best[parent], ids[slots[parent]]):
            return
        best[child], best[parent] = best[parent], best[child]
        slots[child], slots[parent] = slots[parent], slots[child]
        parent = child


@inlined
def sort_best_first(best, slots, ids, size):
    """Heapsort: the root, the worst of those left, goes behind them."""
    for left in range(size - 1, 0, -1):
        best[0], best[left] = best[left], best[0]
        slots[0], slots[left] = slots[left], slots[0]
        sink(best, slots, ids, left)


@inlined
def is_worse(score, document_id, other_score, other_id):
    return score < other_score or (score == other_score and document_id > other_id)

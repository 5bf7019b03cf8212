"""Two passes that make postings of documents: how long each term's list will be, and then its entries."""

from __future__ import annotations

from teachllm.stack.tokenizer.fast.compiled import compiled


@compiled
def count_postings(starts, documents, renumbered, terms, bounds, last_seen, frequencies):
    """Fill `frequencies` with the documents of each term; `last_seen` is room for one number a term."""
    for term in range(len(starts) - 1):
        n = 0
        for j in range(starts[term], starts[term + 1]):
            n += renumbered[documents[j]] >= 0
        frequencies[term] = n
    for document in range(len(bounds) - 1):
        for i in range(bounds[document], bounds[document + 1]):
            term = terms[i]
            if last_seen[term] != document:
                last_seen[term] = document
                frequencies[term] += 1


@compiled
def fill_postings(
    old_starts, old_documents, old_counts, renumbered,
    terms, bounds, n_kept, starts, ends, documents, counts,
):  # fmt: skip
    """Fill `documents` and `counts`. `ends` begins as where each list begins, and ends as where it ends."""
    for term in range(len(old_starts) - 1):
        end = ends[term]
        for j in range(old_starts[term], old_starts[term + 1]):
            number = renumbered[old_documents[j]]
            if number >= 0:
                documents[end] = number
                counts[end] = old_counts[j]
                end += 1
        ends[term] = end
    for i in range(len(bounds) - 1):
        document = n_kept + i
        for j in range(bounds[i], bounds[i + 1]):
            term = terms[j]
            end = ends[term]
            # Documents come in order, so this one's entry can only be the last of the list.
            if end > starts[term] and documents[end - 1] == document:
                counts[end - 1] += 1
            else:
                documents[end] = document
                counts[end] = 1
                ends[term] = end + 1

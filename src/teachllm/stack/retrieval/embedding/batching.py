"""Which texts are computed together: those of similar length."""

from __future__ import annotations

from collections.abc import Sequence


def length_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of texts in batches of at most `batch_tokens` tokens, longest texts first.

    Sorted, so that most texts of a batch have the length of their neighbours and attend in one product. A
    text longer than `batch_tokens` is a batch of its own. ValueError for batch_tokens < 1.

    >>> length_batches([3, 9, 3, 5], batch_tokens=9)
    [[1], [3, 0], [2]]
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}; it must be at least 1")
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or lengths[index] > room:
            batches.append([])
            room = batch_tokens
        batches[-1].append(index)
        room -= lengths[index]
    return batches

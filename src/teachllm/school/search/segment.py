"""The Chinese words of the course, by the stack's dictionary. Unlike there, words may overlap: a query for
注意力 should find 自注意力.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

SHORTEST, LONGEST = 3, 6
"""Words of two characters are pairs, which the index has anyway."""


def words_in(runs: Iterable[str]) -> frozenset[str]:
    """The dictionary's words that occur in these runs of Chinese characters."""
    pieces = {
        run[start : start + length]
        for run in runs
        for length in range(SHORTEST, LONGEST + 1)
        for start in range(len(run) - length + 1)
    }
    from teachllm.stack.retrieval.lexical.chinese import jieba_dictionary  # numba comes along: 0.5 s

    is_word = jieba_dictionary().is_word
    return frozenset(piece for piece in pieces if is_word(piece))


def words_at(run: str, known: Set[str]) -> list[tuple[int, int]]:
    """Where the known words stand in a run; they may overlap (注意力, 自注意力)."""
    return [
        (start, start + length)
        for length in range(SHORTEST, min(LONGEST, len(run)) + 1)
        for start in range(len(run) - length + 1)
        if run[start : start + length] in known
    ]

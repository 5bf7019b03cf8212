"""Chinese words. jieba's dictionary says which sequences of characters are words; its code is not run.

Only the words that occur in the course are kept: the rest would never match.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Set
from pathlib import Path

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
    found = set()
    with _dictionary().open(encoding="utf-8") as lines:
        for line in lines:
            word = line.partition(" ")[0]
            if len(word) >= SHORTEST and word in pieces:
                found.add(word)
    return frozenset(found)


def _dictionary() -> Path:
    spec = importlib.util.find_spec("jieba")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("jieba is not installed; run: pip install jieba", name="jieba")
    return Path(spec.submodule_search_locations[0]) / "dict.txt"


def words_at(run: str, known: Set[str]) -> list[tuple[int, int]]:
    """Where the known words stand in a run; they may overlap (注意力, 自注意力)."""
    return [
        (start, start + length)
        for length in range(SHORTEST, min(LONGEST, len(run)) + 1)
        for start in range(len(run) - length + 1)
        if run[start : start + length] in known
    ]

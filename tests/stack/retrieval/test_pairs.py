"""Titles and what stands under them become pairs; a file of pairs; a split that keeps a passage's queries
together.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from teachllm.stack.retrieval.embedding.training import Pair
from teachllm.stack.retrieval.pairs import pairs_of, split_by_passage, titled, unambiguous

BODY = "What stands under a heading says more than its title does. " * 2 + "So it is long enough."


def test_titles_ask_for_what_stands_under_them() -> None:
    lesson = f"# Attention\n\nintro\n\n## Why we divide {{#why}}\n\n:::idea\n{BODY}\n:::\n\n## Short\n\nno"
    assert list(titled(lesson)) == [Pair("Attention: Why we divide", BODY)]
    assert list(titled(f"Return the sum.\n\n{BODY}")) == [Pair("Return the sum", BODY)]
    assert list(titled(f"sum(a, b) of two numbers\n\n{BODY}")) == []
    assert list(titled(f"注意力的除法\n\n{BODY}")) == [Pair("注意力的除法", BODY)]


def test_files_of_pairs(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"query": "q", "positive": "p", "lang": "en", "negatives": ["n"]}\n\n', "utf-8")
    assert pairs_of(file) == [Pair("q", "p", ("n",))]
    file.write_text('{"query": "q", "positive": "p"}\n{"query": "q"}\n', "utf-8")
    with pytest.raises(ValueError, match=r"pairs\.jsonl:2: .*positive"):
        pairs_of(file)
    file.write_text('{"query": "q", "positive": " "}\n', "utf-8")
    with pytest.raises(ValueError, match="texts that are not empty"):
        pairs_of(file)


def test_a_passage_has_all_its_queries_on_one_side() -> None:
    pairs = [Pair(f"query {i}", f"passage {i // 3}") for i in range(300)]
    training, held_out = split_by_passage(pairs, 0.2)
    assert len(training) + len(held_out) == 300
    assert 30 < len(held_out) < 90
    assert not {pair.passage for pair in training} & {pair.passage for pair in held_out}
    more, _ = split_by_passage([*pairs, Pair("new", "passage new")], 0.2)
    assert set(training) <= set(more)


def test_a_query_for_two_passages_asks_for_neither() -> None:
    pairs = [Pair("a", "1"), Pair("a", "1"), Pair("b", "1"), Pair("c", "2"), Pair("c", "3")]
    assert unambiguous(pairs) == [Pair("a", "1"), Pair("b", "1")]

"""Packing: who may see whom, and documents that are torn or not."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from teachllm.stack.data import packing
from teachllm.stack.data.packing import (
    IGNORED,
    best_fit,
    cut_documents,
    document_ids,
    document_mask,
    next_token_targets,
    padding_of_packing,
    truncated_by_cutting,
    truncated_by_packing,
)

lengths_and_capacity = st.integers(1, 40).flatmap(
    lambda capacity: st.tuples(st.lists(st.integers(1, capacity), max_size=60), st.just(capacity))
)


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(packing).failed == 0


def test_nobody_sees_another_document_or_the_future() -> None:
    tokens = torch.tensor([[4, 9, 5, 6, 9, 9, 1], [9, 1, 2, 3, 4, 5, 6]])
    mask = document_mask(document_ids(tokens, end_of_text=9))
    documents = [[0, 1, 1, 1, 2, 3, 3], [0] * 7]
    for row in range(2):
        for query in range(7):
            for key in range(7):
                allowed = key <= query and documents[row][query] == documents[row][key]
                assert bool(mask[row, query, key]) == allowed


def readable_best_fit(lengths: list[int], capacity: int) -> list[list[int]]:
    """The definition: the longest first, each into the fullest row that it fits into."""
    rows: list[list[int]] = []
    free: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [row for row in range(len(rows)) if free[row] >= lengths[item]]
        if not fitting:
            rows.append([])
            free.append(capacity)
            fitting = [len(rows) - 1]
        row = min(fitting, key=lambda row: free[row])
        rows[row].append(item)
        free[row] -= lengths[item]
    return rows


@given(lengths_and_capacity)
@settings(deadline=None, derandomize=True)
def test_best_fit_is_that_of_the_definition(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    rows = best_fit(lengths, capacity)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    # Among rows with equal space either may be taken; how full the rows get is the same.
    filled = sorted(sum(lengths[item] for item in row) for row in rows)
    definition = readable_best_fit(lengths, capacity)
    assert filled == sorted(sum(lengths[item] for item in row) for row in definition)
    assert not filled or filled[-1] <= capacity


def test_best_fit_takes_at_most_11_ninths_of_the_least_rows_and_four() -> None:
    """Proved of best-fit decreasing by Johnson 1973. The least number is at least all tokens / capacity."""
    generator = np.random.default_rng(0)
    for highest in (100, 500, 1000):
        lengths = generator.integers(1, highest, 2000)
        assert len(best_fit(lengths, 1000)) <= 11 / 9 * -(-lengths.sum() // 1000) + 4


@pytest.mark.parametrize("lengths", [[3, 11], [0, 4], [-1]])
def test_items_that_fit_no_row_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit into rows of 10"):
        best_fit(lengths, 10)


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(1, 40))
@settings(deadline=None, derandomize=True)
def test_cutting_long_documents_loses_nothing(lengths: list[int], capacity: int) -> None:
    starts, sizes = cut_documents(lengths, capacity)
    covered = [
        place for start, size in zip(starts, sizes, strict=True) for place in range(start, start + size)
    ]
    assert covered == list(range(sum(lengths)))
    assert len(starts) == sum(-(-length // capacity) for length in lengths)
    assert set(np.cumsum([0, *lengths])[:-1]) <= set(starts) or not lengths


def test_shares_of_torn_documents_and_of_padding() -> None:
    lengths = [4, 4, 4, 12, 6]  # cut at 10 and 20: the third and the fourth are torn
    assert truncated_by_cutting(lengths, 10) == 2 / 5
    assert truncated_by_packing(lengths, 10) == 1 / 5
    assert padding_of_packing(lengths, 10) == 0  # 10 | 6 4 | 4 4 2
    assert padding_of_packing([6, 6], 10) == pytest.approx(0.4)
    assert truncated_by_cutting([], 10) == truncated_by_packing([], 10) == padding_of_packing([], 10) == 0


def test_an_end_of_text_is_a_target_even_where_padding_is_written_with_it() -> None:
    end = 9
    tokens = torch.tensor([[4, 5, end, end, end], [end, end, 6, 7, end]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]], dtype=torch.bool)
    assert next_token_targets(tokens, mask).tolist() == [
        [5, end, IGNORED, IGNORED, IGNORED],
        [IGNORED, IGNORED, 7, end, IGNORED],
    ]

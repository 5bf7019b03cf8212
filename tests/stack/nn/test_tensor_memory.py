"""Bytes of tensors alive at once: new memory counts until it is freed, views and changes in place do not."""

from __future__ import annotations

import torch

from teachllm.stack.nn.tensor_memory import TensorMemory

KIB = 1024


def test_what_is_freed_no_longer_counts_and_the_peak_stays() -> None:
    before = torch.zeros(256)
    with TensorMemory() as memory:
        a = before + 1  # 1 KiB
        b = torch.cat([a, a])  # 2 KiB
        assert memory.alive_bytes == 3 * KIB
        del a
        assert memory.alive_bytes == 2 * KIB
        b = b * 2  # both until the old one is let go
        assert memory.alive_bytes == 2 * KIB
    assert (memory.peak_bytes, memory.largest_bytes) == (4 * KIB, 2 * KIB)


def test_views_and_changes_in_place_take_no_memory() -> None:
    before = torch.zeros(256)
    with TensorMemory() as memory:
        view = before.view(16, 16).t()[2:]
        view += 1
        before.copy_(torch.empty(0).new_empty(256).zero_())  # one of 1 KiB
        inside = torch.ones(256)
        alias = inside[3:]
        del inside
        assert memory.alive_bytes == KIB
        del alias
    assert memory.alive_bytes == 0
    assert memory.largest_bytes == KIB


def test_temporaries_of_an_expression_count() -> None:
    x = torch.zeros(256)
    with TensorMemory() as memory:
        torch.softmax(x * 2 + 1, dim=0).sum()
    assert memory.peak_bytes == 2 * KIB  # x·2 is alive while 1 is added; afterwards it is gone
    assert memory.alive_bytes == 0

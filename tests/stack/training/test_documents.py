"""Attention in packed rows equals attention over each document alone."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.training.documents import attention_within_documents

CONFIG = LlamaConfig(64, 32, 2, 4, 2, 8, 48, 64)


def test_documents_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = Llama(CONFIG)
    tokens = torch.randint(64, (2, 20), generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[0] * 7 + [1] * 13, [4] * 1 + [5] * 9 + [6] * 10])
    with attention_within_documents(ids):
        logits = model(tokens)
    for row, first, last in ((0, 0, 7), (0, 7, 20), (1, 0, 1), (1, 1, 10), (1, 10, 20)):
        alone = model(tokens[row : row + 1, first:last])
        torch.testing.assert_close(logits[row : row + 1, first:last], alone, atol=1e-5, rtol=1e-5)
    assert (model(tokens)[0, 7:] - logits[0, 7:]).abs().max() > 1e-3


def test_another_batch_is_refused() -> None:
    model = Llama(CONFIG)
    with (
        attention_within_documents(torch.zeros(2, 8)),
        pytest.raises(ValueError, match="of exactly this batch"),
    ):
        model(torch.zeros(2, 9, dtype=torch.long))

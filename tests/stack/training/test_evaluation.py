"""What a text costs, in each unit, counted by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from teachllm.stack.data.loader import Batch, BatchLoader, one_pass
from teachllm.stack.data.packing import IGNORED
from teachllm.stack.data.shards import TokenShards
from teachllm.stack.models.llama import Llama
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.evaluation import (
    Evaluation,
    bits_per_byte,
    evaluate,
    perplexity,
    token_byte_lengths,
)
from teachllm.stack.training.objective import NextTokenLoss


def test_units() -> None:
    fair_coin = Evaluation(nats=80 * math.log(2), n_tokens=20, n_bytes=10)
    assert fair_coin.bits_per_token == pytest.approx(4)
    assert fair_coin.bits_per_byte == pytest.approx(8)
    assert fair_coin.perplexity == pytest.approx(16)
    assert fair_coin.loss == pytest.approx(4 * math.log(2))
    assert perplexity(1e6) == math.inf
    assert bits_per_byte(math.log(2), 1) == pytest.approx(1)


def test_bytes_of_tokens_are_those_of_the_text() -> None:
    text = "the cat, the cat sat; 猫坐在垫子上。 naïve"
    tokenizer = Tokenizer.train([text] * 4, 290, special_tokens=["<|endoftext|>"])
    lengths = token_byte_lengths(tokenizer)
    ids = tokenizer.encode(text)
    assert len(ids) < len(text.encode())
    assert int(lengths[ids].sum()) == len(text.encode())
    assert int(lengths[tokenizer.special_tokens["<|endoftext|>"]]) == 0


@torch.no_grad()
def test_it_is_the_sum_over_all_targets(llama: Llama, shards: TokenShards, tokenizer: Tokenizer) -> None:
    batches = list(one_pass(shards, rows=4, length=32))
    objective = NextTokenLoss(llama, within_documents=False).train()
    found = evaluate(objective, batches, token_byte_lengths(tokenizer))
    nats = 0.0
    for batch in batches:
        logits = llama(batch.tokens).double()
        nats += float(
            F.cross_entropy(
                logits.flatten(0, 1), batch.targets.flatten(), reduction="sum", ignore_index=IGNORED
            )
        )
    assert found.nats == pytest.approx(nats, rel=1e-6)
    assert found.n_tokens == shards.n_tokens
    assert found.n_bytes == shards.n_bytes  # each document's, once
    assert objective.training
    # The same whatever the batches are, but for rounding; the same bits for the same batches.
    other = evaluate(objective, one_pass(shards, rows=7, length=32), token_byte_lengths(tokenizer))
    assert other.nats == pytest.approx(found.nats, rel=1e-6)
    assert evaluate(objective, batches, token_byte_lengths(tokenizer)) == found


def test_nothing_to_evaluate_on_is_said(llama: Llama, loader: BatchLoader, tokenizer: Tokenizer) -> None:
    batch = next(loader)
    ignored = Batch(batch.tokens, torch.full_like(batch.targets, IGNORED), batch.document_ids)
    with pytest.raises(ValueError, match="Hold out more text"):
        evaluate(NextTokenLoss(llama), [ignored], token_byte_lengths(tokenizer))

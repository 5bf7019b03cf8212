"""A small tokenizer, and corpora of drawn ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from teachllm.stack.data.shards import SHARD_TOKENS, ShardWriter, TokenShards
from teachllm.stack.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """260 ids, of which 259 is the end of a text."""
    return Tokenizer.train(["the cat sat on the mat"], 260, special_tokens=["<|endoftext|>"])


def drawn_documents(n: int, seed: int = 0, longest: int = 60) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, generator.integers(0, longest)) for _ in range(n)]


def write_corpus(
    folder: Path,
    tokenizer: Tokenizer,
    documents: Sequence[np.ndarray] | Sequence[Sequence[int]],
    shard_tokens: int = SHARD_TOKENS,
) -> TokenShards:
    writer = ShardWriter(folder, tokenizer, shard_tokens=shard_tokens)
    for document in documents:
        writer.add(document, n_bytes=2 * len(document))
    return writer.finish()

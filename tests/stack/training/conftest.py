"""A tiny corpus and a tiny model, for everything that trains."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from teachllm.stack.data.loader import BatchLoader
from teachllm.stack.data.shards import ShardWriter, TokenShards
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.initialization import initialize

WORDS = ["the", "cat", "dog", "sat", "on", "a", "mat", "and", "saw", "sun", "rain", "small", "old", "ran"]
SIZES = {"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "hidden": 64}


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Bytes, and the token that ends a text."""
    return Tokenizer.from_merges([], special_tokens=["<|endoftext|>"])


@pytest.fixture(scope="session")
def shards(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    """200 documents of 5 to 90 bytes."""
    chance = random.Random(0)
    writer = ShardWriter(tmp_path_factory.mktemp("corpus") / "shards", tokenizer)
    for _ in range(200):
        text = " ".join(chance.choices(WORDS, k=chance.randint(2, 20)))
        writer.add(tokenizer.encode(text), len(text))
    return writer.finish()


@pytest.fixture
def loader(shards: TokenShards) -> BatchLoader:
    """8 rows of 32 tokens, some of them padding."""
    return BatchLoader(shards, rows=8, length=32, seed=1, packing="best-fit")


@pytest.fixture
def llama() -> Llama:
    model = Llama(LlamaConfig(vocab_size=257, context_length=32, tied_head=True, **SIZES))
    initialize(model, torch.Generator().manual_seed(0))
    return model


@pytest.fixture
def checkpoints_path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"

"""Our loop on our Llama, and the plain loop of PyTorch on that of `transformers`: the same loss curve."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import transformers

from teachllm.stack.data.loader import BatchLoader
from teachllm.stack.data.shards import ShardWriter, TokenShards
from teachllm.stack.models.export import save_hugging_face
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.checkpoint import CheckpointFolder
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import StepMetrics, train
from teachllm.stack.training.state import begin

pytestmark = pytest.mark.parity

STEPS = 20


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_merges([], special_tokens=["<|endoftext|>"])


@pytest.fixture(scope="module")
def shards(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    chance = random.Random(0)
    with ShardWriter(tmp_path_factory.mktemp("corpus"), tokenizer) as writer:
        for _ in range(100):
            text = " ".join(chance.choices(["the", "cat", "sat", "on", "a", "mat"], k=chance.randint(2, 30)))
            writer.add(tokenizer.encode(text), len(text))
    return TokenShards(writer.folder)


def config() -> TrainingConfig:
    return TrainingConfig(
        steps=STEPS,
        micro_rows=4,
        schedule="linear",
        warmup_steps=4,
        clip=0.7,
        precision="float32",
        within_documents=False,  # `transformers` sees a row as one text
    )


def test_the_loss_curve_is_that_of_transformers(
    shards: TokenShards, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = Llama(LlamaConfig(257, 48, 2, 4, 2, 12, 96, 32))
    initialize(model, torch.Generator().manual_seed(0))
    save_hugging_face(model, tokenizer, tmp_path / "begin")
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "begin").train()
    settings = config()
    state = begin(model, BatchLoader(shards, rows=8, length=32, seed=1), settings)
    events = train(state, settings, CheckpointFolder(tmp_path / "checkpoints", tokenizer))
    losses = [event.loss for event in events if isinstance(event, StepMetrics)]

    decayed = [p for n, p in reference.named_parameters() if p.ndim == 2 and "embed_tokens" not in n]
    others = [p for n, p in reference.named_parameters() if p.ndim == 1 or "embed_tokens" in n]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.95),
    )
    # Theirs has no first step of rate 0: its step 0 is our step 1 of the warm-up.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: (i + 1) / 4 if i < 4 else (STEPS - i) / (STEPS - 4)
    )
    loader, expected = BatchLoader(shards, rows=8, length=32, seed=1), []
    for _ in range(STEPS):
        batch = next(loader)
        loss = reference(input_ids=batch.tokens, shift_labels=batch.targets, labels=batch.targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.7)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-5)
    assert losses[-1] < losses[0] - 1

    # The checkpoint at the end opens there, too, with the same weights but for rounding.
    newest = tmp_path / "checkpoints" / f"step-{STEPS:08}"
    end = transformers.AutoTokenizer.from_pretrained(newest).eos_token_id
    assert end == tokenizer.special_tokens["<|endoftext|>"]
    trained = transformers.AutoModelForCausalLM.from_pretrained(newest)
    tokens = next(loader).tokens
    with torch.no_grad():
        logits = trained(tokens).logits
        torch.testing.assert_close(logits, model(tokens), atol=1e-5, rtol=0)
        torch.testing.assert_close(logits, reference(tokens).logits, atol=1e-3, rtol=0)

"""With `batch_invariant`, a request gets the same numbers, bit for bit, in any company, also in bfloat16."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from teachllm.stack.inference import Sampling
from teachllm.stack.inference.engine import row_counts as row_counts_module
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import MOST_LOGPROBS, RequestOptions
from teachllm.stack.inference.engine.row_counts import RowCounts, row_counts, step_seconds
from teachllm.stack.inference.fused_llama import FusedLlama
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.fast import threads
from teachllm.stack.quantization.llama_weights import round_weights
from teachllm.stack.tokenizer import Tokenizer

pytestmark = pytest.mark.skipif(not threads.can_run(torch.zeros(1)), reason="no kernels in PyTorch's threads")

CONFIG = LlamaConfig(
    vocab_size=256, d_model=192, n_layers=2, n_heads=3, n_kv_heads=1, head_dim=64, hidden=512,
    context_length=96, tied_head=True,
)  # fmt: skip
OPTIONS = RequestOptions(Sampling(temperature=1.0, seed=7), 8, logprobs=MOST_LOGPROBS, priority=-1)
PROMPT = [5, 9, 200, 17, 31, 8, 77, 120, 64]


def shaped_like_smollm2(dtype: torch.dtype) -> Llama:
    generator = torch.Generator().manual_seed(0)
    model = Llama(CONFIG).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.copy_(torch.randn(weights.shape, generator=generator) * 0.15)
    return model.to(dtype)


def plain() -> Llama:
    return shaped_like_smollm2(torch.bfloat16)


def fused() -> Llama:
    return FusedLlama(plain())


def in_float32() -> Llama:
    return shaped_like_smollm2(torch.float32)


def quantized() -> Llama:
    model = plain()
    return FusedLlama(model, round_weights(model, "int4"))


@pytest.mark.parametrize(
    ("make", "max_running"),
    [(plain, 64), (fused, 64), (fused, 8), (in_float32, 64), (quantized, 64)],
    ids=["bfloat16", "fused, many texts", "fused, few texts", "float32", "int4"],
)
def test_a_seeded_request_gets_the_same_numbers_in_any_company(
    make: Callable[[], Llama], max_running: int, run: Callable
) -> None:
    language_model = LanguageModel("small", make(), Tokenizer.from_merges([]), None, (), frozenset())
    config = EngineConfig(
        max_batch_tokens=64, max_running=max_running, n_blocks=12, block_size=4, batch_invariant=True
    )
    rng = random.Random(3)

    def answer(n_others: int, config: EngineConfig) -> list[object]:
        engine = Engine(language_model, config)
        before = rng.randint(0, n_others)
        for i in range(n_others + 1):
            if i == before:
                engine.add(PROMPT, OPTIONS, "mine")
            else:
                prompt = [rng.randrange(256) for _ in range(rng.randint(1, 24))]
                engine.add(prompt, RequestOptions(Sampling(temperature=1.0, seed=i), rng.randint(1, 9)))
        told = run(engine)
        preempted.append(engine.snapshot().preemptions)
        return [(out.token, out.logprob, out.top_logprobs) for out in told["mine"].outs]

    preempted: list[int] = []
    alone = answer(0, config)
    assert len(alone) == 8
    for n_others in (1, 15, 40):
        assert answer(n_others, config) == alone
    assert max(preempted) > 0  # texts lost their memory and were computed again, in pieces
    assert answer(5, replace(config, max_batch_tokens=max_running, prefix_caching=False)) == alone


def test_steps_have_few_sizes(run: Callable) -> None:
    seen: set[int] = set()
    model = plain()
    model.norm.register_forward_hook(lambda module, given, out: seen.add(out.shape[1]))
    model.head.register_forward_hook(lambda module, given, out: seen.add(len(out)))
    language_model = LanguageModel("small", model, Tokenizer.from_merges([]), None, (), frozenset())
    engine = Engine(language_model, EngineConfig(max_running=40, n_blocks=200, batch_invariant=True))
    seen.clear()
    for i in range(25):
        engine.add([i] * (1 + 3 * i), RequestOptions(max_tokens=1 + i % 9))
    run(engine)
    assert seen <= set(row_counts_module.CANDIDATES)
    assert 16 in seen


def test_usual_steps_have_few_sizes_too() -> None:
    """Of large steps in bfloat16, for each of which PyTorch's library would keep kernels."""
    config = EngineConfig(max_batch_tokens=500)
    tokenizer = Tokenizer.from_merges([])
    for make, alone in ((plain, 16), (fused, 32), (quantized, 64)):
        model = LanguageModel("small", make(), tokenizer, None, (), frozenset())
        counts = row_counts(model, config)
        assert [counts.enough(n) for n in (1, alone, alone + 1, 121, 129, 500)] == [
            1, alone, alone + 8, 128, 144, 512
        ]  # fmt: skip
        assert counts.limited(config) == config
    exact = LanguageModel("small", in_float32(), tokenizer, None, (), frozenset())
    assert row_counts(exact, config) == RowCounts()


def test_numbers_of_rows_that_round_differently_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that looks at the number of rows: with more than 48 it computes something else."""

    class Head(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (len(x) > 48)

    model = plain()
    model.head = Head(CONFIG.d_model, CONFIG.vocab_size, bias=False, dtype=torch.bfloat16)
    language_model = LanguageModel("small", model, Tokenizer.from_merges([]), None, (), frozenset())
    counts = row_counts(language_model, EngineConfig(batch_invariant=True))
    assert counts.counts == (16, 32, 48)
    engine = Engine(language_model, EngineConfig(n_blocks=10, batch_invariant=True))
    assert (engine.config.max_batch_tokens, engine.config.max_running) == (48, 48)
    with pytest.raises(ValueError, match="a step of 49 rows was planned; at most 48"):
        counts.enough(49)


def test_what_cannot_be_promised_is_refused() -> None:
    language_model = LanguageModel("small", plain(), Tokenizer.from_merges([]), None, (), frozenset())
    with pytest.raises(ValueError, match="batch_invariant is not possible on cpu with block_size = 6"):
        row_counts(language_model, EngineConfig(block_size=6, batch_invariant=True))
    assert step_seconds(language_model, RowCounts((16, 32)), 17) > 0

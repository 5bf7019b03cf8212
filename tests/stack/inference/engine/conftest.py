"""Engines on models that need no weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Failed, Finished, Output, TokenOut
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.models.llama import Llama
from teachllm.stack.nn.kv_cache import CacheView
from teachllm.stack.tokenizer import Tokenizer


@dataclass
class Told:
    """What an engine said of one request: tokens, text and end of each of its texts, or why it failed."""

    tokens: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    texts: dict[int, str] = field(default_factory=lambda: defaultdict(str))
    outs: list[TokenOut] = field(default_factory=list)
    ends: dict[int, Finished] = field(default_factory=dict)
    failed: Failed | None = None

    def take(self, output: Output) -> None:
        assert self.failed is None
        if isinstance(output, Failed):
            self.failed = output
            return
        assert output.index not in self.ends
        self.texts[output.index] += output.text
        if isinstance(output, TokenOut):
            self.tokens[output.index].append(output.token)
            self.outs.append(output)
        else:
            self.ends[output.index] = output

    @property
    def is_over(self) -> bool:
        """Whether nothing more was said: there is no more to say, or it failed."""
        return self.failed is not None or len(self.ends) > 0

    @property
    def reasons(self) -> list[str]:
        return [self.ends[index].reason for index in sorted(self.ends)]


def run_to_end(engine: Engine) -> dict[str, Told]:
    """Step while there is work, with everything checked after every step."""
    told: dict[str, Told] = defaultdict(Told)
    for _ in range(5000):
        if not engine.has_work:
            return told
        for output in engine.step():
            told[output.request].take(output)
        engine.check_integrity()
    raise AssertionError("the engine does not come to an end")


@pytest.fixture
def make_told() -> type[Told]:
    return Told


@pytest.fixture
def run() -> Callable[[Engine], dict[str, Told]]:
    return run_to_end


@pytest.fixture
def tiny(tiny_llama: Llama, tokenizer: Tokenizer) -> LanguageModel:
    """A random Llama of two layers in float32; 257 ends a text."""
    return LanguageModel("tiny", tiny_llama, tokenizer, None, (), frozenset({257}))


@pytest.fixture
def make_engine(tiny: LanguageModel) -> Callable[..., Engine]:
    def make(model: LanguageModel | None = None, **config: object) -> Engine:
        sizes = {"n_blocks": 60, "block_size": 4, "max_batch_tokens": 32, "max_running": 32} | config
        return Engine(model or tiny, EngineConfig(**sizes))  # pyright: ignore[reportArgumentType]

    return make


@dataclass(frozen=True)
class MeanConfig:
    context_length: int = 64
    n_layers: int = 1
    n_heads: int = 1
    n_kv_heads: int = 1
    head_dim: int = 8


class MeanModel(nn.Module):
    """The next token depends on the mean of all before it, so a wrong block anywhere shows: one layer, made
    for thousands of requests. Token 60 asks for more memory than there is; token 61 makes a NaN.
    """

    def __init__(self, vocab_size: int = 64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(11)
        self.config = MeanConfig()
        self.rows = nn.Parameter(torch.randn(vocab_size, 8, generator=generator))
        self.head = nn.Linear(8, vocab_size, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(2 * torch.randn(vocab_size, 8, generator=generator))
            self.head.weight[60:62] = 0.0
            self.rows[61] = torch.nan

    def features(self, tokens: Tensor, cache: CacheView | None = None) -> Tensor:
        assert cache is not None
        cache.positions(tokens.shape[1])
        if (tokens == 60).any():
            raise MemoryError("no room")
        x = self.rows[tokens][:, None]
        mean = cache.attend(0, torch.zeros_like(x), x, x)[:, 0]
        cache.advance(tokens.shape[1])
        return 3 * mean + self.rows[tokens]

    def forward(self, tokens: Tensor, cache: CacheView | None = None, last_only: bool = False) -> Tensor:
        features = self.features(tokens, cache)
        return self.head(features[:, -1:] if last_only else features)


@pytest.fixture
def mean_model() -> LanguageModel:
    tokenizer = Tokenizer.from_merges([])
    return LanguageModel("mean", MeanModel().eval(), tokenizer, None, (), frozenset({59}))

"""Small models that draft for each other, and the test whether samples come from a distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.kv_cache import CacheView


@dataclass(frozen=True)
class Sizes:
    context_length: int = 100_000
    n_layers: int = 1
    n_heads: int = 1
    n_kv_heads: int = 1
    head_dim: int = 2


class MarkovModel:
    """The next token depends on the last one alone: row t of `transitions` are the probabilities behind t."""

    def __init__(self, transitions: Tensor) -> None:
        self.config = Sizes()
        self.head = nn.Identity()
        self._logits = transitions.log()

    def parameters(self) -> Iterator[Tensor]:
        yield self._logits

    def features(self, tokens: Tensor, cache: CacheView | None = None) -> Tensor:
        if cache is not None:
            cache.advance(tokens.shape[1])
        return self._logits[tokens]

    def __call__(self, tokens: Tensor, cache: CacheView | None = None, last_only: bool = False) -> Tensor:
        return self.features(tokens, cache)[:, -1:] if last_only else self.features(tokens, cache)


@pytest.fixture
def markov() -> Callable[[Tensor], MarkovModel]:
    return MarkovModel


@pytest.fixture
def small_draft(tiny_llama: Llama) -> Llama:
    """The tiny Llama with noise on its weights: it often guesses right, and often does not."""
    torch.manual_seed(5)
    draft = Llama(tiny_llama.config).eval()
    draft.load_state_dict(tiny_llama.state_dict())
    with torch.no_grad():
        for weights in draft.parameters():
            if weights.ndim == 2:
                weights.add_(0.02 * torch.randn_like(weights))
    return draft


@pytest.fixture
def deep_llama() -> Llama:
    """Five layers, of which the last ones change little: an early exit often guesses right. In float64."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=64,
        d_model=32,
        n_layers=5,
        n_heads=4,
        n_kv_heads=2,
        head_dim=8,
        hidden=48,
        context_length=128,
        tied_head=True,
    )
    model = Llama(config).double().eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim == 2:
                late = any(name.startswith(f"blocks.{layer}.") for layer in (3, 4))
                weights.normal_(0, 0.03 if late else 0.3)
    return model


@pytest.fixture
def p_value() -> Callable[[Tensor, Tensor], float]:
    """χ² test: how probable counts at least this far from `expected` are, if they are drawn from it."""

    def test(counts: Tensor, expected: Tensor) -> float:
        possible = expected > 0
        if counts[~possible].any():
            return 0.0
        counts, expected = counts[possible].double(), expected[possible].double()
        statistic = ((counts - expected) ** 2 / expected).sum()
        freedom = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
        return float(torch.special.gammaincc(freedom, statistic / 2))

    return test

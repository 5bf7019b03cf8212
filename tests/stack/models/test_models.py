"""Sizes that do not fit are refused with all their problems; models refuse what they cannot place."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from teachllm.stack.models.attention_maps import attention_maps
from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.kv_cache import KVCache

LLAMA = LlamaConfig(
    vocab_size=50,
    d_model=24,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=6,
    hidden=40,
    context_length=16,
    tied_head=True,
)
GPT = GPT2Config(vocab_size=50, d_model=24, n_layers=2, n_heads=4, hidden=40, context_length=16)


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Llama | GPT2:
    torch.manual_seed(0)
    return Llama(LLAMA) if request.param == "llama" else GPT2(GPT)


def tokens(length: int, batch: int = 1) -> Tensor:
    return torch.randint(50, (batch, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_last_logits_alone_are_the_last_of_all(model: Llama | GPT2) -> None:
    given = tokens(9, batch=2)
    whole, last = model(given), model(given, last_only=True)
    assert whole.shape == (2, 9, 50)
    torch.testing.assert_close(last, whole[:, -1:])


@torch.no_grad()
def test_later_tokens_do_not_change_earlier_logits(model: Llama | GPT2) -> None:
    given = tokens(10)
    before = model(given)
    given[0, 6:] = (given[0, 6:] + 1) % 50
    after = model(given)
    torch.testing.assert_close(after[:, :6], before[:, :6])
    assert not torch.allclose(after[:, 6:], before[:, 6:], atol=1e-3)


@torch.no_grad()
def test_a_text_longer_than_the_context_is_refused_and_the_cache_kept(model: Llama | GPT2) -> None:
    cache = KVCache.for_model(model.config, capacity=32)
    model(tokens(15), cache=cache)
    with pytest.raises(ValueError, match="shorten the text"):
        model(tokens(2), cache=cache)
    assert cache.length == 15
    model(tokens(1), cache=cache)
    assert cache.length == 16
    with pytest.raises(ValueError, match="at least one"):
        model(tokens(5)[:, :0])


@torch.no_grad()
def test_every_row_of_an_attention_map_adds_up_to_one(model: Llama | GPT2) -> None:
    maps = attention_maps(model, tokens(7, batch=2))
    assert [layer.shape for layer in maps] == [(2, 4, 7, 7)] * 2
    for layer in maps:
        torch.testing.assert_close(layer.sum(-1), torch.ones(2, 4, 7))
        assert layer.triu(1).eq(0).all()


def test_a_tied_head_is_the_embedding(model: Llama | GPT2) -> None:
    assert model.head.weight is model.embedding.weight
    assert model.config.n_parameters == sum(parameter.numel() for parameter in model.parameters())
    untied = type(model)(dataclasses.replace(model.config, tied_head=False))  # type: ignore[arg-type]
    assert untied.head.weight is not untied.embedding.weight
    assert untied.config.n_parameters == sum(parameter.numel() for parameter in untied.parameters())


def test_a_llama_that_does_not_fit_says_everything_at_once() -> None:
    with pytest.raises(ValueError, match="no Llama") as refused:
        dataclasses.replace(LLAMA, n_heads=5, head_dim=7, hidden=0, norm_eps=0.0, rope_divisors=(1.0,))
    message = str(refused.value)
    for problem in ("hidden is 0", "n_heads = 5", "head_dim is 7", "norm_eps = 0.0", "1 rope_divisors for 3"):
        assert problem in message


def test_a_gpt2_that_does_not_fit_says_everything_at_once() -> None:
    with pytest.raises(ValueError, match=r"n_layers is 0.*d_model = 24 is no multiple of n_heads = 7"):
        dataclasses.replace(GPT, n_layers=0, n_heads=7)

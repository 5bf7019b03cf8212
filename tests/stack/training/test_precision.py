"""float32 weights, bfloat16 products."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.training import precision
from teachllm.stack.training.precision import ComputeWeights, choose_precision, weights_replaced

CONFIG = LlamaConfig(64, 32, 2, 4, 2, 8, 48, 64, tied_head=True)


@pytest.mark.parametrize("instructions", ["AVX512_BF16", None])
def test_the_choice_on_a_cpu(instructions: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_bfloat16_instructions", lambda: instructions)
    choice = choose_precision("cpu")
    assert choice.compute_dtype == (torch.bfloat16 if instructions else torch.float32)
    assert (instructions or "no bfloat16") in choice.reason
    assert (instructions or "没有 bfloat16") in choice.reason_zh


def test_copies_are_used_inside_and_gradients_reach_the_masters() -> None:
    torch.manual_seed(0)
    model = Llama(CONFIG)
    weights = ComputeWeights(model, torch.bfloat16)
    tokens = torch.arange(12).reshape(2, 6)
    with weights.in_use():
        assert model.embedding.weight is model.head.weight
        logits = model(tokens)
        assert {p.dtype for p in model.parameters()} == {logits.dtype} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    logits.float().square().mean().backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = None
    model(tokens).square().mean().backward()
    for name, p in model.named_parameters():
        gradient = found[name]
        assert gradient is not None
        assert p.grad is not None
        assert gradient.dtype == torch.float32
        # bfloat16 keeps 8 bits, and some twenty products follow each other.
        assert (gradient - p.grad).norm() < 0.03 * p.grad.norm(), name


def test_small_steps_are_not_lost() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    weights = ComputeWeights(layer, torch.bfloat16)
    for _ in range(100):
        with torch.no_grad():
            layer.weight += 1e-4  # in bfloat16, 1 + 0.0001 is 1
        weights.refresh()
    with weights.in_use():
        assert layer.weight.item() == pytest.approx(1.01, abs=4e-3)
        assert layer.weight.item() > 1


def test_micro_batches_add_up_in_float32() -> None:
    layer = nn.Linear(1, 1, bias=False)
    weights = ComputeWeights(layer, torch.bfloat16)
    for x in [1.0] + [2**-10] * 8:  # in bfloat16 the small ones would vanish beside the 1
        with weights.in_use():
            layer(torch.tensor([[x]], dtype=torch.bfloat16)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == 1 + 8 * 2**-10


def test_float32_needs_no_copies() -> None:
    model = Llama(CONFIG)
    before = list(model.parameters())
    with ComputeWeights(model, torch.float32).in_use():
        assert all(a is b for a, b in zip(before, model.parameters(), strict=True))


def test_an_error_inside_puts_the_masters_back() -> None:
    layer = nn.Linear(2, 2)
    master = layer.weight
    with pytest.raises(RuntimeError), weights_replaced(layer, {"weight": torch.zeros(3, 3)}):
        layer(torch.zeros(2))
    assert layer.weight is master

"""Our optimizers beside those of `torch.optim`: 20 steps from the same weights with the same gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import _muon

from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.muon import Muon
from teachllm.stack.training.optimizers import RULES, adam_step, clip_by_global_norm, newton_schulz

pytestmark = pytest.mark.parity

STEPS = 20
SHAPE = (6, 10)

# What ours is called with, and the optimizer that does the same. Rates are large, so that weights move far.
PAIRS: dict[str, tuple[dict[str, Any], Callable[..., torch.optim.Optimizer]]] = {
    "SGD": ({"lr": 0.1, "weight_decay": 0.03}, partial(torch.optim.SGD, lr=0.1, weight_decay=0.03)),
    "Momentum": ({"lr": 0.1, "beta": 0.8}, partial(torch.optim.SGD, lr=0.1, momentum=0.8)),
    "Nesterov": ({"lr": 0.1, "beta": 0.8}, partial(torch.optim.SGD, lr=0.1, momentum=0.8, nesterov=True)),
    "Adagrad": ({"lr": 0.1}, partial(torch.optim.Adagrad, lr=0.1)),
    "RMSprop": ({"lr": 0.1, "alpha": 0.9}, partial(torch.optim.RMSprop, lr=0.1, alpha=0.9)),
    "Adadelta": ({"lr": 2.0}, partial(torch.optim.Adadelta, lr=2.0)),
    "Adam": ({"lr": 0.1, "l2": 0.03}, partial(torch.optim.Adam, lr=0.1, weight_decay=0.03)),
    "AdamW": ({"lr": 0.1, "weight_decay": 0.3}, partial(torch.optim.AdamW, lr=0.1, weight_decay=0.3)),
    "Nadam": ({"lr": 0.1}, partial(torch.optim.NAdam, lr=0.1)),
    "AMSGrad": ({"lr": 0.1}, partial(torch.optim.Adam, lr=0.1, amsgrad=True)),
    "AdaMax": ({"lr": 0.1}, partial(torch.optim.Adamax, lr=0.1)),
}


def weights(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(dtype: torch.dtype, shape: tuple[int, ...] = SHAPE) -> list[Tensor]:
    """Scales from 1e-4 to 1 in one tensor, and a coordinate that is 0 most of the time."""
    scales = torch.logspace(-4, 0, shape[-1], dtype=dtype)
    rows = [weights(*shape, seed=100 + step, dtype=dtype) * scales for step in range(STEPS)]
    for step, row in enumerate(rows):
        row[0, 0] *= step % 7 == 0
    return rows


def run_torch(
    make: Callable[[Iterable[Tensor]], torch.optim.Optimizer], start: Tensor, steps: Iterable[Tensor]
) -> list[Tensor]:
    parameter = torch.nn.Parameter(start.clone())
    optimizer = make([parameter])
    path = []
    for gradient in steps:
        parameter.grad = gradient.clone()
        optimizer.step()
        path.append(parameter.detach().clone())
    return path


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", PAIRS)
def test_pure_steps(name: str, dtype: torch.dtype, tolerance: float) -> None:
    options, theirs = PAIRS[name]
    start, steps = weights(*SHAPE, seed=0, dtype=dtype), gradients(dtype)
    expected = run_torch(theirs, start, steps)
    parameter, states = start, ()
    for number, (gradient, wanted) in enumerate(zip(steps, expected, strict=True), start=1):
        parameter, states = RULES[name](parameter, gradient, states, number, **options)
        # torch keeps the product of Nadam's momenta in float32, whatever the weights are.
        tolerance = max(tolerance, 1e-7 if name == "Nadam" else 0.0)
        torch.testing.assert_close(parameter, wanted, atol=tolerance, rtol=tolerance)
    assert len(states) == RULES[name].n_states
    assert (parameter - start).abs().max() > 0.01


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_adamw(fused: bool, dtype: torch.dtype, tolerance: float) -> None:
    start, steps = weights(*SHAPE, seed=0, dtype=dtype), gradients(dtype)
    options = {"lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.3}
    expected = run_torch(partial(torch.optim.AdamW, **options), start, steps)
    got = run_torch(partial(AdamW, **options, fused=fused), start, steps)
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)


def test_adam_with_l2_is_not_adamw() -> None:
    start, steps = weights(*SHAPE, seed=0), gradients(torch.float64)
    state = (torch.zeros(SHAPE, dtype=torch.float64),) * 2
    with_l2, *_ = adam_step(start, steps[0], *state, 1, lr=0.1, l2=0.3)
    decayed, *_ = RULES["AdamW"].step(start, steps[0], *state, 1, lr=0.1, weight_decay=0.3)
    assert not torch.allclose(with_l2, decayed, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 40)])
def test_newton_schulz_in_the_format_that_torch_uses(shape: tuple[int, int]) -> None:
    matrix = weights(*shape, seed=1, dtype=torch.float32).bfloat16()
    theirs = _muon._zeropower_via_newtonschulz(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7).double()
    exact = newton_schulz(matrix.double())
    # bfloat16 keeps 8 bits, and 15 products follow one another.
    for got in (newton_schulz(matrix).double(), theirs):
        assert (got - exact).norm() / exact.norm() < 0.05
    torch.testing.assert_close(newton_schulz(matrix.float()).double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(12, 12), (32, 12), (12, 40)])
def test_muon(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    """As torch's but for the format of the products: theirs are in bfloat16, so ours stand in."""
    monkeypatch.setattr(_muon, "_zeropower_via_newtonschulz", lambda grad, *_: newton_schulz(grad))
    start = weights(*shape, seed=2, dtype=torch.float32)
    steps = [weights(*shape, seed=200 + step, dtype=torch.float32) for step in range(STEPS)]
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.2}
    expected = run_torch(partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw", **options), start, steps)
    got = run_torch(partial(Muon, **options), start, steps)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    parameter, states = start, ()
    for gradient in steps:
        parameter, states = RULES["Muon"](parameter, gradient, states, 0, lr=0.02, beta=0.9, weight_decay=0.2)
    torch.testing.assert_close(parameter, expected[-1], atol=1e-5, rtol=1e-5)


def test_muon_against_torch_as_it_is() -> None:
    start = weights(16, 32, seed=3, dtype=torch.float32)
    steps = [weights(16, 32, seed=300 + step, dtype=torch.float32) for step in range(STEPS)]
    make = partial(torch.optim.Muon, lr=0.02, adjust_lr_fn="match_rms_adamw", weight_decay=0.1)
    expected = run_torch(make, start, steps)[-1]
    got = run_torch(partial(Muon, lr=0.02, weight_decay=0.1), start, steps)[-1]
    difference = (got - expected).norm() / (expected - start).norm()
    assert difference < 0.02  # bfloat16 against float32


@pytest.mark.parametrize("max_norm", [0.1, 3.0, 1e6])
def test_clipping(max_norm: float) -> None:
    ours = [weights(4, 5, seed=4), weights(7, seed=5), weights(1, 1, seed=6)]
    parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in ours]
    for parameter, gradient in zip(parameters, ours, strict=True):
        parameter.grad = gradient.clone()
    expected = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    norm = clip_by_global_norm(ours, max_norm)
    torch.testing.assert_close(norm, expected)
    length = math.sqrt(sum(float(gradient.pow(2).sum()) for gradient in ours))
    assert length == pytest.approx(min(max_norm, float(expected)), rel=1e-12)
    for gradient, parameter in zip(ours, parameters, strict=True):
        # torch divides by the norm plus 1e-6.
        torch.testing.assert_close(gradient, parameter.grad, atol=0, rtol=1e-5)
    assert norm > 0.1

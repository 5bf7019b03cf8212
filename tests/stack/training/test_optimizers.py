"""What each optimizer promises, where torch has nothing to compare with or it is more than a number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.muon import Muon, orthogonal_parts
from teachllm.stack.training.optimizers import (
    RULES,
    adam_step,
    adamw_step,
    clip_by_global_norm,
    lion_step,
    muon_step,
    newton_schulz,
)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", RULES)
def test_steps_change_nothing_that_they_are_given(name: str) -> None:
    rule = RULES[name]
    parameter, gradient = normal(3, 4, seed=0), normal(3, 4, seed=1)
    states = tuple(normal(3, 4, seed=2 + n).abs() for n in range(rule.n_states))
    before = [t.clone() for t in (parameter, gradient, *states)]
    moved, kept = rule(parameter, gradient, states, 3, lr=0.1)
    assert all(now.equal(old) for now, old in zip((parameter, gradient, *states), before, strict=True))
    assert not moved.equal(parameter)
    assert len(kept) == rule.n_states


def test_momentum_multiplies_a_steady_gradient_by_ten() -> None:
    one = torch.ones(1, dtype=torch.float64)
    states: tuple[Tensor, ...] = ()
    parameter = one
    for _ in range(300):
        before = parameter
        parameter, states = RULES["Momentum"](parameter, one, states, 0, lr=0.01, beta=0.9)
    assert before - parameter == pytest.approx(0.1)


def test_nesterov_is_the_gradient_at_the_point_ahead() -> None:
    """The path of θ - lr · β u in the original form is the path of our parameters."""

    def gradient(at: Tensor) -> Tensor:
        return torch.stack([at[0], 20 * at[1]]) + at**3

    lr, beta = 0.02, 0.9
    theta, velocity = normal(2, seed=5), torch.zeros(2, dtype=torch.float64)
    ours, states = theta, ()
    for step in range(1, 30):
        ours, states = RULES["Nesterov"](ours, gradient(ours), states, step, lr=lr, beta=beta)
        velocity = beta * velocity + gradient(theta - lr * beta * velocity)
        theta = theta - lr * velocity
        torch.testing.assert_close(ours, theta - lr * beta * velocity)


def test_first_step_of_adam_is_the_rate_whatever_the_gradient() -> None:
    gradient = torch.tensor([1e-3, -1.0, 1e4], dtype=torch.float64)
    zeros = torch.zeros(3, dtype=torch.float64)
    moved, *_ = adamw_step(zeros, gradient, zeros, zeros, 1, lr=0.1, weight_decay=0.0)
    torch.testing.assert_close(moved, -0.1 * gradient.sign(), atol=1e-5, rtol=0)


def test_decay_of_adamw_acts_alone_and_that_of_adam_does_not() -> None:
    parameter, zeros = normal(4, seed=6), torch.zeros(4, dtype=torch.float64)
    decayed, m, v = adamw_step(parameter, zeros, zeros, zeros, 1, lr=0.1, weight_decay=0.5)
    torch.testing.assert_close(decayed, 0.95 * parameter)
    assert not m.any()
    assert not v.any()
    with_l2, *_ = adam_step(parameter, zeros, zeros, zeros, 1, lr=0.1, l2=0.5)
    torch.testing.assert_close(with_l2, parameter - 0.1 * parameter.sign(), atol=1e-6, rtol=0)


def test_adamw_does_not_care_for_the_scale_of_the_loss() -> None:
    def run(scale: float) -> Tensor:
        parameter, states = normal(5, seed=7), ()
        for step in range(1, 20):
            gradient = scale * normal(5, seed=50 + step)
            parameter, states = RULES["AdamW"](parameter, gradient, states, step, lr=0.1, eps=0.0)
        return parameter

    torch.testing.assert_close(run(1.0), run(1000.0))


def test_adagrad_slows_down_and_rmsprop_does_not() -> None:
    one = torch.ones(1, dtype=torch.float64)
    last = {}
    for name in ("Adagrad", "RMSprop"):
        parameter, states = one, ()
        for step in range(1, 401):
            before = parameter
            parameter, states = RULES[name](parameter, one, states, step, lr=0.1)
        last[name] = float(before - parameter)
    assert last["Adagrad"] == pytest.approx(0.1 / math.sqrt(400), rel=1e-6)
    assert last["RMSprop"] == pytest.approx(0.1, rel=0.02)


def test_adadelta_has_the_unit_of_the_weights() -> None:
    """Weights that are counted in thousandths have gradients a thousand times as small, and the same path."""

    def run(unit: float) -> Tensor:
        ones = torch.ones(3, dtype=torch.float64)
        parameter, states = normal(3, seed=8) / unit, (ones * unit**2, ones / unit**2)
        for step in range(1, 30):
            gradient = normal(3, seed=80 + step) * unit
            parameter, states = RULES["Adadelta"](parameter, gradient, states, step, eps=0.0)
        return parameter * unit

    torch.testing.assert_close(run(1e-3), run(1.0))


def test_amsgrad_remembers_the_largest_gradient() -> None:
    gradients = [torch.full((1,), g, dtype=torch.float64) for g in (100.0, *[1.0] * 3000)]
    last = {}
    for name in ("Adam", "AMSGrad"):
        parameter, states = torch.zeros(1, dtype=torch.float64), ()
        for step, gradient in enumerate(gradients, start=1):
            before = parameter
            parameter, states = RULES[name](parameter, gradient, states, step, lr=0.1, betas=(0.9, 0.99))
        last[name] = float(before - parameter)
    assert last["Adam"] == pytest.approx(0.1, rel=0.01)
    assert last["AMSGrad"] == pytest.approx(0.1 / 10, rel=0.01)  # √(0.01 · 100²) = 10


def test_lion_by_hand() -> None:
    parameter, gradient, m = (
        torch.tensor(x) for x in ([1.0, -2.0, 0.5], [0.5, -1.0, 3.0], [-10.0, 0.0, 1.0])
    )
    moved, kept = lion_step(parameter, gradient, m, lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    # signs of -8.95, -0.1 and 1.2; the decay takes a twentieth
    torch.testing.assert_close(moved, torch.tensor([0.95 + 0.1, -1.9 + 0.1, 0.475 - 0.1]))
    torch.testing.assert_close(kept, torch.tensor([-9.895, -0.01, 1.02]))


@pytest.mark.parametrize("shape", [(6, 6), (30, 10), (10, 30), (3, 5, 8)])
def test_newton_schulz_keeps_directions_and_evens_out_sizes(shape: tuple[int, ...]) -> None:
    rows, columns = shape[-2:]
    rank = min(rows, columns)
    u, _, vt = torch.linalg.svd(normal(*shape, seed=9), full_matrices=False)
    sizes = torch.logspace(0, -2, rank, dtype=torch.float64)
    matrix = u * sizes @ vt
    result = newton_schulz(matrix)
    assert result.shape == shape
    in_its_own_directions = u.mT @ result @ vt.mT
    got = in_its_own_directions.diagonal(dim1=-2, dim2=-1)
    assert got.min() > 0.3  # a direction of a hundredth of the norm is not all the way up after 5 steps
    assert got.max() < 1.25
    torch.testing.assert_close(in_its_own_directions, torch.diag_embed(got), atol=1e-9, rtol=0)
    # The size of the whole does not matter.
    torch.testing.assert_close(newton_schulz(1e4 * matrix), result)


def test_an_update_of_muon_is_as_large_as_one_of_adam() -> None:
    for shape in ((64, 64), (32, 128), (128, 32)):
        zeros, gradient = torch.zeros(shape, dtype=torch.float64), normal(*shape, seed=10)
        moved, _ = muon_step(zeros, gradient, zeros, lr=1.0)
        assert float(moved.pow(2).mean().sqrt()) == pytest.approx(0.2, rel=0.25)


def test_joined_matrices_move_as_they_would_alone() -> None:
    upper, lower = normal(4, 6, seed=15), 100 * normal(9, 6, seed=16)
    joined = orthogonal_parts(torch.cat([upper, lower]), (4, 9))
    alone = [orthogonal_parts(matrix, None) for matrix in (upper, lower)]
    torch.testing.assert_close(joined, torch.cat(alone))
    torch.testing.assert_close(alone[1], 0.6 * newton_schulz(lower))
    together = orthogonal_parts(torch.cat([upper, lower]), None)
    assert together[:4].norm() < 0.2 * alone[0].norm()  # the large one takes it all


def test_newton_schulz_of_zeros_is_zero() -> None:
    assert newton_schulz(torch.zeros(4, 3)).equal(torch.zeros(4, 3))


def test_clipping_keeps_the_direction_and_leaves_what_is_not_finite() -> None:
    gradients = [normal(3, seed=11), normal(2, 2, seed=12)]
    long = torch.cat([g.flatten() for g in gradients])
    norm = clip_by_global_norm(gradients, 0.5)
    torch.testing.assert_close(torch.cat([g.flatten() for g in gradients]), long * (0.5 / norm))
    for bad in (math.nan, math.inf):
        gradients = [torch.tensor([1.0, bad]), torch.tensor([7.0])]
        assert not math.isfinite(clip_by_global_norm(gradients, 0.5))
        assert gradients[1].item() == 7.0


def parameter_with_gradient(*shape: int, dtype: torch.dtype = torch.float32) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(normal(*shape, seed=13).to(dtype))
    parameter.grad = normal(*shape, seed=14).to(dtype)
    return parameter


def test_state_of_16_bit_weights_has_32() -> None:
    weight = parameter_with_gradient(4, 4, dtype=torch.bfloat16)
    expected, *_ = adamw_step(
        weight.detach().float(), weight.grad.float(), torch.zeros(4, 4), torch.zeros(4, 4), 1, lr=0.1
    )
    optimizer = AdamW([weight], lr=0.1, betas=(0.9, 0.999), weight_decay=0.01)
    optimizer.step()
    assert {name: value.dtype for name, value in optimizer.state[weight].items()} == dict.fromkeys(
        ("step", "m", "v"), torch.float32
    )
    assert weight.detach().equal(expected.bfloat16())


@pytest.mark.parametrize("make", [AdamW, Muon])
def test_state_survives_saving(make: type[AdamW] | type[Muon]) -> None:
    def step(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer, seed: int) -> None:
        weight.grad = normal(3, 3, seed=seed).float()
        optimizer.step()

    first, second = parameter_with_gradient(3, 3), parameter_with_gradient(3, 3)
    whole, broken = make([first], lr=0.1), make([second], lr=0.1)
    for seed in range(3):
        step(first, whole, seed)
        step(second, broken, seed)
    resumed = make([second], lr=0.7)
    resumed.load_state_dict(broken.state_dict())
    for seed in range(3, 6):
        step(first, whole, seed)
        step(second, resumed, seed)
    assert second.equal(first)


def test_parameters_without_a_gradient_stay() -> None:
    weight, idle = parameter_with_gradient(2, 2), torch.nn.Parameter(torch.ones(2, 2))
    for optimizer in (AdamW([weight, idle], lr=0.1), Muon([weight, idle], lr=0.1)):
        optimizer.step()
        assert idle.equal(torch.ones(2, 2))
        assert idle not in optimizer.state or not optimizer.state[idle]


def test_wrong_numbers_are_refused() -> None:
    weight, vector = parameter_with_gradient(2, 2), parameter_with_gradient(3)
    with pytest.raises(ValueError, match=r"lr is -1; .*weight_decay is nan; .*betas are \(0.9, 1.0\)"):
        AdamW([weight], lr=-1, weight_decay=math.nan, betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="momentum is 1"):
        Muon([weight], momentum=1.0)
    with pytest.raises(
        ValueError, match=r"Muon moves matrices, and was given parameters of shape \[\(3,\)\]"
    ):
        Muon([weight, vector])
    Muon([{"params": [weight]}, {"params": [vector], "orthogonal": False}])
    for optimizer in (AdamW([weight]), Muon([weight])):
        with pytest.raises(ValueError, match="calls no closure"):
            optimizer.step(lambda: 0.0)


def test_muon_may_compute_in_bfloat16_and_keeps_float32() -> None:
    moved = {}
    for dtype in (torch.float32, torch.bfloat16):
        weight = parameter_with_gradient(16, 24)
        start = weight.detach().clone()
        optimizer = Muon([weight], lr=0.1, weight_decay=0.0, compute_dtype=dtype)
        optimizer.step()
        assert optimizer.state[weight]["momentum"].dtype == weight.dtype == torch.float32
        moved[dtype] = weight.detach() - start
    apart = (moved[torch.bfloat16] - moved[torch.float32]).norm() / moved[torch.float32].norm()
    assert 0 < apart < 0.05

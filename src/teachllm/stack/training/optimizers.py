"""One step of each optimizer, as a pure function: weights, gradient and state in, weights and state out.

Every function returns new tensors and leaves its arguments alone. State begins as zeros. The steps are those
of `torch.optim`; where a paper writes them differently, the docstring says so. What training uses of them
is in `adamw` and `muon`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor

Weights = Float[Tensor, "*shape"]

# Without a memory, or with a memory of the direction ---------------------------------------------------


def sgd_step(parameter: Weights, gradient: Weights, lr: float, weight_decay: float = 0.0) -> tuple[Weights]:
    """θ ← θ - lr · (g + weight_decay · θ). For this optimizer L2 and weight decay are the same thing."""
    return (parameter - lr * (gradient + weight_decay * parameter),)


def momentum_step(
    parameter: Weights, gradient: Weights, velocity: Weights, lr: float, beta: float = 0.9
) -> tuple[Weights, Weights]:
    """u ← β u + g, θ ← θ - lr · u: a gradient that keeps its direction counts up to 1/(1 - β) times.

    Polyak 1964. Papers often keep lr inside, u ← β u + lr · g: the same until lr changes.
    """
    velocity = beta * velocity + gradient
    return parameter - lr * velocity, velocity


def nesterov_step(
    parameter: Weights, gradient: Weights, velocity: Weights, lr: float, beta: float = 0.9
) -> tuple[Weights, Weights]:
    """u ← β u + g, θ ← θ - lr · (g + β u): momentum that looks one step ahead.

    Nesterov 1983 takes the gradient at θ - lr · β u. Written in terms of that point, which is where the
    model stands, it becomes the line above. Sutskever et al. 2013.
    """
    velocity = beta * velocity + gradient
    return parameter - lr * (gradient + beta * velocity), velocity


# A rate for each coordinate ----------------------------------------------------------------------------


def adagrad_step(
    parameter: Weights, gradient: Weights, total: Weights, lr: float, eps: float = 1e-10
) -> tuple[Weights, Weights]:
    """G ← G + g², θ ← θ - lr · g / (√G + eps). G only grows, so the rate only falls. Duchi et al. 2011."""
    total = total + gradient**2
    return parameter - lr * gradient / (total.sqrt() + eps), total


def rmsprop_step(
    parameter: Weights, gradient: Weights, v: Weights, lr: float, alpha: float = 0.99, eps: float = 1e-8
) -> tuple[Weights, Weights]:
    """v ← α v + (1 - α) g², θ ← θ - lr · g / (√v + eps): Adagrad that forgets. Hinton 2012, lecture 6e."""
    v = alpha * v + (1 - alpha) * gradient**2
    return parameter - lr * gradient / (v.sqrt() + eps), v


def adadelta_step(
    parameter: Weights,
    gradient: Weights,
    v: Weights,
    moved: Weights,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
) -> tuple[Weights, Weights, Weights]:
    """v ← ρ v + (1 - ρ) g², Δ = √(moved + eps) / √(v + eps) · g, θ ← θ - lr · Δ.

    moved ← ρ moved + (1 - ρ) Δ². The size of earlier steps stands where the rate was, which gives Δ the
    unit of θ; lr = 1 is the paper's.
    Zeiler 2012, arXiv:1212.5701.
    """
    v = rho * v + (1 - rho) * gradient**2
    delta = (moved + eps).sqrt() / (v + eps).sqrt() * gradient
    moved = rho * moved + (1 - rho) * delta**2
    return parameter - lr * delta, v, moved


# Both --------------------------------------------------------------------------------------------------


def adam_step(
    parameter: Weights,
    gradient: Weights,
    m: Weights,
    v: Weights,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    l2: float = 0.0,
) -> tuple[Weights, Weights, Weights]:
    """Adam; `step` counts from 1. With l2 the penalty l2/2 · |θ|² joins the loss, and so its gradient g.

    m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², θ ← θ - lr · m̂ / (√v̂ + eps) with m̂ = m / (1 - β₁ᵗ) and
    v̂ = v / (1 - β₂ᵗ). Kingma & Ba 2014, arXiv:1412.6980.
    """
    gradient = gradient + l2 * parameter
    return adamw_step(parameter, gradient, m, v, step, lr, betas, eps, weight_decay=0.0)


def adamw_step(
    parameter: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    m: Float[Tensor, "*shape"],
    v: Float[Tensor, "*shape"],
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """The new parameter, m and v after update number `step`, counted from 1. The arguments stay as they are.

    m ← β₁ m + (1 - β₁) g and v ← β₂ v + (1 - β₂) g², with betas = (β₁, β₂); both begin as zeros.
    m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ), with t = step.
    θ ← (1 - lr · weight_decay) θ - lr · m̂ / (√v̂ + eps).
    Loshchilov & Hutter 2017, arXiv:1711.05101; as in most implementations the decay is multiplied by lr.
    """
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    decayed = (1 - lr * weight_decay) * parameter
    return decayed - lr * m_hat / (v_hat.sqrt() + eps), m, v


def amsgrad_step(
    parameter: Weights,
    gradient: Weights,
    m: Weights,
    v: Weights,
    v_max: Weights,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Weights, Weights, Weights, Weights]:
    """Adam with the largest v so far in place of v: a rare large gradient is not forgotten.

    Reddi et al. 2018, arXiv:1904.09237; with the bias correction of torch, which the paper leaves out.
    """
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    v_max = torch.maximum(v_max, v)
    m_hat, v_hat = m / (1 - beta1**step), v_max / (1 - beta2**step)
    return parameter - lr * m_hat / (v_hat.sqrt() + eps), m, v, v_max


def adamax_step(
    parameter: Weights,
    gradient: Weights,
    m: Weights,
    largest: Weights,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Weights, Weights, Weights]:
    """Adam with a fading maximum, u ← max(β₂ u, |g| + eps), in place of the root; u needs no correction.

    Kingma & Ba 2014, arXiv:1412.6980, section 7.1.
    """
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * gradient
    largest = torch.maximum(beta2 * largest, gradient.abs() + eps)
    return parameter - lr / (1 - beta1**step) * m / largest, m, largest


def nadam_step(
    parameter: Weights,
    gradient: Weights,
    m: Weights,
    v: Weights,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    momentum_decay: float = 4e-3,
) -> tuple[Weights, Weights, Weights]:
    """Adam with Nesterov's look ahead: today's gradient counts with its own weight, m with tomorrow's.

    The weight of m warms up, μₜ = β₁ (1 - ½ · 0.96^(t · momentum_decay)). Dozat 2016.
    """
    beta1, beta2 = betas

    def mu(t: int) -> float:
        return beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    product = math.prod(mu(t) for t in range(1, step + 1))
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    root = (v / (1 - beta2**step)).sqrt() + eps
    now = (1 - mu(step)) / (1 - product) * gradient
    ahead = mu(step + 1) / (1 - product * mu(step + 1)) * m
    return parameter - lr * (now + ahead) / root, m, v


def lion_step(
    parameter: Weights,
    gradient: Weights,
    m: Weights,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
) -> tuple[Weights, Weights]:
    """θ ← (1 - lr · weight_decay) θ - lr · sign(β₁ m + (1 - β₁) g), then m ← β₂ m + (1 - β₂) g.

    Every coordinate moves by lr, and there is one state where Adam has two.
    Chen et al. 2023, arXiv:2302.06675.
    """
    beta1, beta2 = betas
    direction = (beta1 * m + (1 - beta1) * gradient).sign()
    moved = (1 - lr * weight_decay) * parameter - lr * direction
    return moved, beta2 * m + (1 - beta2) * gradient


# A rate for each direction of a matrix -----------------------------------------------------------------


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def newton_schulz(
    matrix: Float[Tensor, "*batch rows columns"], n_steps: int = 5
) -> Float[Tensor, "*batch rows columns"]:
    """About U Vᵀ where the matrix is U S Vᵀ: the same directions, singular values near 1.

    X ← a X + (b A + c A²) X with A = X Xᵀ, n_steps times, after a division by the Frobenius norm. This takes
    each singular value s to a s + b s³ + c s⁵. The numbers a, b, c are chosen for a steep start at 0: values
    that were not tiny end between 0.7 and 1.2. Computed in the matrix's own format.
    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    a, b, c = NEWTON_SCHULZ
    # The smaller Gram matrix is the cheaper one.
    tall = matrix.size(-2) > matrix.size(-1)
    x = matrix.mT if tall else matrix
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(n_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def muon_step(
    parameter: Float[Tensor, "rows columns"],
    gradient: Float[Tensor, "rows columns"],
    momentum: Float[Tensor, "rows columns"],
    lr: float,
    beta: float = 0.95,
    weight_decay: float = 0.1,
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]]:
    """M ← β M + g, O = newton_schulz(g + β M), θ ← (1 - lr · weight_decay) θ - lr · muon_scale(θ) · O.

    Jordan et al. 2024, with the scale and the decay of Liu et al. 2025, arXiv:2502.16982.
    """
    momentum = beta * momentum + gradient
    direction = newton_schulz(gradient + beta * momentum)
    decayed = (1 - lr * weight_decay) * parameter
    return decayed - lr * muon_scale(parameter) * direction, momentum


def muon_scale(matrix: Float[Tensor, "rows columns"]) -> float:
    """0.2 √max(rows, columns).

    The entries of a matrix whose min(rows, columns) singular values are 1 have a root mean square of
    1/√max(rows, columns). Scaled so, an update is as large as one of AdamW usually is, 0.2, and both can
    share one learning rate. Liu et al. 2025, arXiv:2502.16982, section 2.2.
    """
    return 0.2 * math.sqrt(max(matrix.shape))


# Before any of them ------------------------------------------------------------------------------------


def clip_by_global_norm(gradients: Sequence[Tensor], max_norm: float) -> Tensor:
    """Shortens all gradients, as one long vector, to at most `max_norm`, in place; returns the length before.

    One factor for all keeps the direction, which clipping each by itself would not. A norm that is not finite
    leaves the gradients as they are. Pascanu et al. 2012, arXiv:1211.5063.
    """
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    if isinstance(norm, DTensor):  # a part of the sum is on each process
        norm = norm.full_tensor()
    if max_norm < float(norm) < math.inf:
        for gradient in gradients:
            gradient.mul_(max_norm / float(norm))
    return norm


# What they remember ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """An optimizer of this file. n_states: how many tensors of the size of the weights it keeps.

    counts: its step takes the number of the step, from 1, behind the state.
    """

    step: Callable[..., tuple[Tensor, ...]]
    n_states: int
    counts: bool = False

    def __call__(
        self, parameter: Tensor, gradient: Tensor, states: tuple[Tensor, ...], step: int, **options: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The new parameter and states; an empty tuple of states stands for zeros."""
        states = states or (torch.zeros_like(parameter),) * self.n_states
        number = (step,) if self.counts else ()
        moved, *kept = self.step(parameter, gradient, *states, *number, **options)
        return moved, tuple(kept)


RULES = {
    "SGD": Rule(sgd_step, 0),
    "Momentum": Rule(momentum_step, 1),
    "Nesterov": Rule(nesterov_step, 1),
    "Adagrad": Rule(adagrad_step, 1),
    "RMSprop": Rule(rmsprop_step, 1),
    "Adadelta": Rule(adadelta_step, 2),
    "Adam": Rule(adam_step, 2, counts=True),
    "AdamW": Rule(adamw_step, 2, counts=True),
    "Nadam": Rule(nadam_step, 2, counts=True),
    "AMSGrad": Rule(amsgrad_step, 3, counts=True),
    "AdaMax": Rule(adamax_step, 2, counts=True),
    "Lion": Rule(lion_step, 1),
    "Muon": Rule(muon_step, 1),
}

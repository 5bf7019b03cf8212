"""Scaling laws: how the loss falls with parameters, tokens and the share of a corpus, and what follows.

A law is a sum of powers. Its logarithm is therefore the logsumexp of terms that are linear in the logarithms
of what is varied, which is how it is fitted (Hoffmann et al. 2022, arXiv:2203.15556, appendix D.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

HUBER_DELTA = 1e-3  # of the logarithm of the loss: a residual above 0.1 % counts in proportion, not squared
FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
BEST_STARTS = 4  # of the grid of starts, how many are followed to the end


@dataclass(frozen=True)
class ScalingLaw:
    """L(N, D) = E + A/N^α + B/D^β: nats a token that a model of N parameters needs after D tokens.

    E is what no model gets rid of, A/N^α the price of a finite model, B/D^β that of a finite text.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """L(N, D)"""
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta

    def optimal(self, flops: float) -> tuple[float, float]:
        """The (parameters, tokens) with the lowest loss that `flops` operations pay for."""
        return compute_optimal(flops, self.A, self.B, self.alpha, self.beta)


CHINCHILLA = ScalingLaw(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
"""Hoffmann et al. 2022, arXiv:2203.15556, appendix D.3."""
CHINCHILLA_REFITTED = ScalingLaw(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
"""The same runs, read off the paper's figures and fitted anew: Besiroglu et al. 2024, arXiv:2404.10102."""


def compute_optimal(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    """(N, D) that minimize A/N^α + B/D^β under flops = 6·N·D.

    N = G·(flops/6)^(β/(α+β)) and D = (flops/6)^(α/(α+β)) / G with G = (αA / βB)^(1/(α+β)).
    Hoffmann et al. 2022, arXiv:2203.15556, equation 4. ValueError unless every argument is above 0.
    """
    given = {"flops": flops, "A": A, "B": B, "alpha": alpha, "beta": beta}
    if wrong := [f"{name} = {value}" for name, value in given.items() if not value > 0]:
        raise ValueError(f"{', '.join(wrong)}: a budget and a law that falls need numbers above 0")
    pairs = flops / FLOPS_PER_PARAMETER_AND_TOKEN
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return G * pairs ** (beta / (alpha + beta)), pairs ** (alpha / (alpha + beta)) / G


def iso_flop(law: ScalingLaw, flops: float, parameters: Sequence[float]) -> list[tuple[float, float]]:
    """(tokens, loss) for each size of model, all trained with the same `flops` = 6·N·D."""
    tokens = [flops / (FLOPS_PER_PARAMETER_AND_TOKEN * n) for n in parameters]
    return [(d, law.loss(n, d)) for n, d in zip(parameters, tokens, strict=True)]


def fit_scaling_law(
    parameters: Sequence[float],
    tokens: Sequence[float],
    losses: Sequence[float],
    *,
    delta: float = HUBER_DELTA,
) -> ScalingLaw:
    """The law that comes closest to runs: Σ Huber(log L(Nᵢ, Dᵢ) − log Lᵢ) is smallest.

    Minimized by L-BFGS from a grid of starts, as in Hoffmann et al. 2022, appendix D.3. Here the sizes are
    counted in their geometric means, so that the starts fit runs of any size. ValueError for fewer than five
    runs, one for each constant, or numbers that are not above 0.
    """
    n, d, log_losses = _logs(parameters=parameters, tokens=tokens, losses=losses)
    if len(log_losses) < 5:
        raise ValueError(f"{len(log_losses)} runs cannot fix five constants; give at least 5")
    n_mean, d_mean = n.mean(), d.mean()

    def log_loss(x: Float[Tensor, "start 5"]) -> Float[Tensor, "start run"]:
        e, a, b, alpha, beta = x[:, :, None].unbind(1)
        return logsumexp(e, a - alpha * (n - n_mean), b - beta * (d - d_mean))

    middle = float(log_losses.mean())
    shares = (0.02, 0.1, 0.3)  # of the loss that each falling term may have in the middle of the runs
    starts = [
        (middle + math.log(1 - a - b), middle + math.log(a), middle + math.log(b), alpha, beta)
        for a, b in product(shares, repeat=2)
        for alpha, beta in product((0.1, 0.3, 0.6, 1.0), repeat=2)
    ]
    e, a, b, alpha, beta = fit_logs(log_loss, log_losses, starts, delta)
    A, B = math.exp(a + alpha * float(n_mean)), math.exp(b + beta * float(d_mean))
    return ScalingLaw(math.exp(e), A, B, alpha, beta)


# The share of a corpus in continued pretraining ------------------------------------------------------------


@dataclass(frozen=True)
class MixtureLaw:
    """L(D, r) = E + B·r^η/D^β + C/(r + ε)^γ: the loss on a corpus that is the share r of D tokens.

    The D-CPT law of Que et al. 2024, arXiv:2406.01375, for one size of model: its A/N^α is then
    a constant, and part of E. Of two corpora each has a law of its own, with r for its own share.
    """

    E: float
    B: float
    C: float
    beta: float
    eta: float
    gamma: float
    epsilon: float

    def loss(self, tokens: float, share: float) -> float:
        """L(D, r), nats a token"""
        return (
            self.E
            + self.B * share**self.eta / tokens**self.beta
            + self.C / (share + self.epsilon) ** self.gamma
        )


def fit_mixture_law(
    tokens: Sequence[float], shares: Sequence[float], losses: Sequence[float], *, delta: float = HUBER_DELTA
) -> MixtureLaw:
    """As `fit_scaling_law`; every constant stays above 0. ValueError for fewer than seven runs."""
    if any(not 0 <= share <= 1 for share in shares):
        raise ValueError(f"a share lies between 0 and 1: {[s for s in shares if not 0 <= s <= 1]}")
    d, log_losses = _logs(tokens=tokens, losses=losses)
    if len(log_losses) < 7:
        raise ValueError(f"{len(log_losses)} runs cannot fix seven constants; give at least 7")
    r = torch.tensor(shares, dtype=torch.float64)
    log_r = r.clamp(min=1e-12).log()
    d_mean = d.mean()

    def log_loss(x: Float[Tensor, "start 7"]) -> Float[Tensor, "start run"]:
        e, b, c, beta, eta, gamma, epsilon = x[:, :, None].unbind(1)
        beta, eta, gamma, epsilon = beta.exp(), eta.exp(), gamma.exp(), epsilon.exp()
        return logsumexp(e, b + eta * log_r - beta * (d - d_mean), c - gamma * (r + epsilon).log())

    middle = float(log_losses.mean())
    starts = [
        (
            *(middle + math.log(1 - b - c), middle + math.log(b), middle + math.log(c)),
            *(math.log(beta), math.log(eta), math.log(gamma), math.log(epsilon)),
        )
        for b, c in product((0.05, 0.3), repeat=2)
        for beta, eta in product((0.2, 0.6), (0.3, 1.0))
        for gamma, epsilon in product((0.1, 0.5, 1.0), (0.02, 0.2))
    ]
    e, b, c, *logs = fit_logs(log_loss, log_losses, starts, delta)
    beta, eta, gamma, epsilon = map(math.exp, logs)
    return MixtureLaw(math.exp(e), math.exp(b + beta * float(d_mean)), math.exp(c), beta, eta, gamma, epsilon)


def best_ratio(
    domain_loss: Callable[[float], float],
    general_loss: Callable[[float], float],
    general_before: float,
    tolerated: float,
    shares: Sequence[float],
) -> float | None:
    """The share r of the domain with the lowest domain loss among those that the general ability bears:
    (general_loss(1 − r) − general_before) / general_before < tolerated. None if it bears none of `shares`.

    Each loss is a function of its own corpus' share. Ask for shares between those that were tried only: at 0
    and 1 a power law may jump. Que et al. 2024, arXiv:2406.01375.
    """
    borne = [
        share for share in shares if (general_loss(1 - share) - general_before) / general_before < tolerated
    ]
    return min(borne, key=domain_loss, default=None)


# Fitting ---------------------------------------------------------------------------------------------------


def logsumexp(*terms: Tensor) -> Float[Tensor, "start run"]:
    """log Σ exp(term), without overflow."""
    return torch.stack(torch.broadcast_tensors(*terms)).logsumexp(dim=0)


def huber(residuals: Tensor, delta: float) -> Tensor:
    """r²/2 up to `delta`, then a straight line: a run that went wrong does not bend the whole fit."""
    return torch.nn.functional.huber_loss(
        residuals, torch.zeros_like(residuals), reduction="none", delta=delta
    )


def fit_logs(
    log_loss: Callable[[Tensor], Tensor],
    log_losses: Float[Tensor, " run"],
    starts: Sequence[Sequence[float]],
    delta: float,
) -> list[float]:
    """The constants x with the smallest Σ Huber(log_loss(x) − log_losses), by L-BFGS.

    log_loss takes rows of constants, [start, constant], and gives [start, run]. All starts are judged; from
    the best ones L-BFGS goes on, and the best end wins.
    """

    def cost(x: Float[Tensor, "start constant"]) -> Float[Tensor, " start"]:
        # In units of delta², since L-BFGS stops at gradients that are small as such.
        return huber(log_loss(x) - log_losses, delta).sum(dim=1) / delta**2

    x = torch.tensor(starts, dtype=torch.float64)
    order = cost(x).nan_to_num(math.inf).argsort()[:BEST_STARTS]
    ends = [end for start in x[order] for end in _followed(cost, start)]
    if not ends:
        raise ValueError("no start of the fit led to finite numbers: look for losses that are far off")
    return min(ends, key=lambda end: end[0])[1].tolist()


def _followed(cost: Callable[[Tensor], Tensor], start: Tensor) -> Iterator[tuple[float, Tensor]]:
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x], max_iter=300, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = cost(x[None])[0]
        value.backward()
        return value

    optimizer.step(closure)
    end = float(cost(x.detach()[None])[0])
    if math.isfinite(end):
        yield end, x.detach()


def _logs(**numbers: Sequence[float]) -> list[Float[Tensor, " run"]]:
    lengths = {name: len(values) for name, values in numbers.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"of each run every number is needed, but there are {lengths}")
    for name, values in numbers.items():
        if wrong := [value for value in values if not 0 < value < math.inf]:
            raise ValueError(f"{name} must be above 0 and finite, not {wrong[:3]}")
    return [torch.tensor(values, dtype=torch.float64).log() for values in numbers.values()]

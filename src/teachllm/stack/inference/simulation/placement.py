"""How many devices for prompts and how many for decoding: each phase alone, then the best mixture.

DistServe (Zhong et al. 2024, arXiv:2401.09670), section 4.1: simulate each phase by itself with every kind of
parallelism, take for each the one with the highest goodput a device, and replicate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.inference.simulation.metrics import Objectives, attainment, goodput
from teachllm.stack.inference.simulation.policy import prompts_only
from teachllm.stack.inference.simulation.simulator import Pool, simulate
from teachllm.stack.inference.simulation.workload import Arrival, first_tokens_only

Traffic: TypeAlias = Callable[[float], Sequence[Arrival]]  # rate → requests

# Prompts are computed at once and copied at once, so first tokens are never late: what is left is decoding.
_INSTANT = Device("instant", peak=1e30, bandwidth=1e30, memory=1e30)


def prefill_goodput(
    traffic: Traffic, pool: Pool, objectives: Objectives, target: float = 0.9, *, highest: float
) -> float:
    """Requests a second of a pool that only computes prompts; only the first token's objective counts."""

    def share(rate: float) -> float:
        return attainment(simulate(first_tokens_only(traffic(rate)), pool).jobs, objectives)

    return goodput(share, target, highest=highest)


def decode_goodput(
    traffic: Traffic, pool: Pool, objectives: Objectives, target: float = 0.9, *, highest: float
) -> float:
    """Requests a second of a pool that only decodes; only the following tokens' objective counts."""
    source = Pool(replace(pool.cost, device=_INSTANT), prompts_only(1))

    def share(rate: float) -> float:
        return attainment(simulate(traffic(rate), source, pool).jobs, objectives)

    return goodput(share, target, highest=highest)


@dataclass(frozen=True, slots=True)
class Split:
    """n_prefill and n_decode instances; rate: requests a second that both can serve, for each device."""

    n_prefill: int
    n_decode: int
    rate: float


def best_split(
    prefill: float, decode: float, most: int, *, prefill_devices: int = 1, decode_devices: int = 1
) -> Split:
    """The mixture of at most `most` instances with the highest goodput a device, the smaller one of equals.

    prefill, decode: goodput of one instance of each kind. The slower side limits both:
    min(n · prefill, m · decode) / (devices of n and m).
    ValueError if there is no room for one of each.

    >>> best_split(5.6, 10, 3)  # DistServe's example: 13B on A100, 512 tokens in and 64 out
    Split(n_prefill=2, n_decode=1, rate=3.3333333333333335)
    """
    if most < 2:
        raise ValueError(f"most is {most}; there must be room for one instance of each kind")
    splits = [
        Split(n, m, min(n * prefill, m * decode) / (n * prefill_devices + m * decode_devices))
        for n in range(1, most)
        for m in range(1, most - n + 1)
    ]
    return max(splits, key=lambda split: (split.rate, -split.n_prefill - split.n_decode))

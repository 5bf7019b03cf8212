"""The simulation agrees with the queues that can be solved by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.inference.simulation.metrics import ttfts
from teachllm.stack.inference.simulation.policy import prompts_only
from teachllm.stack.inference.simulation.queueing import Parallelism, crossover_rate, mean_ttft
from teachllm.stack.inference.simulation.simulator import Pool, simulate
from teachllm.stack.inference.simulation.workload import constant, first_tokens_only, poisson_arrivals
from teachllm.stack.models.presets import PRESETS

DEVICE = Device("test", peak=150e12, bandwidth=2e12, memory=80e9, link=2e11)
ONE = StepTimes(PRESETS["llama2-13b"], DEVICE)
PROMPT = [(0, 512)]
D = ONE.seconds(PROMPT, 1)


@pytest.mark.parametrize("load", [0.4, 0.75])
@pytest.mark.parametrize("parallelism", ["none", "tensor", "pipeline"])
def test_simulated_first_tokens_come_when_the_formula_says(parallelism: Parallelism, load: float) -> None:
    cost = replace(
        ONE,
        tensor_parallel=2 if parallelism == "tensor" else 1,
        pipeline_stages=2 if parallelism == "pipeline" else 1,
    )
    speedup = replace(ONE, tensor_parallel=2).speedup(PROMPT, 1)
    assert 1.2 < speedup < 1.95
    capacity = {"none": 1, "tensor": speedup, "pipeline": 2}[parallelism] / D
    rate = load * capacity
    arrivals = first_tokens_only(poisson_arrivals(rate, 8_000, constant(512), constant(1), seed=3))
    simulated = ttfts(simulate(arrivals, Pool(cost, prompts_only(1))).jobs)
    # Waits of neighbours go together, so 8,000 of them say as much as a few hundred independent ones.
    assert simulated.mean() == pytest.approx(mean_ttft(rate, D, parallelism, speedup), rel=0.05)
    assert simulated.min() == pytest.approx(D / speedup if parallelism == "tensor" else D)


def test_formulas_at_their_ends() -> None:
    assert mean_ttft(0, 0.1) == mean_ttft(0, 0.1, "pipeline") == 0.1
    assert mean_ttft(0, 0.1, "tensor", 1.6) == pytest.approx(0.1 / 1.6)
    assert mean_ttft(10, 0.1) == mean_ttft(20, 0.1, "pipeline") == math.inf
    assert mean_ttft(16, 0.1, "tensor", 1.6) == math.inf
    # by hand: R D = 1/2, so the wait is D / 2
    assert mean_ttft(5, 0.1) == pytest.approx(0.15)
    # D + R D² / (4 (2 − R D)) and D / K + R D² / (2 K (K − R D)), as in the paper
    assert mean_ttft(12, 0.1, "pipeline") == pytest.approx(0.1 + 12 * 0.01 / (4 * 0.8))
    assert mean_ttft(12, 0.1, "tensor", 1.5) == pytest.approx(0.1 / 1.5 + 12 * 0.01 / (3 * 0.3))


@pytest.mark.parametrize("speedup", [1.2, 1.5, 1.9])
def test_tensor_parallelism_wins_below_the_crossover_only(speedup: float) -> None:
    rate = crossover_rate(0.1, speedup)
    assert 0 < rate < speedup / 0.1
    assert mean_ttft(0.99 * rate, 0.1, "tensor", speedup) < mean_ttft(0.99 * rate, 0.1, "pipeline")
    assert mean_ttft(1.01 * rate, 0.1, "tensor", speedup) > mean_ttft(1.01 * rate, 0.1, "pipeline")
    assert crossover_rate(0.1, 2.0) == math.inf


def test_impossible_numbers_are_refused() -> None:
    for rate, seconds, speedup in ((-1, 0.1, 1.5), (1, 0, 1.5), (1, 0.1, 1.0), (1, 0.1, 2.1)):
        with pytest.raises(ValueError, match="speedup"):
            mean_ttft(rate, seconds, "tensor", speedup)

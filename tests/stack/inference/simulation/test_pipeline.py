"""Stages and bubbles, on a schedule that can be followed by hand and beside the simulator's own steps."""

from __future__ import annotations

import pytest

from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.pipeline import bubble_share, pipeline_starts
from teachllm.stack.inference.simulation.policy import chunked
from teachllm.stack.inference.simulation.profiles import A6000
from teachllm.stack.inference.simulation.simulator import Pool, simulate
from teachllm.stack.inference.simulation.workload import Arrival, lognormal, poisson_arrivals
from teachllm.stack.models.presets import PRESETS


def test_a_long_batch_stops_the_stage_behind_it_and_its_own_texts() -> None:
    # The second takes 3: stage 2 waits for it at 2–4. The fourth holds its texts, which leave at 7, so that
    # stage 1, free from 5 on, waits too.
    assert pipeline_starts([1, 3, 1, 1], 2) == [[0, 1], [1, 4], [4, 7], [7, 8]]
    assert bubble_share(pipeline_starts([1, 3, 1, 1], 2), [1, 3, 1, 1]) == pytest.approx(1 - 6 / 9)


def test_equal_batches_only_fill_and_drain() -> None:
    for n_stages in (1, 2, 5):
        starts = pipeline_starts([0.5] * 20, n_stages)
        assert starts == [[0.5 * (i + s) for s in range(n_stages)] for i in range(20)]
        assert bubble_share(starts, [0.5] * 20) == pytest.approx((n_stages - 1) / (20 + n_stages - 1))


def test_nothing_to_lay_out() -> None:
    assert pipeline_starts([], 3) == []
    with pytest.raises(ValueError, match="n_stages is 0"):
        pipeline_starts([1.0], 0)
    with pytest.raises(ValueError, match="no batches"):
        bubble_share([], [])


@pytest.mark.parametrize("policy", [chunked(64), chunked(128)])
def test_the_simulator_passes_its_steps_through_the_same_pipeline(policy) -> None:
    times = StepTimes(PRESETS["llama2-13b"], A6000, pipeline_stages=3)
    lengths = poisson_arrivals(1, 40, lognormal(300, 0.7, 1500), lognormal(30, 0.5, 90), seed=4)
    requests = [Arrival(0.0, arrival.prompt, arrival.output) for arrival in lengths]
    steps = simulate(requests, Pool(times, policy, max_running=30)).workers[0].steps
    steps = steps[: len(steps) // 2]  # as long as each batch finds texts that no other holds
    starts = pipeline_starts([step.stage_seconds for step in steps], 3)
    assert [step.starts for step in steps] == [pytest.approx(row) for row in starts]

"""The simulator on traces that can be followed by hand, and what must hold in any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from teachllm.stack.inference.disaggregation.dispatch import least_loaded, round_robin, shortest_queue
from teachllm.stack.inference.engine.request import NeverFits
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.inference.simulation.metrics import tpots, ttfts
from teachllm.stack.inference.simulation.pipeline import bubble_share
from teachllm.stack.inference.simulation.policy import Policy, chunked, mixed, prompts_first, prompts_only
from teachllm.stack.inference.simulation.simulator import Outcome, Pool, simulate
from teachllm.stack.inference.simulation.worker import Step
from teachllm.stack.inference.simulation.workload import Arrival, constant, lognormal, poisson_arrivals
from teachllm.stack.models.presets import PRESETS

LLAMA = PRESETS["llama2-13b"]
WEIGHTS = LLAMA.n_parameters * 2
DEVICE = Device("test", peak=150e12, bandwidth=2e12, memory=80e9)


@dataclass(frozen=True)
class Seconds(StepTimes):
    """Simple times for traces by hand: a second a step, and a hundredth for each token of a prompt."""

    def seconds(self, pieces: Sequence[tuple[int, int]], n_sampled: int) -> float:
        return 1 + sum(new for _, new in pieces if new > 1) / 100


BY_HAND = Seconds(LLAMA, DEVICE)


def bubbles(steps: Sequence[Step]) -> float:
    return bubble_share([step.starts for step in steps], [step.stage_seconds for step in steps])


def first_and_last(outcome: Outcome) -> list[tuple[float, float]]:
    return [(round(job.first_token, 6), round(job.last_token, 6)) for job in outcome.jobs]


TWO = [Arrival(0, 100, 4), Arrival(2.5, 100, 2)]


def test_prompts_first_make_the_others_wait() -> None:
    # 0–2 prompt A, 2–3 A, 3–5 prompt B (A waits), 5–6 both, 6–7 A.
    outcome = simulate(TWO, Pool(BY_HAND, prompts_first(100)))
    assert first_and_last(outcome) == [(2, 7), (5, 6)]
    assert [(s.prefill, s.decode) for s in outcome.workers[0].steps] == [
        (100, 0),
        (0, 1),
        (100, 0),
        (0, 2),
        (0, 1),
    ]
    assert outcome.jobs[0].longest_gap == pytest.approx(3)


def test_mixed_batches_let_them_go_on_slowly() -> None:
    # 0–2 prompt A, 2–3 A, 3–5 prompt B and A, 5–6 both.
    outcome = simulate(TWO, Pool(BY_HAND, mixed()))
    assert first_and_last(outcome) == [(2, 6), (5, 6)]
    assert outcome.jobs[0].longest_gap == pytest.approx(2)


def test_chunks_keep_every_step_short() -> None:
    # Budget 51: A in 51 + 49, then its tokens beside chunks of 50 of B.
    outcome = simulate(TWO, Pool(BY_HAND, chunked(51)))
    assert [(s.prefill, s.decode) for s in outcome.workers[0].steps] == [
        *((51, 0), (49, 0), (50, 1), (50, 1), (0, 2))
    ]
    # 1.51 + 1.49 = 3, then B is there; 1.5 each, and one more second for both last tokens.
    assert first_and_last(outcome) == [(3, 7), (6, 7)]
    assert outcome.jobs[0].longest_gap == pytest.approx(1.5)


def test_apart_nobody_waits_for_the_others_phase_but_the_cache_must_cross() -> None:
    # Prompts 0–2 and 2.5–4.5; a cache of 100 tokens takes half a second; then A has its three steps alone.
    link = 100 * BY_HAND.cache_bytes_per_token / 0.5
    outcome = simulate(TWO, Pool(BY_HAND, prompts_only(100)), Pool(BY_HAND, chunked(512)), link=link)
    assert first_and_last(outcome) == [(2, 5.5), (4.5, 6.5)]
    assert [(t.begun, t.ended) for t in outcome.transfers] == [(2, 2.5), (4.5, 5)]
    assert outcome.transfers[0].n_bytes == 100 * BY_HAND.cache_bytes_per_token
    # B comes at 5 and goes along from 5.5 on
    assert [step.decode for step in outcome.decode_workers[0].steps] == [1, 1, 1, 1]


def test_a_slow_link_is_used_by_one_cache_after_another() -> None:
    arrivals = [Arrival(0, 100, 2), Arrival(0, 100, 2)]
    link = 100 * BY_HAND.cache_bytes_per_token / 10
    outcome = simulate(arrivals, Pool(BY_HAND, prompts_only(200)), Pool(BY_HAND, chunked(512)), link=link)
    assert [(t.begun, t.ended) for t in outcome.transfers] == [(3, 13), (13, 23)]
    assert first_and_last(outcome) == [(3, 14), (3, 24)]


def test_a_pipeline_starts_the_next_prompt_when_its_first_stage_is_free() -> None:
    cost = replace(BY_HAND, pipeline_stages=2)
    arrivals = [Arrival(0, 100, 1), Arrival(0, 100, 1), Arrival(0, 300, 1), Arrival(0, 100, 1)]
    outcome = simulate(arrivals, Pool(cost, prompts_only(1)))
    # Halves of 2, 2, 4 and 2 seconds. The fourth has its first half at 4–5 and waits for the third's second
    # half, 4–6: a bubble of one second in stage 2 before it ends at 7. Stage 1 is idle from 5 on.
    assert [job.first_token for job in outcome.jobs] == [2, 3, 6, 7]
    assert bubbles(outcome.workers[0].steps) == pytest.approx(1 - 2 * 5 / (2 * 7))


def test_equal_batches_leave_no_bubbles_but_filling_and_draining() -> None:
    cost = replace(BY_HAND, pipeline_stages=2)
    outcome = simulate([Arrival(0, 100, 1)] * 50, Pool(cost, prompts_only(1)))
    assert bubbles(outcome.workers[0].steps) == pytest.approx(1 / 51)
    with pytest.raises(ValueError, match="no batches"):
        bubble_share((), ())


def test_a_pipeline_decodes_twice_as_many_texts_at_no_more_seconds_a_token() -> None:
    # Not a token comes sooner: each passes both stages. But two batches are on their way.
    arrivals = [Arrival(0, 16, 101)] * 40
    one = simulate(arrivals[:20], Pool(BY_HAND, mixed()))
    two = simulate(arrivals, Pool(replace(BY_HAND, pipeline_stages=2), mixed()))
    assert tpots(one.jobs).max() == pytest.approx(1)
    assert tpots(two.jobs).max() == pytest.approx(1, rel=0.06)
    assert bubbles(two.workers[0].steps) < 0.1  # both stages have something to do


def small(n_blocks: int) -> StepTimes:
    """A cost whose device has room for so many blocks of 16 tokens."""
    memory = (WEIGHTS + (n_blocks * 16 + 1) * 819_200) / 0.9
    return replace(BY_HAND, device=replace(DEVICE, memory=memory))


def test_the_youngest_gives_its_memory_to_the_oldest_and_begins_again() -> None:
    # Prompts of 32 and 30 tokens take 2 blocks each of 6; both may start, as two blocks are left for the next
    # tokens. A takes the fifth at 33, B the sixth at 33; at 49 A wants another, and B has to go.
    outcome = simulate([Arrival(0, 32, 33), Arrival(0, 30, 33)], Pool(small(6), mixed()))
    assert [job.preemptions for job in outcome.jobs] == [0, 1]
    assert all(job.written == 33 for job in outcome.jobs)
    old, young = outcome.jobs
    # 0–1.62 both prompts; 32 steps of A. In 16 of them B went along: 17 tokens. Its 47 tokens give the
    # 18th at once, and 15 steps the rest.
    assert old.last_token == pytest.approx(1.62 + 32)
    assert young.last_token == pytest.approx(1.62 + 32 + 1.47 + 15)


def test_who_would_soon_be_pushed_out_waits_instead() -> None:
    outcome = simulate([Arrival(0, 32, 17), Arrival(0, 32, 17)], Pool(small(4), mixed()))
    assert [job.preemptions for job in outcome.jobs] == [0, 0]
    assert [round(job.first_token, 6) for job in outcome.jobs] == [1.32, 1.32 + 16 + 1.32]


def test_who_can_never_fit_is_refused() -> None:
    with pytest.raises(NeverFits, match="take 7 blocks; worker 0 has 6"):
        simulate([Arrival(0, 90, 10)], Pool(small(6), mixed()))
    with pytest.raises(ValueError, match="leave no room"):
        simulate([Arrival(0, 1, 1)], Pool(StepTimes(PRESETS["llama3-70b"], DEVICE), mixed()))


@pytest.mark.parametrize("policy", [prompts_first(64), mixed(), chunked(48)], ids=lambda policy: policy.name)
@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("apart", [False, True])
def test_under_pressure_everybody_is_served_and_no_block_is_lost(
    policy: Policy, stages: int, apart: bool
) -> None:
    cost = replace(small(40), pipeline_stages=stages)
    cost = replace(cost, device=replace(cost.device, memory=cost.device.memory / stages))
    arrivals = poisson_arrivals(2.0, 150, lognormal(60, 0.8, 300), lognormal(40, 1.0, 300), seed=stages)
    pool = Pool(cost, policy, n=2, max_running=12)
    prefill = replace(pool, policy=prompts_only(64))
    outcome = simulate(arrivals, prefill, pool, link=1e9) if apart else simulate(arrivals, pool)
    assert [job.written for job in outcome.jobs] == [arrival.output for arrival in arrivals]
    assert sum(job.preemptions for job in outcome.jobs) > 0
    for worker in (*outcome.workers, *outcome.decode_workers):
        worker.check_integrity()
        assert worker.free_blocks == worker.n_blocks
    for job in outcome.jobs:
        assert job.arrival.time < job.first_token <= job.last_token < math.inf
    # Each token after a first one was made by one decoding step.
    decoded = sum(s.decode for w in (*outcome.workers, *outcome.decode_workers) for s in w.steps)
    recomputed_last = sum(job.preemptions for job in outcome.jobs)
    assert 0 <= sum(a.output - 1 for a in arrivals) - decoded <= recomputed_last


def test_the_same_seed_gives_the_same_times_and_another_rate_only_other_arrivals() -> None:
    lengths = (lognormal(200, 0.7, 2000), lognormal(100, 0.7, 1000))
    slow, fast, other = (
        poisson_arrivals(rate, 2000, *lengths, seed=seed) for rate, seed in ((2, 1), (4, 1), (2, 2))
    )
    assert [(a.prompt, a.output) for a in slow] == [(a.prompt, a.output) for a in fast]
    assert slow[-1].time == pytest.approx(2 * fast[-1].time)
    assert slow != other
    assert slow[-1].time == pytest.approx(1000, rel=0.06)  # 2,000 gaps of half a second
    prompts = sorted(a.prompt for a in slow)
    assert prompts[1000] == pytest.approx(200, rel=0.05)
    with pytest.raises(ValueError, match="rate is 0"):
        poisson_arrivals(0, 1, constant(1), constant(1))
    with pytest.raises(ValueError, match="at least one"):
        Arrival(0, 0, 1)


def test_dispatching_by_work_beats_taking_turns() -> None:
    # Every second prompt is long: by turns, one worker gets all of them.
    arrivals = [Arrival(i * 1.6, 400 if i % 2 else 20, 1) for i in range(60)]
    pool = Pool(BY_HAND, prompts_only(1), n=2)
    by_turns = ttfts(simulate(arrivals, pool, dispatch=round_robin()).jobs)
    by_queue = ttfts(simulate(arrivals, pool, dispatch=shortest_queue).jobs)
    assert by_queue.mean() < 0.5 * by_turns.mean()


def test_decoding_goes_where_the_fewest_jobs_are() -> None:
    arrivals = [Arrival(0.0, 100, 50)] * 8
    outcome = simulate(
        arrivals,
        Pool(BY_HAND, prompts_only(100)),
        Pool(BY_HAND, chunked(512), n=4),
        dispatch_decode=least_loaded,
    )
    assert [max(step.decode for step in worker.steps) for worker in outcome.decode_workers] == [2, 2, 2, 2]

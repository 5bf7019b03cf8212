"""The shape of two papers' results comes out of the simulation, which knows only how long steps take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.metrics import Objectives, attainment, goodput
from teachllm.stack.inference.simulation.pipeline import bubble_share
from teachllm.stack.inference.simulation.placement import best_split, decode_goodput, prefill_goodput
from teachllm.stack.inference.simulation.policy import Policy, chunked, mixed, prompts_first, prompts_only
from teachllm.stack.inference.simulation.profiles import A100, A6000, OPT_13B
from teachllm.stack.inference.simulation.simulator import Pool, simulate
from teachllm.stack.inference.simulation.worker import Step
from teachllm.stack.inference.simulation.workload import Arrival, constant, lognormal, poisson_arrivals
from teachllm.stack.models.presets import PRESETS

LLAMA_13B = StepTimes(PRESETS["llama2-13b"], A6000)


def test_distserve_decoding_holds_colocation_back_and_apart_each_device_serves_twice_as_many() -> None:
    # Section 1, figure 1: OPT-13B on A100, 512 tokens in, 64 out, 90 % within 0.4 s and 40 ms a token. There:
    # 1.6 requests a second together, 5.6 for prefill alone, 10 for decoding alone, 3.3 a device with two to
    # one.
    cost, never = StepTimes(OPT_13B, A100), math.inf

    def kept(rate: float, *pools: Pool, ttft: float = 0.4, tpot: float = 0.04, output: int = 64) -> float:
        requests = poisson_arrivals(rate, 250, constant(512), constant(output))
        return attainment(simulate(requests, *pools, link=300e9).jobs, Objectives(ttft, tpot))

    together, prompts, tokens = prompts_first(2048), prompts_only(512), chunked(512)
    rate = goodput(lambda rate: kept(rate, Pool(cost, together)), highest=16)
    assert 1.5 < rate < 5
    # The tokens that follow are the bottleneck: first tokens would allow for twice as many requests,
    assert kept(1.1 * rate, Pool(cost, together), ttft=never) < 0.9
    assert kept(2 * rate, Pool(cost, together), tpot=never) > 0.9
    # and so would a device that only prefills; one that only decodes would allow for several times as many.
    assert kept(2 * rate, Pool(cost, prompts), output=1) > 0.9
    assert kept(5 * rate, Pool(cost, prompts, n=50), Pool(cost, tokens)) > 0.9
    # Three to one, each of the four devices serves twice as many as together.
    assert kept(4 * 2 * rate, Pool(cost, prompts, n=3), Pool(cost, tokens)) > 0.9


def test_distserve_phases_alone_and_their_mixture() -> None:
    cost, objectives = StepTimes(OPT_13B, A100), Objectives(0.4, 0.04)

    def traffic(rate: float) -> tuple[Arrival, ...]:
        return poisson_arrivals(rate, 60, constant(512), constant(16))

    prefill = prefill_goodput(traffic, Pool(cost, prompts_only(512)), objectives, highest=32)
    decode = decode_goodput(traffic, Pool(cost, chunked(512)), objectives, highest=256)
    assert 5 < prefill < 1 / cost.seconds([(0, 512)], 1)  # never more than without any gap
    assert decode > 3 * prefill
    split = best_split(prefill, decode, 4)
    assert (split.n_prefill, split.n_decode) == (3, 1)
    assert split.rate == pytest.approx(3 * prefill / 4)
    # If an instance for decoding takes two devices, two to one gives 10 / 4, one to one only 5.6 / 3.
    assert best_split(5.6, 10, 3, decode_devices=2).rate == pytest.approx(10 / 4)
    with pytest.raises(ValueError, match="most is 1"):
        best_split(1, 1, 1)


def test_sarathi_decoding_beside_a_prompt_is_nearly_free() -> None:
    # Table 2: 1,021 tokens of a prompt and 3 texts that decode took 238.4 ms.
    together = LLAMA_13B.seconds([(0, 1021), *[(1023, 1)] * 3], 4)
    assert together == pytest.approx(0.2384, rel=0.01)
    alone = LLAMA_13B.seconds([(0, 1021)], 1)
    assert (together - alone) / 3 < LLAMA_13B.seconds([(1023, 1)] * 4, 4) / 4 / 5


def bubbles(steps: Sequence[Step]) -> float:
    return bubble_share([step.starts for step in steps], [step.stage_seconds for step in steps])


def finished(policy: Policy, prompt: int, output: int) -> float:
    """Seconds until 72 equal requests, 18 at a time, are served."""
    pool = Pool(LLAMA_13B, policy, max_running=18)
    outcome = simulate([Arrival(0, prompt, output)] * 72, pool)
    return max(job.last_token for job in outcome.jobs)


@pytest.mark.parametrize("chunk", [256, 512])
def test_sarathi_gains_most_where_prompts_have_as_many_chunks_as_there_are_tokens_to_write(
    chunk: int,
) -> None:
    # Section 5.1.3: throughput peaks at P : D = C / (B − 1), by up to 1.33 for LLaMA-13B on A6000.
    best = chunk / (18 - 1)

    def gain(ratio: float) -> float:
        prompt = round(1024 * ratio / (ratio + 1))
        whole = finished(prompts_first(4096), prompt, 1024 - prompt)
        return whole / finished(chunked(chunk), prompt, 1024 - prompt)

    assert 1.15 < gain(best) < 1.4
    assert gain(best) > gain(best / 3) > 1
    assert gain(best) > gain(best * 3) > 1


def test_sarathi_small_chunks_do_not_fill_the_device() -> None:
    def seconds(chunk: int) -> float:
        return sum(LLAMA_13B.seconds([(done, chunk)], 1) for done in range(0, 1024, chunk))

    assert seconds(64) > 2.5 * seconds(1024)
    assert seconds(128) > 1.2 * seconds(1024)
    assert seconds(512) < 1.05 * seconds(1024)


def test_sarathi_even_batches_close_the_bubbles_of_a_pipeline() -> None:
    cost = StepTimes(PRESETS["llama2-13b"], A6000, pipeline_stages=4)
    requests = [
        Arrival(0, arrival.prompt, arrival.output)
        for arrival in poisson_arrivals(1, 120, lognormal(800, 0.7, 3000), lognormal(80, 0.7, 300))
    ]
    idle = {
        policy.name: bubbles(simulate(requests, Pool(cost, policy, max_running=72)).workers[0].steps)
        for policy in (mixed(), chunked(256))
    }
    assert idle["chunked 256"] < 0.5 * idle["mixed"]

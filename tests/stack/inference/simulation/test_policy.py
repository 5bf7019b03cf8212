"""How a step is shared out, where the engine's own rule is not the one."""

from __future__ import annotations

import pytest

from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.policy import (
    Policy,
    chunked,
    decode_maximal,
    share_decode_maximal,
)
from teachllm.stack.inference.simulation.profiles import A6000
from teachllm.stack.inference.simulation.simulator import Pool, simulate
from teachllm.stack.inference.simulation.workload import Arrival
from teachllm.stack.models.presets import PRESETS


def test_chunk_and_decodes_are_whole_tiles_together() -> None:
    # Section 4.4 of the paper: a chunk of 256 − (B − 1).
    shares = share_decode_maximal([1] * 17 + [1024], 256, 128)
    assert shares == [1] * 17 + [256 - 17]
    assert share_decode_maximal([1000, 1, 1], 383, 128) == [254, 1, 1]
    assert share_decode_maximal([1000, 1, 1], 384, 128) == [382, 1, 1]


def test_one_prompt_a_step_and_its_end_is_what_is_left() -> None:
    assert share_decode_maximal([1, 30, 400, 1], 256, 128) == [1, 30, 0, 1]
    assert share_decode_maximal([0, 0, 30, 400], 256) == [0, 0, 30, 0]


def test_texts_that_decode_come_first() -> None:
    assert share_decode_maximal([50, *[1] * 130], 256, 128) == [50, *[1] * 130]
    assert share_decode_maximal([50, *[1] * 130], 200, 128) == [0, *[1] * 130]
    assert share_decode_maximal([50, 1, 1, 1], 2) == [0, 1, 1, 0]
    for tile, budget in ((0, 10), (128, 100)):
        with pytest.raises(ValueError, match=f"tile is {tile} and budget {budget}"):
            share_decode_maximal([1], budget, tile)


def test_many_prompts_shorter_than_a_chunk_leave_some_of_it_unused() -> None:
    times = StepTimes(PRESETS["llama2-13b"], A6000)

    def seconds(policy: Policy, prompt: int) -> float:
        pool = Pool(times, policy, max_running=18)
        return max(job.last_token for job in simulate([Arrival(0, prompt, 4)] * 36, pool).jobs)

    assert seconds(decode_maximal(256), 100) > 1.3 * seconds(chunked(256), 100)
    assert seconds(decode_maximal(256), 1000) < 1.05 * seconds(chunked(256), 1000)

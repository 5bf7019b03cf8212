"""The real engine is seen as what it computes, and the simulation schedules as it does, step by step."""

from __future__ import annotations

import random

import pytest

from teachllm.stack.inference import LanguageModel
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import RequestOptions
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.inference.simulation.measure import (
    Composition,
    measure_engine,
    step_and_measure,
)
from teachllm.stack.inference.simulation.policy import chunked
from teachllm.stack.inference.simulation.simulator import Pool, simulate
from teachllm.stack.inference.simulation.workload import Arrival
from teachllm.stack.models.llama import Llama
from teachllm.stack.nn.kv_cache import kv_cache_bytes
from teachllm.stack.tokenizer import Tokenizer


@pytest.fixture
def model(tiny_llama: Llama, tokenizer: Tokenizer) -> LanguageModel:
    return LanguageModel("tiny", tiny_llama, tokenizer, None, (), frozenset())


def test_each_composition_is_what_was_measured(model: LanguageModel) -> None:
    wanted = (
        Composition(new=20),
        Composition(new=8, cached=24),
        Composition(decoding=3, length=10),
        Composition(decoding=2, length=16, new=30),
    )
    prompt, chunk, decoding, both = measure_engine(model, wanted, repeats=3)
    assert (prompt.pieces, prompt.n_sampled) == (((0, 20),), 1)
    assert (chunk.pieces, chunk.n_sampled) == (((24, 8),), 1)
    assert [new for _, new in decoding.pieces] == [1, 1, 1]
    assert all(10 <= cached < 13 for cached, _ in decoding.pieces)
    assert decoding.n_sampled == 3
    assert sorted(new for _, new in both.pieces) == [1, 1, 30]
    assert both.n_sampled == 3
    assert all(step.seconds > 0 for step in (prompt, chunk, decoding, both))


def test_a_chunk_gives_no_token_and_a_step_after_which_a_text_is_gone_is_not_measured(
    model: LanguageModel,
) -> None:
    engine = Engine(model, EngineConfig(max_batch_tokens=16, max_running=4, prefix_caching=False))
    engine.add([1] * 20, RequestOptions(max_tokens=2, end_tokens=frozenset()))
    first, second = step_and_measure(engine), step_and_measure(engine)
    assert first is not None
    assert (first.pieces, first.n_sampled) == (((0, 16),), 0)
    assert second is not None
    assert (second.pieces, second.n_sampled) == (((16, 4),), 1)
    assert step_and_measure(engine) is None  # its last token
    assert step_and_measure(engine) is None  # nothing to do


@pytest.mark.parametrize(("n_blocks", "presses"), [(7, True), (12, False), (64, False)])
def test_the_simulation_forms_the_steps_of_the_engine(
    model: LanguageModel, tiny_llama: Llama, n_blocks: int, presses: bool
) -> None:
    draw = random.Random(n_blocks)
    requests = [(draw.randint(2, 60), draw.randint(1, 30)) for _ in range(25)]
    budget, most = 24, 6
    config = EngineConfig(max_batch_tokens=budget, max_running=most, n_blocks=n_blocks, prefix_caching=False)
    engine = Engine(model, config)
    for prompt, output in requests:
        tokens = [draw.randrange(256) for _ in range(prompt)]
        engine.add(tokens, RequestOptions(max_tokens=output, end_tokens=frozenset()))
    real, preempted = [], 0
    while engine.has_work:
        engine.step()
        record = engine.snapshot().steps[-1]
        preempted += record.preempted
        real.append((record.prefill, record.decode))

    sizes = tiny_llama.config
    room = (n_blocks * 16 + 1) * kv_cache_bytes(sizes.n_layers, sizes.n_kv_heads, sizes.head_dim, 1)
    memory = (sizes.n_parameters * 2 + room) / 0.9
    times = StepTimes(sizes, Device("tiny", peak=1e9, bandwidth=1e9, memory=memory))
    arrivals = [Arrival(0.0, prompt, output) for prompt, output in requests]
    outcome = simulate(arrivals, Pool(times, chunked(budget), max_running=most))
    worker = outcome.workers[0]
    assert worker.n_blocks == n_blocks
    assert [(step.prefill, step.decode) for step in worker.steps] == real
    assert sum(job.preemptions for job in outcome.jobs) == preempted
    assert (preempted > 0) == presses

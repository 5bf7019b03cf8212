"""How large a cache is made, and how many requests it holds."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from teachllm.stack.inference.engine import capacity
from teachllm.stack.inference.engine.blocks import BlockPool
from teachllm.stack.inference.engine.capacity import blocks_on, blocks_that_fit, max_concurrent
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import RequestOptions
from teachllm.stack.inference.simulation.profiles import OPT_13B

GIB = 2**30


def test_the_example_of_the_paper() -> None:
    # Kwon et al. 2023, table 1: OPT-13B on an A100 of 40 GB has 12 GB for 15.7K slots.
    n_slots = 16 * blocks_that_fit(40 * GIB, 2 * OPT_13B.n_parameters, 16 * 819_200, 0.9)
    assert n_slots == pytest.approx(15_700, rel=0.01)
    reserved = max_concurrent([2048] * 99, 40 * GIB, 2 * OPT_13B.n_parameters, 819_200, block_size=2048)
    assert reserved == 7


def test_it_is_what_a_pool_of_that_size_holds() -> None:
    rng = random.Random(0)
    for _ in range(200):
        lengths = [rng.randint(1, 60) for _ in range(rng.randint(0, 12))]
        n_blocks, block_size = rng.randint(1, 40), rng.choice((1, 3, 16))
        pool = BlockPool(n_blocks, block_size)
        held = 0
        for length in lengths:
            table = pool.open([])
            if pool.blocks_needed(table, length) > pool.n_free:
                break
            pool.extend(table, length)
            held += 1
        given = max_concurrent(lengths, n_blocks * block_size * 8, 0, 8, share=1.0, block_size=block_size)
        assert given == held


def test_an_engine_holds_no_fewer(make_engine: Callable[..., Engine]) -> None:
    """It lets in who fits now: at least as many as would fit at their full length, at most as many as would
    with their prompts alone.
    """
    engine = make_engine(n_blocks=20, max_batch_tokens=200, prefix_caching=False)
    for i in range(10):
        engine.add([i] * 9, RequestOptions(max_tokens=8, end_tokens=frozenset()))
    engine.step()
    least, most = (max_concurrent([n] * 10, 20 * 4, 0, 1, share=1.0, block_size=4) for n in (17, 9))
    assert least <= engine.snapshot().steps[-1].running <= most


def test_a_cache_is_made_for_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "device_memory", lambda device: (1000, 300))
    assert blocks_on(torch.device("cpu"), 100, 0.75) == 4
    with pytest.raises(ValueError, match=r"memory_share is 0\.3.*no block of 100 bytes fits"):
        blocks_on(torch.device("cpu"), 100, 0.3)
    assert blocks_on(torch.device("cpu"), 2**20, None) == 512


def test_the_share_is_the_engine_s(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "device_memory", lambda device: (100_000, 20_000))
    engine = make_engine(n_blocks=None, memory_share=0.5)
    assert len(engine.snapshot().blocks) == 30_000 // (2 * 2 * 2 * 8 * 4 * 4)  # 1 KiB a block


def test_sizes_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        EngineConfig(n_blocks=3, memory_share=0.5)
    with pytest.raises(ValueError, match=r"memory_share is 1\.5"):
        EngineConfig(memory_share=1.5)

"""A simulated step costs what the roofline of the real model says; calibration finds the device again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from teachllm.stack.inference.roofline import roofline_seconds, step_cost
from teachllm.stack.inference.simulation.calibration import MeasuredStep, calibrate
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.inference.simulation.profiles import (
    A100,
    A100_DATA_SHEET,
    OPT_13B,
    published_a100_steps,
)
from teachllm.stack.models.presets import PRESETS

DEVICE = Device("test", peak=100e12, bandwidth=1e12, memory=80e9, link=1e11, overhead=0.002)
LLAMA = PRESETS["llama2-13b"]


@pytest.mark.parametrize("name", ["llama2-13b", "llama3-8b"])
@pytest.mark.parametrize("texts", [[(699, 1)] * 5, [(0, 512)], [(100, 256), (2000, 1), (3, 1)]])
def test_a_step_does_the_work_that_the_roofline_counts(name: str, texts: list[tuple[int, int]]) -> None:
    work = StepTimes(PRESETS[name], DEVICE).work(texts, len(texts))
    expected = step_cost(PRESETS[name], texts)
    assert work.matrix_flops + sum(f for f, _ in work.attention) == pytest.approx(expected.flops)
    assert work.weight_bytes == expected.weight_bytes
    assert sum(b for _, b in work.attention) == expected.cache_bytes


def test_seconds_are_the_rooflines_of_the_work() -> None:
    cost = StepTimes(LLAMA, DEVICE)
    pieces = [(50, 300), (2000, 1), (3, 1)]
    work = cost.work(pieces, 2)
    parts = [(work.matrix_flops, work.weight_bytes), *work.attention]
    expected = 0.002 + sum(roofline_seconds(f, b, DEVICE.peak, DEVICE.bandwidth) for f, b in parts)
    assert cost.seconds(pieces, 2) == pytest.approx(expected)


def test_without_overlap_reading_waits_for_computing() -> None:
    sequential = StepTimes(LLAMA, replace(DEVICE, overlap=0.0))
    work = sequential.work([(50, 300)], 1)
    flops, n_bytes = work.matrix_flops + work.attention[0][0], work.weight_bytes + work.attention[0][1]
    expected = 0.002 + flops / DEVICE.peak + n_bytes / DEVICE.bandwidth
    assert sequential.seconds([(50, 300)], 1) == pytest.approx(expected)


def test_chunks_add_up_to_the_prompt_but_read_what_was_read_before() -> None:
    cost = StepTimes(LLAMA, DEVICE)
    whole = cost.work([(0, 512)], 1)
    chunks = [cost.work([(before, 128)], int(before == 384)) for before in range(0, 512, 128)]
    assert sum(c.matrix_flops for c in chunks) == pytest.approx(whole.matrix_flops)
    assert sum(c.attention[0][0] for c in chunks) == pytest.approx(whole.attention[0][0])
    # the cache is read 128 + 256 + 384 + 512 tokens far, and the weights four times
    assert sum(c.attention[0][1] for c in chunks) == pytest.approx(2.5 * whole.attention[0][1])
    assert sum(c.weight_bytes for c in chunks) == 4 * whole.weight_bytes


def test_two_devices_are_less_than_twice_as_fast() -> None:
    free_talk = StepTimes(LLAMA, replace(DEVICE, link=math.inf, overhead=0.0), tensor_parallel=2)
    assert free_talk.speedup([(0, 512)], 1) == pytest.approx(2)
    assert 1 < StepTimes(LLAMA, DEVICE, tensor_parallel=2).speedup([(0, 512)], 1) < 1.9
    # The sums of 512 tokens: 2 a layer, of 5120 numbers of 2 bytes; in a ring of two each sends one.
    talk = 2 * 40 * 512 * 5120 * 2 / 1e11
    alone = replace(DEVICE, link=math.inf)
    paired = StepTimes(LLAMA, alone, tensor_parallel=2).seconds([(0, 512)], 1)
    assert StepTimes(LLAMA, DEVICE, tensor_parallel=2).seconds([(0, 512)], 1) == pytest.approx(paired + talk)
    # In a ring of four each device sends three quarters of them twice.
    four = StepTimes(LLAMA, alone, tensor_parallel=4).seconds([(0, 512)], 1)
    assert StepTimes(LLAMA, DEVICE, tensor_parallel=4).seconds([(0, 512)], 1) == pytest.approx(
        four + 1.5 * talk
    )


def test_the_cache_gets_what_the_weights_leave() -> None:
    cost = StepTimes(LLAMA, A100)
    weights = LLAMA.n_parameters * 2
    assert cost.cache_bytes_per_token == 2 * 40 * 5120 * 2
    assert cost.cache_tokens == int((0.9 * 80e9 - weights) // 819_200)
    assert StepTimes(PRESETS["llama3-70b"], A100).cache_tokens < 0


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_calibration_finds_the_device_that_made_the_steps(overlap: float) -> None:
    true = replace(DEVICE, compute_share=0.6, bandwidth_share=0.8, overlap=overlap, overhead=0.004)
    cost = StepTimes(LLAMA, true)
    compositions = [((0, n),) for n in (64, 256, 700, 1500)]
    compositions += [((length, 1),) * b for b in (1, 20, 200) for length in (100, 900)]
    compositions += [((300, 256), *((500, 1),) * 30)]
    noise = np.random.default_rng(0).normal(1, 0.01, len(compositions))
    steps = [
        MeasuredStep(pieces, len(pieces), cost.seconds(pieces, len(pieces)) * factor)
        for pieces, factor in zip(compositions, noise, strict=True)
    ]
    found = calibrate(StepTimes(LLAMA, DEVICE), steps)
    assert found.times.device.compute_share == pytest.approx(0.6, rel=0.03)
    assert found.times.device.bandwidth_share == pytest.approx(0.8, rel=0.03)
    assert found.times.device.overhead == pytest.approx(0.004, rel=0.35)
    assert found.times.device.overlap == pytest.approx(overlap, abs=0.11)
    assert found.mean_error < 0.015
    assert "error" in str(found)


def test_the_a100_is_the_one_that_was_measured() -> None:
    found = calibrate(StepTimes(OPT_13B, A100_DATA_SHEET), published_a100_steps())
    assert found.times.device.compute_share == pytest.approx(A100.compute_share, rel=0.005)
    assert found.times.device.bandwidth_share == pytest.approx(A100.bandwidth_share, rel=0.005)
    assert found.times.device.overhead == pytest.approx(A100.overhead, rel=0.005)
    assert found.times.device.overlap == A100.overlap
    assert found.mean_error < 0.035


def test_what_cannot_be_fitted_is_refused() -> None:
    cost = StepTimes(LLAMA, DEVICE)
    decoding = [MeasuredStep(((100 + i, 1),), 1, 0.03) for i in range(6)]
    with pytest.raises(ValueError, match="arithmetic and traffic"):
        calibrate(cost, decoding)
    with pytest.raises(ValueError, match="at least 5"):
        calibrate(cost, decoding[:4])
    with pytest.raises(ValueError, match=r"peak is 0.*overhead is -1"):
        Device("x", peak=0, bandwidth=1, memory=1, overhead=-1)


def test_a_step_pays_for_whole_tiles() -> None:
    smooth, tiled = StepTimes(LLAMA, DEVICE), StepTimes(LLAMA, replace(DEVICE, tile=128))
    assert tiled.seconds([(0, 256)], 1) == smooth.seconds([(0, 256)], 1)
    rows = [tiled.work([(0, n)], 1).matrix_flops for n in (1, 128, 129, 256)]
    assert rows[0] == rows[1] < rows[2] == rows[3] == smooth.work([(0, 256)], 1).matrix_flops
    # 257 tokens: the matrices of 384, the attention of 257
    part = tiled.seconds([(0, 257)], 1) - smooth.seconds([(0, 257)], 1)
    per_row = smooth.work([(0, 2)], 0).matrix_flops - smooth.work([(0, 1)], 0).matrix_flops
    assert part == pytest.approx(127 * per_row / DEVICE.peak)
    with pytest.raises(ValueError, match="tile is 0"):
        replace(DEVICE, tile=0)

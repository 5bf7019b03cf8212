"""Devices with the shares that real steps reached on them, and the measurements that say so."""

from __future__ import annotations

from dataclasses import replace

from teachllm.stack.inference.simulation.calibration import MeasuredStep
from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.models.llama import LlamaConfig

# Zhang et al. 2022, arXiv:2205.01068, table 1. OPT's feed-forward layer has two matrices of 4 · 5120 rows;
# three of 13,653 are as many numbers, and these are all that a cost is made of.
OPT_13B = LlamaConfig(50_272, 5120, 40, 40, 40, 128, 13_653, 2048, tied_head=True)

# NVIDIA's data sheets: dense bfloat16; NVLink one way.
A100_DATA_SHEET = Device("A100 80GB", peak=312e12, bandwidth=2.039e12, memory=80e9, link=300e9)
A6000_DATA_SHEET = Device("A6000", peak=154.8e12, bandwidth=768e9, memory=48e9, link=56e9)
H100_DATA_SHEET = Device("H100 80GB", peak=989e12, bandwidth=3.35e12, memory=80e9, link=450e9)


def published_a100_steps() -> tuple[MeasuredStep, ...]:
    """Steps of OPT-13B with vLLM on one A100 80GB, as DistServe's authors measured them.

    They publish lines through their measurements, in milliseconds: a prefill of n tokens, and decoding of b
    texts that hold c tokens together. Here they are evaluated at points in the range of the lesson.
    https://github.com/LLMServe/DistServe, simdistserve/estimators/profile_data/profiler-a100-80g.vllm.json
    """
    steps = []
    for n in (128, 256, 512, 768, 1024, 1536, 2048):
        steps.append(MeasuredStep(((0, n),), 1, (23.627 + 0.15055 * n + 8.653e-6 * n**2) / 1e3))
    for b in (1, 8, 16, 32, 64, 90):
        for length in (128, 512, 1024):
            milliseconds = 19.563 + 4.941e-4 * b * length + 0.0506 * b
            steps.append(MeasuredStep(((length - 1, 1),) * b, b, milliseconds / 1e3))
    return tuple(steps)


# `calibrate(StepTimes(OPT_13B, A100_DATA_SHEET), published_a100_steps())`; a test holds them together.
A100 = replace(A100_DATA_SHEET, overhead=6.16e-3, compute_share=0.470, bandwidth_share=0.947, overlap=0.5)

# Not measured: an H100 that reaches the same shares of its data sheet.
H100 = replace(H100_DATA_SHEET, overhead=6.16e-3, compute_share=0.470, bandwidth_share=0.947, overlap=0.5)

# From two of the three steps of LLaMA-13B in Agrawal et al. 2023, arXiv:2308.16369, table 2: a prefill of
# 1,024 tokens in 234.8 ms, and 4 texts of as many decoding in 4 · 12.49 ms. A test predicts the third.
A6000 = replace(A6000_DATA_SHEET, compute_share=0.727, bandwidth_share=0.757)

"""What is counted beforehand is what happens: parameters of modules, operations and bytes of steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.nn.attention import readable_attention
from teachllm.stack.nn.fast import threads
from teachllm.stack.training.accounting import (
    calibrate,
    flops_per_token,
    measure_matmul_peak,
    parameters_by_part,
    six_n,
    step_seconds,
    training_memory,
)
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.loss import chunked_cross_entropy
from teachllm.stack.training.precision import ComputeWeights
from teachllm.stack.training.recompute import recompute_activations

# vocab, d_model, layers, heads, kv heads, head_dim, hidden, context; then rows of a batch
SIZES = {
    "2 M, long rows": (LlamaConfig(1024, 192, 4, 6, 2, 32, 512, 512, tied_head=True), 2),
    "5 M": (LlamaConfig(4096, 256, 5, 4, 4, 64, 688, 256, tied_head=True), 4),
    "5 M, few tokens": (LlamaConfig(4096, 256, 5, 4, 2, 64, 688, 128), 2),
    "a large vocabulary": (LlamaConfig(8192, 128, 3, 4, 4, 32, 344, 256, tied_head=True), 8),
    "tiny, many rows": (LlamaConfig(300, 64, 2, 2, 2, 32, 172, 64, tied_head=True), 32),
    "deep": (LlamaConfig(512, 128, 12, 4, 1, 32, 256, 128, qkv_bias=True), 8),
}


@pytest.mark.parametrize(("name", "billions"), [("llama3-8b", 8.03), ("llama3-70b", 70.55)])
def test_published_models_have_their_published_sizes(name: str, billions: float) -> None:
    config = PRESETS[name]
    total = sum(parameters_by_part(config).values())
    assert total / 1e9 == pytest.approx(billions, abs=0.005)
    assert total == config.n_parameters


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_the_model(name: str) -> None:
    config, _ = SIZES[name]
    model = Llama(config)
    parts = parameters_by_part(config)
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters())
    assert parts["attention"] == sum(p.numel() for n, p in model.named_parameters() if ".attention." in n)
    assert parts["feed_forward"] == sum(
        p.numel() for n, p in model.named_parameters() if ".feed_forward." in n
    )
    assert parts["norms"] == sum(p.numel() for n, p in model.named_parameters() if "norm" in n)


@pytest.mark.parametrize("recompute", [False, True])
def test_operations_are_those_that_torch_counts(recompute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_gomp_parallel", lambda: None)
    config, length = LlamaConfig(300, 64, 3, 4, 4, 16, 172, 32, tied_head=True), 32
    model = Llama(config)
    if recompute:
        recompute_activations(model.blocks)
    tokens = torch.randint(300, (2, length), generator=torch.Generator().manual_seed(0))
    counter = FlopCounterMode(display=False)
    # Readable, since torch does not count inside its own kernel. Recompute may stop early, before the last
    # product of a block; how early depends on the kernels.
    with counter, readable_attention(), set_checkpoint_early_stop(False):
        model(tokens).sum().backward()
    assert counter.get_total_flops() == 2 * length * sum(flops_per_token(config, length, recompute).values())


def test_six_n_is_what_remains_when_rows_are_short() -> None:
    config, _ = SIZES["5 M"]
    exact = sum(flops_per_token(config, length=1).values())
    assert six_n(config) == pytest.approx(exact, rel=2e-3)
    untied, _ = SIZES["5 M, few tokens"]
    assert six_n(untied) == pytest.approx(sum(flops_per_token(untied, length=1).values()), rel=2e-3)


def peak_bytes(config: LlamaConfig, rows: int, dtype: torch.dtype, recompute: bool) -> int:
    """The most that a step's tensors take at any moment, counted by the allocator: no timing, no noise."""
    torch.manual_seed(0)
    model = Llama(config)
    weights, optimizer = ComputeWeights(model, dtype), AdamW(model.parameters())
    if recompute:
        recompute_activations(model.blocks)
    tokens = torch.randint(config.vocab_size, (rows, config.context_length + 1))

    def step() -> None:
        with weights.in_use():
            features = model.features(tokens[:, :-1])
            loss = chunked_cross_entropy(features, model.head.weight, tokens[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        weights.refresh()

    step()  # makes the optimizer's state
    n = sum(p.numel() for p in model.parameters())
    held = 4 * n + 8 * n + (0 if dtype == torch.float32 else dtype.itemsize * n)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step()
    assert record.profiler is not None
    events = record.profiler.kineto_results.events()
    changes = [(e.start_ns(), i, e.nbytes()) for i, e in enumerate(events) if e.name() == "[memory]"]
    most = now = 0
    for _, _, change in sorted(changes):
        now += change
        most = max(most, now)
    assert abs(now) < 1e4  # what a step takes it gives back
    return held + most


@pytest.mark.skipif(threads._gomp_parallel() is None, reason="counts what our CPU kernels keep")
@pytest.mark.parametrize(
    ("name", "dtype", "recompute"),
    [
        *((name, torch.bfloat16, False) for name in SIZES),
        ("5 M", torch.float32, False),
        ("5 M", torch.bfloat16, True),
        ("deep", torch.float32, True),
    ],
)
def test_predicted_memory_is_what_a_step_takes(name: str, dtype: torch.dtype, recompute: bool) -> None:
    config, rows = SIZES[name]
    memory = training_memory(config, rows, config.context_length, dtype, recompute=recompute)
    assert memory.peak == pytest.approx(peak_bytes(config, rows, dtype, recompute), rel=0.15)


def test_memory_by_part_of_a_model_that_nobody_trains_on_one_gpu() -> None:
    memory = training_memory(PRESETS["llama3-8b"], 1, 8192)
    n = PRESETS["llama3-8b"].n_parameters
    assert (memory.weights, memory.copies, memory.gradients, memory.optimizer) == (4 * n, 2 * n, 4 * n, 8 * n)
    assert memory.peak > 16 * n
    assert (
        training_memory(PRESETS["llama3-8b"], 1, 8192, recompute=True).activations < memory.activations / 10
    )


def test_time() -> None:
    assert step_seconds(3e12, 2e12, 0.5) == 3
    assert step_seconds(3e12, 2e12, 0.5, overhead=0.25) == 3.25
    with pytest.raises(ValueError, match="fraction"):
        step_seconds(1, 1, 1.5)
    with pytest.raises(ValueError, match="not negative"):
        step_seconds(1, 1, 1, -1)


@pytest.mark.parametrize("overhead", [0.0, 0.02])
def test_calibration_gives_back_both_measurements_and_what_made_them(overhead: float) -> None:
    peak, fraction = 4e11, 0.6
    few, many = 5e9, 8e10
    measured = [(flops, step_seconds(flops, peak, fraction, overhead)) for flops in (many, few)]
    assert calibrate(*measured, peak) == pytest.approx((fraction, overhead), abs=1e-12)
    with pytest.raises(ValueError, match="measure again"):
        calibrate((1e9, 0.2), (2e9, 0.1), peak)


def test_the_peak_is_a_speed_and_is_measured_once() -> None:
    peak = measure_matmul_peak("cpu", torch.float32)
    assert 1e8 < peak < math.inf
    assert measure_matmul_peak("cpu", torch.float32) == peak

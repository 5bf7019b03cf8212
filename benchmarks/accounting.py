"""Predicted against measured time of a training step, over sizes. `make bench NAME=accounting`.

The machine is measured once: its fastest matrix product, and by two small sizes (the first rows, so their
ratio is 1) the fraction of it that training reaches and what a step takes beside. Every other size is then
predicted from the operations that `training.accounting` counts.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from benchmarks.harness import Row, compare, report
from benchmarks.training import PACKAGES, ROWS, THREADS, ours, start
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.training.accounting import (
    calibrate,
    flops_per_token,
    measure_matmul_peak,
    step_seconds,
)

SIZES = {
    "3 M": LlamaConfig(2048, 192, 5, 3, 3, 64, 512, 256, tied_head=True),
    "9 M": LlamaConfig(4096, 320, 6, 5, 5, 64, 864, 256, tied_head=True),
    "5 M": LlamaConfig(4096, 256, 5, 4, 4, 64, 688, 256, tied_head=True),
    "9 M, half the length": LlamaConfig(4096, 320, 6, 5, 5, 64, 864, 128, tied_head=True),
    "15 M": LlamaConfig(8192, 384, 6, 6, 6, 64, 1024, 256, tied_head=True),
    "26 M": LlamaConfig(8192, 512, 7, 8, 8, 64, 1376, 256, tied_head=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    peak = measure_matmul_peak("cpu", torch.bfloat16)
    seconds = {name: measured(config, arguments.steps) for name, config in SIZES.items()}
    small, large, *_ = ((operations(config), seconds[name]) for name, config in SIZES.items())
    fraction, overhead = calibrate(small, large, peak)
    rows = [row(name, seconds[name], peak, fraction, overhead) for name in SIZES]
    notes = [
        f"peak {peak / 1e9:.0f} GFLOP/s; by the first two rows, training reaches {fraction:.0%} of it, and a "
        f"step takes {1e3 * overhead:.0f} ms beside; {ROWS} rows a step",
        "ours: measured; peer: predicted; medians",
    ]
    report("accounting", rows, notes=notes)


def row(name: str, measured_seconds: float, peak: float, fraction: float, overhead: float) -> Row:
    predicted = step_seconds(operations(SIZES[name]), peak, fraction, overhead)
    return compare(
        f"a training step, {name}",
        1e3 * measured_seconds,
        1e3 * predicted,
        "predicted",
        "ms",
        lower_is_better=True,
        threads=THREADS,
        packages=PACKAGES,
    )


def operations(config: LlamaConfig) -> float:
    return ROWS * config.context_length * sum(flops_per_token(config, config.context_length).values())


def measured(config: LlamaConfig, steps: int) -> float:
    run = ours(config, *start(config))
    run(2)
    return statistics.median(run(steps))


if __name__ == "__main__":
    main()

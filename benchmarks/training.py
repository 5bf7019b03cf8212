"""A training step beside its peers, in bfloat16 with float32 weights, on two threads.
`make bench NAME=training`.

The same Llama from the same weights on the same 8 rows of 256 tokens, with clipping and AdamW: ours; plain
PyTorch as nanoGPT and minimind write it, with autocast or casting in the linear layer, and compiled; and
`transformers` with its Trainer. Everyone takes turns, a few steps at a time; medians are compared. Peak
memory is measured in a process of its own for each: how far the resident memory grows above that of a process
that has trained a tiny model of the same kind.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
import transformers
from torch import Tensor, nn

from benchmarks.harness import Row, compare, report, without_peer
from benchmarks.training_peers import Steps, plain, timed, trainer
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.training.accounting import flops_per_token, measure_matmul_peak
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.loss import chunked_cross_entropy
from teachllm.stack.training.precision import ComputeWeights

THREADS, ROWS, LENGTH = 2, 8, 256
PACKAGES = ("torch", "transformers", "accelerate", "numba")
TINY = LlamaConfig(256, 64, 1, 2, 2, 32, 128, LENGTH, tied_head=True)
SIZES = {
    "5 M": LlamaConfig(4096, 256, 5, 4, 4, 64, 688, LENGTH, tied_head=True),
    "26 M": LlamaConfig(8192, 512, 7, 8, 8, 64, 1376, LENGTH, tied_head=True),
}


def ours(config: LlamaConfig, weights: dict[str, Tensor], tokens: Tensor) -> Steps:
    model = Llama(config)
    model.load_state_dict(weights)
    copies = ComputeWeights(model, torch.bfloat16)
    optimizer = AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def step() -> float:
        with copies.in_use():
            features = model.features(tokens[:, :-1])
            loss = chunked_cross_entropy(features, model.head.weight, tokens[:, 1:])
            del features
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        copies.refresh()
        return loss.item()

    return lambda n: timed(step, n)


CONTENDERS: dict[str, Callable[[LlamaConfig, dict[str, Tensor], Tensor], Steps]] = {
    "ours": ours,
    "plain, autocast": lambda c, w, t: plain(c, w, t, autocast=True),
    "plain, cast in the linear": lambda c, w, t: plain(c, w, t, autocast=False),
    "transformers Trainer": trainer,
}
COMPILED = {
    "plain, autocast, compiled": lambda c, w, t: plain(c, w, t, autocast=True, compiled=True),
    "plain, cast, compiled": lambda c, w, t: plain(c, w, t, autocast=False, compiled=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", nargs=2, metavar=("CONTENDER", "SIZE"))
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    if arguments.memory_of:
        print(memory_growth(*arguments.memory_of))
        return
    peak = measure_matmul_peak("cpu", torch.bfloat16)
    rows, notes = (
        [],
        [
            f"{ROWS} × {LENGTH} tokens a step, {THREADS} threads; medians of {arguments.rounds} turns",
            f"limit: {peak / 1e9:.0f} GFLOP/s, the fastest bfloat16 product, over the operations of a token "
            "(matrices, attention over all keys, head; forward and backward)",
        ],
    )
    for size in SIZES:
        rows += throughput(size, peak, arguments.rounds)
    for size in SIZES:
        rows += memory(size)
    report("training", rows, notes=notes)


def throughput(size: str, peak: float, rounds: int) -> list[Row]:
    config = SIZES[size]
    limit = peak / sum(flops_per_token(config, LENGTH).values())
    contenders = dict(CONTENDERS)
    if shutil.which(os.environ.get("CXX", "g++")):
        contenders |= COMPILED
    weights, tokens = start(config)
    runs = {name: make(config, weights, tokens) for name, make in contenders.items()}
    steps = 2 if size == "26 M" else 4
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 1):
        for name, run in runs.items():
            taken = run(steps)
            if round_number > 0:
                seconds[name].append(statistics.median(taken))
    speed = {name: ROWS * LENGTH / statistics.median(taken) for name, taken in seconds.items()}
    rows = [
        compare(
            f"training step, {size}",
            speed["ours"],
            speed[name],
            name,
            "tokens/s",
            limit=limit,
            threads=THREADS,
            packages=PACKAGES,
        )
        for name in contenders
        if name != "ours"
    ]
    if "plain, autocast, compiled" not in contenders:
        why = "no C++ compiler here for torch.compile"
        rows.append(
            without_peer(
                f"training step, {size}", speed["ours"], "compiled", "tokens/s", why, threads=THREADS
            )
        )
    return rows


def memory(size: str) -> list[Row]:
    """Resident memory that a step needs at its peak, of everyone who needs no compiler."""
    grown = {name: memory_in_own_process(name, size) for name in CONTENDERS}
    return [
        compare(
            f"peak memory, {size}",
            grown["ours"] / 1e6,
            grown[name] / 1e6,
            name,
            "MB",
            lower_is_better=True,
            threads=THREADS,
            packages=PACKAGES,
        )
        for name in CONTENDERS
        if name != "ours"
    ]


def memory_in_own_process(name: str, size: str) -> int:
    command = [sys.executable, "-m", "benchmarks.training", "--memory-of", name, size]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def memory_growth(name: str, size: str) -> int:
    make = CONTENDERS[name]
    make(TINY, *start(TINY))(2)
    weights, tokens = start(SIZES[size])
    before = psutil.Process().memory_info().rss
    forget_peak()
    make(SIZES[size], weights, tokens)(4)
    return peak_resident() - before


def start(config: LlamaConfig) -> tuple[dict[str, Tensor], Tensor]:
    """Weights and tokens that everyone begins with."""
    torch.manual_seed(0)
    model = Llama(config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.02)
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return weights, torch.randint(config.vocab_size, (ROWS, config.context_length + 1))


def forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_resident() -> int:
    """Bytes; on Linux, since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say how much memory was resident at most; measure on Linux")


if __name__ == "__main__":
    main()

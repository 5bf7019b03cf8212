"""Causal attention over whole texts beside PyTorch's, in bfloat16. `make bench NAME=attention`.

On a GPU, ours is the Triton kernel; on a CPU, what `causal_attention` takes in training. PyTorch's is its
fused kernel with the heads of keys repeated beforehand, which is its fastest way here. Operations are those
of the two matrix products over what the mask leaves: 2 · n² · d for each head forward, 2.5 times as many
backward. Memory is what the tensors of forward and backward take at their peak, tiles against the matrix
written out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Row, alternate, compare, report
from teachllm.stack.nn.attention import causal_attention, repeat_kv_heads
from teachllm.stack.nn.flash_attention import flash_attention
from teachllm.stack.nn.memory_traffic import standard_attention
from teachllm.stack.nn.tensor_memory import TensorMemory
from teachllm.stack.training.accounting import measure_matmul_peak

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]

THREADS, N_HEADS, N_KV_HEADS, D = 2, 9, 3, 64  # the heads of SmolLM2-135M
PACKAGES = ("torch", "triton", "numba")
LENGTHS = {"cpu": (512, 2048), "cuda": (1024, 4096, 16384)}
TOKENS = {"cpu": 2048, "cuda": 65536}  # in a batch, whatever the length
MEMORY_LENGTH = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peak = measure_matmul_peak(device, torch.bfloat16)
    rows = [row for length in LENGTHS[device] for row in speed(length, device, peak, arguments.times)]
    notes = [
        f"{N_HEADS} heads of {D} that share {N_KV_HEADS} heads of keys, {TOKENS[device]:,} tokens a batch",
        f"limit: {peak / 1e9:,.0f} GFLOP/s, the fastest bfloat16 product",
    ]
    if device == "cpu":
        notes.append("no GPU here: the Triton kernels were not measured")
    report("attention", [*rows, memory()], notes=notes)


def speed(length: int, device: str, peak: float, times: int) -> list[Row]:
    q, k, v = inputs(TOKENS[device] // length, length, device, torch.bfloat16)
    forward = 2 * length**2 * D * N_HEADS * q.shape[0]
    mine = ours(device)
    rows = []
    for what, operations, run in (
        ("forward", forward, with_gradient_in_mind),
        ("forward and backward", 3.5 * forward, forward_and_backward),
    ):
        taken = alternate(
            lambda run=run: run(mine, q, k, v), lambda run=run: run(pytorch, q, k, v), times=times
        )
        rows.append(
            compare(
                f"{what}, {length:,} tokens",
                operations / taken[0] / 1e9,
                operations / taken[1] / 1e9,
                "PyTorch, fused",
                "GFLOP/s",
                limit=peak / 1e9,
                threads=THREADS,
                device=device,
                packages=PACKAGES,
            )
        )
    return rows


def ours(device: str) -> Attention:
    if device == "cpu":
        return causal_attention
    from teachllm.stack.nn.fast.flash_triton import triton_flash_attention

    return lambda q, k, v: triton_flash_attention(q, k, v, causal=True)


def pytorch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = repeat_kv_heads(k, group), repeat_kv_heads(v, group)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def inputs(batch: int, length: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    heads = (N_HEADS, N_KV_HEADS, N_KV_HEADS)
    made = [torch.randn(batch, n, length, D, generator=generator) for n in heads]
    return [x.to(device, dtype).requires_grad_() for x in made]


def with_gradient_in_mind(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> None:
    """The forward pass of training, up to its last operation."""
    attention(q, k, v)
    wait(q)


def forward_and_backward(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> None:
    out = attention(q, k, v)
    torch.autograd.grad(out, (q, k, v), out.detach())
    wait(q)


def wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def memory() -> Row:
    q, k, v = inputs(1, MEMORY_LENGTH, "cpu", torch.float32)
    k, v = (repeat_kv_heads(x.detach(), N_HEADS // N_KV_HEADS).requires_grad_() for x in (k, v))
    peaks = []
    for attention in (
        lambda q, k, v: flash_attention(q, k, v, causal=True, block_q=256, block_k=256),
        lambda q, k, v: standard_attention(q, k, v, causal=True),
    ):
        with TensorMemory() as measured:
            forward_and_backward(attention, q, k, v)
        peaks.append(measured.peak_bytes / 1e6)
    what = f"peak memory, forward and backward, {MEMORY_LENGTH:,} tokens"
    return compare(what, *peaks, "matrix written out", "MB", lower_is_better=True, threads=THREADS)


if __name__ == "__main__":
    main()

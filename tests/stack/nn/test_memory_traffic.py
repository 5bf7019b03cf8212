"""The meter counts what crosses; the formulas say the same as the meter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn.attention import causal_mask, scaled_dot_product_attention
from teachllm.stack.nn.flash_attention import flash_backward, flash_forward, flash_forward_v1
from teachllm.stack.nn.memory_traffic import (
    Hbm,
    flash_attention_bytes,
    flash_v1_bytes,
    standard_attention,
    standard_attention_bytes,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(n: int, d: int, dtype: torch.dtype = torch.bfloat16, heads: int = 1) -> list[Tensor]:
    return [normal(1, heads, n, d, seed=seed).to(dtype) for seed in range(3)]


def test_the_meter_counts_bytes_and_reads_what_is_repeated_again() -> None:
    hbm, tensor = Hbm(), torch.zeros(3, 4, dtype=torch.bfloat16)
    assert hbm.read(tensor[1:]) is not tensor
    assert (hbm.bytes_read, hbm.bytes_written) == (16, 0)
    hbm.read(tensor.unsqueeze(0).expand(5, -1, -1))
    assert hbm.bytes_read == 16 + 5 * 24
    hbm.write(tensor[0], torch.full((4,), 2.0))
    assert tensor.tolist() == [[2.0] * 4, [0.0] * 4, [0.0] * 4]
    hbm.store(torch.zeros(7))
    assert hbm.bytes_written == 8 + 28
    assert hbm.bytes_moved == 16 + 120 + 36


@pytest.mark.parametrize("causal", [False, True])
def test_three_kernels_are_attention(causal: bool) -> None:
    q, k, v = inputs(9, 4, torch.float64, heads=2)
    got = standard_attention(q, k, v, causal)
    expected = scaled_dot_product_attention(q, k, v, causal_mask(9) if causal else None)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("n", "d"), [(17, 8), (64, 16)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_formulas_say_what_the_meter_counts(n: int, d: int, dtype: torch.dtype) -> None:
    size = dtype.itemsize
    hbm = Hbm()
    standard_attention(*inputs(n, d, dtype), hbm=hbm)
    assert hbm.bytes_moved == sum(standard_attention_bytes(n, d, size).values())
    for block_q, block_k in [(16, 8), (5, 3), (64, 64)]:
        hbm = Hbm()
        flash_forward(*inputs(n, d, dtype), block_q=block_q, block_k=block_k, hbm=hbm)
        assert hbm.bytes_moved == flash_attention_bytes(n, d, block_q, size)
        hbm = Hbm()
        flash_forward_v1(*inputs(n, d, dtype), block_q=block_q, block_k=block_k, hbm=hbm)
        assert hbm.bytes_moved == flash_v1_bytes(n, d, block_k, size)


def test_twice_the_length_moves_four_times_as_much_either_way_but_from_another_start() -> None:
    standard = [sum(standard_attention_bytes(n, 64).values()) for n in (8192, 16384)]
    flash = [flash_attention_bytes(n, 64, block_q=128) for n in (8192, 16384)]
    assert standard[1] / standard[0] == pytest.approx(4, rel=0.02)
    assert flash[1] / flash[0] == pytest.approx(4, rel=0.02)
    assert standard[0] / flash[0] == pytest.approx(
        4 * 128 / (2 * 64), rel=0.02
    )  # 4 n² against 2 n d · n / block_q


def test_a_causal_mask_and_shared_heads_change_what_is_moved() -> None:
    q, k, v = inputs(64, 16, heads=4)
    full, causal, shared = Hbm(), Hbm(), Hbm()
    flash_forward(q, k, v, block_q=16, block_k=16, hbm=full)
    flash_forward(q, k, v, causal=True, block_q=16, block_k=16, hbm=causal)
    flash_forward(q, k[:, :1], v[:, :1], block_q=16, block_k=16, hbm=shared)
    tile = 4 * 2 * 16 * 16 * 2  # keys and values of 16 positions in 4 heads
    assert full.bytes_moved - causal.bytes_moved == 6 * tile  # of 4 × 4 tiles, those above the diagonal
    assert shared.bytes_moved == full.bytes_moved  # each query head reads the keys itself


def test_the_backward_pass_is_metered_too() -> None:
    n, d, block = 64, 16, 16
    q, k, v = inputs(n, d, torch.float32)
    out, logsumexp = flash_forward(q, k, v, block_q=block, block_k=block)
    hbm = Hbm()
    flash_backward(q, k, v, out, logsumexp, normal(1, 1, n, d, seed=3), block_q=block, block_k=block, hbm=hbm)
    matrix, line, blocks = 4 * n * d, 4 * n, n // block
    assert hbm.bytes_read == 2 * matrix + 2 * matrix + blocks * (
        3 * matrix + 2 * line
    )  # dO O; K V; Q dO dQ, L D
    assert hbm.bytes_written == line + matrix + blocks * matrix + 2 * matrix  # D; dQ = 0; dQ; dK dV

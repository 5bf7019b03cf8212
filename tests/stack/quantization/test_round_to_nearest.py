"""Rounding to the nearest level: by hand, its error bound, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from teachllm.stack.quantization.round_to_nearest import (
    Quantized,
    dequantize,
    quantize_symmetric,
    quantize_with_minimum,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_by_hand() -> None:
    weight = torch.tensor([[-7.0, 3.4, 0.0, 7.0], [0.5, 1.0, -1.0, 0.25]])
    symmetric = quantize_symmetric(weight, 4)
    assert symmetric.codes.tolist() == [[1, 11, 8, 15], [12, 15, 1, 10]]  # 0.5 is 3.5 steps of 1/7: 4 is even
    assert symmetric.scales.float()[:, 0].tolist() == pytest.approx([1.0, 1 / 7], rel=2**-11)
    assert symmetric.bits_per_weight == 4 + 16 / 4
    with_minimum = quantize_with_minimum(torch.tensor([[1.0, 4.0, 2.1, 1.4]]), 2)
    assert with_minimum.codes.tolist() == [[0, 3, 1, 0]]
    assert dequantize(with_minimum).tolist() == [[1.0, 4.0, 2.0, 1.0]]
    assert with_minimum.bits_per_weight == 2 + 32 / 4


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group_size", [None, 8])
@pytest.mark.parametrize("quantize", [quantize_symmetric, quantize_with_minimum])
def test_no_weight_is_further_than_half_a_step(quantize, bits: int, group_size: int | None) -> None:
    weight = normal(5, 32, seed=bits) * torch.tensor([1e-3, 1, 30, 1, 0])[:, None]
    quantized = quantize(weight, bits, group_size)
    step = quantized.scales.float().repeat_interleave(quantized.group_size, dim=1)
    # The ends of the range move with the rounding of scale and minimum to float16.
    slack = weight.abs().amax() * 2**-10 if quantized.minima is not None else step * 2**-10 * (1 << bits)
    assert ((dequantize(quantized) - weight).abs() <= step / 2 + slack + 1e-7).all()
    assert int(quantized.codes.max()) < 1 << bits


def test_smaller_groups_and_more_bits_are_closer() -> None:
    weight = normal(16, 128)
    weight[:, 5] *= 10  # one column that stretches every scale of its group

    def error(quantized: Quantized) -> float:
        return (dequantize(quantized) - weight).square().mean().item()

    by_row, by_group = quantize_symmetric(weight, 4), quantize_symmetric(weight, 4, 32)
    assert error(by_group) < error(by_row) / 2
    assert error(quantize_with_minimum(weight, 4, 32)) < error(by_group)
    assert error(quantize_symmetric(weight, 8)) < error(by_row) / 100


def test_zeros_stay_zeros() -> None:
    for quantized in (quantize_symmetric(torch.zeros(2, 8), 4), quantize_with_minimum(torch.zeros(2, 8), 4)):
        assert torch.equal(dequantize(quantized), torch.zeros(2, 8))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rows of 10 weights cannot be cut into groups of 4"):
        quantize_symmetric(torch.ones(2, 10), 4, 4)
    with pytest.raises(ValueError, match=r"bits is 9; it must be from 2 to 8"):
        quantize_with_minimum(torch.ones(2, 8), 9)

"""Round to nearest: each weight becomes the nearest of a few evenly spaced levels.

Weights that share a scale are a group: some neighbours in a row, or a whole row. Small groups follow the
weights more closely and cost more bits for scales. No data is needed, which is what better methods add.
Compared as the baseline in Frantar et al. 2022, arXiv:2210.17323 (GPTQ), section 2; groups: section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Quantized:
    """A matrix in codes. With minima, a weight is scale · code + minimum; without, scale · (code - zero) with
    zero = 2^(bits-1).
    """

    codes: UInt8[Tensor, "rows columns"]
    scales: Float16[Tensor, "rows groups"]
    minima: Float16[Tensor, "rows groups"] | None
    bits: int

    @property
    def zero(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def group_size(self) -> int:
        return self.codes.shape[1] // self.scales.shape[1]

    @property
    def bits_per_weight(self) -> float:
        """Codes, scales and minima together."""
        return self.bits + (16 if self.minima is None else 32) / self.group_size

    def rows(self, change: Callable[[Tensor], Tensor]) -> Quantized:
        """The same with rows taken or reordered by `change`, which gets one tensor after another."""
        minima = None if self.minima is None else change(self.minima)
        return Quantized(change(self.codes), change(self.scales), minima, self.bits)


def quantize_symmetric(
    weight: Float[Tensor, "rows columns"], bits: int, group_size: int | None = None
) -> Quantized:
    """scale = max|w| / (2^(bits-1) - 1) of each group; code = round(w / scale) + zero.

    group_size: None for a scale a row. Zero stays zero. ValueError if groups do not fill the rows, or bits
    are not 2 … 8.
    """
    groups = _groups(weight, bits, group_size)
    scales = (groups.abs().amax(-1) / ((1 << (bits - 1)) - 1)).half()
    zero = 1 << (bits - 1)
    codes = _nearest(groups, scales) + zero
    return Quantized(_codes(codes, bits, weight), scales, None, bits)


def quantize_with_minimum(
    weight: Float[Tensor, "rows columns"], bits: int, group_size: int | None = None
) -> Quantized:
    """scale = (max w - min w) / (2^bits - 1) of each group; code = round((w - min) / scale).

    No level is wasted where weights are not symmetric, for 16 more bits a group. group_size and ValueError:
    see `quantize_symmetric`.
    """
    groups = _groups(weight, bits, group_size)
    minima = groups.amin(-1).half()
    scales = ((groups.amax(-1) - minima.float()) / ((1 << bits) - 1)).half()
    codes = _nearest(groups - minima.float()[..., None], scales)
    return Quantized(_codes(codes, bits, weight), scales, minima, bits)


def dequantize(quantized: Quantized) -> Float[Tensor, "rows columns"]:
    """The weights that the codes stand for, in float32."""
    codes = quantized.codes.float().unflatten(1, (-1, quantized.group_size))
    scales = quantized.scales.float()[..., None]
    if quantized.minima is None:
        return ((codes - quantized.zero) * scales).flatten(1)
    return (codes * scales + quantized.minima.float()[..., None]).flatten(1)


def _groups(weight: Tensor, bits: int, group_size: int | None) -> Float[Tensor, "rows groups group_size"]:
    columns = weight.shape[1]
    size = columns if group_size is None else group_size
    if not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits}; it must be from 2 to 8")
    if size < 1 or columns % size:
        raise ValueError(f"rows of {columns} weights cannot be cut into groups of {size}")
    return weight.float().unflatten(1, (-1, size))


def _nearest(groups: Tensor, scales: Tensor) -> Tensor:
    """By the scale as it is kept, in float16: where that is 0, all weights are (almost) 0."""
    inverse = torch.where(scales > 0, 1 / scales.float(), 0)
    return torch.round(groups * inverse[..., None])


def _codes(codes: Tensor, bits: int, weight: Tensor) -> Tensor:
    return codes.clamp(0, (1 << bits) - 1).to(torch.uint8).reshape(weight.shape)

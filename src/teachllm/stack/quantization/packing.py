"""Codes in the order in which the kernels read them; `nn.fast.row_products` says what it is and why."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from teachllm.stack.nn.fast.row_products import BLOCK_BYTES, COLUMNS, ROWS, Kind
from teachllm.stack.quantization.round_to_nearest import Quantized


@dataclass(frozen=True)
class Packed:
    """Blocks of 16 rows by 32 columns. Rows that are none of the matrix's, up to a multiple of 16, are 0."""

    kind: Kind
    n_rows: int
    n_columns: int
    blocks: UInt8[Tensor, "row_blocks column_blocks bytes"]


def kind_of(quantized: Quantized) -> Kind | None:
    """The kind of weights that a kernel reads, or None if none does."""
    if quantized.group_size != COLUMNS:
        return None
    kinds: dict[tuple[int, bool], Kind] = {
        (8, False): "int8",
        (4, False): "int4",
        (4, True): "int4_minima",
    }
    return kinds.get((quantized.bits, quantized.minima is not None))


def pack(quantized: Quantized) -> Packed:
    """ValueError if no kernel reads such codes: groups of 32, of 8 bits, or of 4 with or without minima."""
    kind = kind_of(quantized)
    if kind is None:
        minima = "without minima" if quantized.minima is None else "with minima"
        raise ValueError(
            f"codes of {quantized.bits} bits {minima} in groups of {quantized.group_size} cannot be packed; "
            "8 bits without minima and 4 bits with or without, in groups of 32, can"
        )
    n_rows, n_columns = quantized.codes.shape
    whole = quantized.rows(lambda part: F.pad(part, (0, 0, 0, -n_rows % ROWS)))
    blocks = whole.codes.unflatten(1, (-1, COLUMNS)).unflatten(0, (-1, ROWS)).transpose(1, 2)
    if quantized.bits == 4:
        blocks = blocks[..., : COLUMNS // 2] | (blocks[..., COLUMNS // 2 :] << 4)
    # Four bytes of each of the 16 rows make a vector.
    codes = blocks.unflatten(-1, (-1, 4)).transpose(-3, -2).flatten(-3)
    numbers = [whole.scales] if whole.minima is None else [whole.scales, whole.minima]
    heads = [one.unflatten(0, (-1, ROWS)).transpose(1, 2).contiguous().view(torch.uint8) for one in numbers]
    packed = torch.cat([*heads, codes], dim=-1).contiguous()
    assert packed.shape[-1] == BLOCK_BYTES[kind]
    return Packed(kind, n_rows, n_columns, packed)


def unpack(packed: Packed) -> Quantized:
    """The inverse of `pack`."""
    bits = 8 if packed.kind == "int8" else 4
    n_numbers = 2 if packed.kind == "int4_minima" else 1
    heads, codes = packed.blocks.split(
        [n_numbers * 2 * ROWS, packed.blocks.shape[-1] - n_numbers * 2 * ROWS], -1
    )
    codes = codes.unflatten(-1, (-1, ROWS, 4)).transpose(-3, -2).flatten(-2)
    if bits == 4:
        codes = torch.cat([codes & 15, codes >> 4], dim=-1)
    codes = codes.transpose(1, 2).flatten(2).flatten(0, 1)[: packed.n_rows]
    numbers = [
        one.contiguous().view(torch.float16).transpose(1, 2).flatten(0, 1)[: packed.n_rows]
        for one in heads.split(2 * ROWS, -1)
    ]
    return Quantized(codes, numbers[0], numbers[1] if n_numbers == 2 else None, bits)

"""The matrices of a Llama in 8 or 4 bits, as its decoding steps read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch

from teachllm.stack.models.gguf import GGUFFile
from teachllm.stack.models.llama import Llama
from teachllm.stack.models.loading import gguf_layout
from teachllm.stack.nn.fast.row_products import COLUMNS
from teachllm.stack.quantization.gguf_blocks import quantized_parameters
from teachllm.stack.quantization.packing import Packed, kind_of, pack
from teachllm.stack.quantization.round_to_nearest import (
    dequantize,
    quantize_symmetric,
    quantize_with_minimum,
)

Bits: TypeAlias = Literal["int8", "int4"]


@torch.no_grad()
def round_weights(model: Llama, bits: Bits) -> dict[str, Packed]:
    """Round the matrices of `model` to the nearest of their levels, in place, and return them packed.

    Groups of 32 with a scale; those of 4 bits also with a minimum. The head is kept in 8 bits: its errors go
    into the logits as they are. A tied embedding is the head.
    """
    packed: dict[str, Packed] = {}
    for name, weight in _matrices(model).items():
        eight = bits == "int8" or name == "head.weight"
        quantized = (
            quantize_symmetric(weight, 8, COLUMNS) if eight else quantize_with_minimum(weight, 4, COLUMNS)
        )
        weight.copy_(dequantize(quantized))
        packed[name] = pack(quantized)
    return packed


def weights_of_gguf(file: GGUFFile, model: Llama) -> dict[str, Packed] | None:
    """The file's own codes, if all matrices of the blocks have them in one kind that the steps read, and the
    head in any; None otherwise. `model` was loaded from this file and holds the same weights.
    """
    found = quantized_parameters(file, gguf_layout(file, model.config))
    if model.config.tied_head and "embedding.weight" in found:
        found["head.weight"] = found["embedding.weight"]
    wanted = _matrices(model)
    if any(name not in found or kind_of(found[name]) is None for name in wanted):
        return None
    if len({kind_of(found[name]) for name in wanted if name != "head.weight"}) != 1:
        return None
    return {name: pack(found[name]) for name in wanted}


def bits_of(packed: Mapping[str, Packed]) -> Bits:
    """Of the blocks' matrices."""
    return "int8" if next(p.kind for name, p in packed.items() if name != "head.weight") == "int8" else "int4"


def _matrices(model: Llama) -> dict[str, torch.Tensor]:
    blocks = {
        f"blocks.{name}": weight for name, weight in model.blocks.named_parameters() if weight.ndim == 2
    }
    return {**blocks, "head.weight": model.head.weight}

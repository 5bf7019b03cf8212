"""The codes of a GGUF file as they are: rounding what is rounded already would lose once more."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from teachllm.stack.models.gguf import GGUFFile
from teachllm.stack.models.weights import Layout
from teachllm.stack.quantization.round_to_nearest import Quantized

# Name of a block format → bits, and whether there are minima. All have 32 weights.
_FORMATS = {"Q4_0": (4, False), "Q4_1": (4, True), "Q8_0": (8, False)}


def quantized_tensor(file: GGUFFile, name: str) -> Quantized | None:
    """A matrix of the file in its own codes, or None if its format is none of Q4_0, Q4_1 and Q8_0.

    KeyError if there is no such tensor.
    """
    tensor = file.tensors[name]
    if tensor.block_format.name not in _FORMATS:
        return None
    bits, has_minima = _FORMATS[tensor.block_format.name]
    data = np.fromfile(file.path, np.uint8, tensor.n_bytes, offset=tensor.start)
    blocks = torch.from_numpy(data).reshape(tensor.shape[0], -1, tensor.block_format.n_bytes)
    head = 4 if has_minima else 2
    numbers = blocks[..., :head].contiguous().view(torch.float16)
    codes = blocks[..., head:]
    if bits == 4:
        codes = torch.cat([codes & 15, codes >> 4], dim=-1)
    else:
        codes = codes ^ 128  # int8 counts from -128, ours from 0
    minima = numbers[..., 1].contiguous() if has_minima else None
    return Quantized(codes.flatten(1), numbers[..., 0].contiguous(), minima, bits)


def quantized_parameters(file: GGUFFile, layout: Layout) -> dict[str, Quantized]:
    """Those of our parameters whose tensors all have one of these formats, the same one."""
    found: dict[str, Quantized] = {}
    for ours, sources in layout.items():
        parts = []
        for source in sources:
            part = quantized_tensor(file, source.name) if len(source.shape) == 2 else None
            if part is not None:
                parts.append(part.rows(source.prepare) if source.prepare else part)
        if len(parts) == len(sources) and len({(part.bits, part.minima is None) for part in parts}) == 1:
            found[ours] = _stack(parts)
    return found


def _stack(parts: list[Quantized]) -> Quantized:
    def joined(pieces: list[Tensor]) -> Tensor:
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    minima = [part.minima for part in parts if part.minima is not None]
    return Quantized(
        joined([part.codes for part in parts]),
        joined([part.scales for part in parts]),
        joined(minima) if minima else None,
        parts[0].bits,
    )

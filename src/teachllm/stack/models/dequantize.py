"""Quantized blocks of GGUF files back to float32.

A row of weights is cut into blocks of 32 numbers (256 in the K formats, which nest small blocks in a large
one). A block holds a small integer for each number and a float16 scale, often also a minimum. Each function
here takes blocks as bytes, (n, bytes of a block), and gives (n, numbers of a block).

The layouts are those of ggml, https://github.com/ggml-org/ggml: `_1` has a minimum, `_0` is symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Numbers that are turned at a time: small enough that the steps between stay in the cache.
_CHUNK = 1 << 18


@dataclass(frozen=True)
class BlockFormat:
    """A way to store numbers: `n_bytes` hold `n_numbers`, and `decode` turns blocks into float32."""

    name: str
    n_numbers: int
    n_bytes: int
    decode: Callable[[Bytes], Floats]


def dequantize(data: Bytes, block_format: BlockFormat) -> Floats:
    """All numbers of `data`, one after another. ValueError if the bytes are no whole number of blocks."""
    if data.size % block_format.n_bytes:
        raise ValueError(
            f"{data.size} bytes cannot be cut into {block_format.name} blocks of {block_format.n_bytes}"
        )
    blocks = data.reshape(-1, block_format.n_bytes)
    numbers = np.empty((len(blocks), block_format.n_numbers), dtype=np.float32)
    step = max(1, _CHUNK // block_format.n_numbers)
    for start in range(0, len(blocks), step):
        numbers[start : start + step] = block_format.decode(blocks[start : start + step])
    return numbers.reshape(-1)


# Pieces of a block -------------------------------------------------------------------------------------


def _float16(blocks: Bytes, start: int) -> Floats:
    """The float16 at byte `start` of each block: (n, 1)."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16).astype(np.float32)


def _int8(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view(np.int8).astype(np.float32)


def _bits(packed: Bytes, width: int, group: int) -> Bytes:
    """Unsigned integers of `width` bits: (n, bytes) → (n, bytes · 8/width).

    Bytes come in groups of `group`. The lowest bits of a whole group come first, then the next bits of the
    same group, then the next group.
    """
    shifts = np.arange(0, 8, width, dtype=np.uint8)[:, None]
    groups = packed.reshape(len(packed), -1, 1, group)
    return ((groups >> shifts) & np.uint8((1 << width) - 1)).reshape(len(packed), -1)


def _scaled(numbers: NDArray[np.generic], scales: Floats) -> Floats:
    """Each of the equal runs of `numbers` times its scale: (n, numbers) by (n, runs)."""
    runs = numbers.reshape(len(numbers), scales.shape[1], -1).astype(np.float32)
    return (runs * scales[:, :, None]).reshape(len(numbers), -1)


# Plain numbers -----------------------------------------------------------------------------------------


def _f32(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f4")


def _f16(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    """bfloat16 is the upper half of a float32."""
    return (np.ascontiguousarray(blocks).view("<u2").astype(np.uint32) << 16).view(np.float32)


# Blocks of 32 ------------------------------------------------------------------------------------------


def _q4_0(blocks: Bytes) -> Floats:
    return _float16(blocks, 0) * (_bits(blocks[:, 2:], 4, 16).astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> Floats:
    return _float16(blocks, 0) * _bits(blocks[:, 4:], 4, 16).astype(np.float32) + _float16(blocks, 2)


def _fifth_bits(blocks: Bytes, start: int) -> Bytes:
    """32 bits at byte `start`, one for each number, as 0 or 16."""
    return _bits(blocks[:, start : start + 4], 1, 1) << np.uint8(4)


def _q5_0(blocks: Bytes) -> Floats:
    numbers = _bits(blocks[:, 6:], 4, 16) | _fifth_bits(blocks, 2)
    return _float16(blocks, 0) * (numbers.astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> Floats:
    numbers = _bits(blocks[:, 8:], 4, 16) | _fifth_bits(blocks, 4)
    return _float16(blocks, 0) * numbers.astype(np.float32) + _float16(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return _float16(blocks, 0) * _int8(blocks[:, 2:])


# Blocks of 256 -----------------------------------------------------------------------------------------


def _q2_k(blocks: Bytes) -> Floats:
    """16 runs of 16 numbers of 2 bits; a run has a scale and a minimum of 4 bits each."""
    packed = _bits(blocks[:, :16], 4, 16).astype(np.float32)
    scales = _float16(blocks, 80) * packed[:, :16]
    minima: Floats = _float16(blocks, 82) * packed[:, 16:]
    return _scaled(_bits(blocks[:, 16:80], 2, 32), scales) - minima.repeat(16, axis=1)


def _q3_k(blocks: Bytes) -> Floats:
    """16 runs of 16 numbers of 3 bits, the high bit apart; a run has a scale of 6 bits."""
    high = _bits(blocks[:, :32], 1, 32)
    numbers = (_bits(blocks[:, 32:96], 2, 32) | (high << 2)).astype(np.float32) - 4
    low4, high2 = _bits(blocks[:, 96:104], 4, 8), _bits(blocks[:, 104:108], 2, 4)
    scales = (low4 | (high2 << 4)).astype(np.float32) - 32
    return _scaled(numbers, _float16(blocks, 108) * scales)


def _scales_and_minima(blocks: Bytes) -> tuple[Floats, Floats]:
    """8 scales and 8 minima of 6 bits, in the 12 bytes behind two float16: (n, 8) each.

    The first four of each are the low 6 bits of a byte; the others have 4 bits in the last four bytes, and
    their 2 high bits above the first four.
    """
    packed = blocks[:, 4:16]
    first, second, last = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (last & 15) | ((first >> 6) << 4)], axis=1)
    minima = np.concatenate([second & 63, (last >> 4) | ((second >> 6) << 4)], axis=1)
    return _float16(blocks, 0) * scales.astype(np.float32), _float16(blocks, 2) * minima.astype(np.float32)


def _q4_k(blocks: Bytes) -> Floats:
    """8 runs of 32 numbers of 4 bits."""
    scales, minima = _scales_and_minima(blocks)
    return _scaled(_bits(blocks[:, 16:], 4, 32), scales) - minima.repeat(32, axis=1)


def _q5_k(blocks: Bytes) -> Floats:
    """8 runs of 32 numbers of 5 bits, the high bit apart."""
    scales, minima = _scales_and_minima(blocks)
    numbers = _bits(blocks[:, 48:], 4, 32) | (_bits(blocks[:, 16:48], 1, 32) << 4)
    return _scaled(numbers, scales) - minima.repeat(32, axis=1)


def _q6_k(blocks: Bytes) -> Floats:
    """16 runs of 16 numbers of 6 bits, the two high bits apart; a run has a signed scale of 8 bits."""
    numbers = _bits(blocks[:, :128], 4, 64) | (_bits(blocks[:, 128:192], 2, 32) << 4)
    return _scaled(numbers.astype(np.float32) - 32, _float16(blocks, 208) * _int8(blocks[:, 192:208]))


def _q8_k(blocks: Bytes) -> Floats:
    """One float32 scale and 256 numbers of 8 bits; sums behind them serve other programs."""
    return _f32(blocks[:, :4]) * _int8(blocks[:, 4:260])


# Unevenly spaced levels --------------------------------------------------------------------------------

# Closer together around zero, where most weights are.
_IQ4_LEVELS = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32
)


def _iq4_nl(blocks: Bytes) -> Floats:
    return _float16(blocks, 0) * _IQ4_LEVELS[_bits(blocks[:, 2:], 4, 16)]


def _iq4_xs(blocks: Bytes) -> Floats:
    """8 runs of 32 numbers; a run has a scale of 6 bits, the two high bits apart."""
    low4, high2 = _bits(blocks[:, 4:8], 4, 1), _bits(blocks[:, 2:4], 2, 1)
    scales = (low4 | (high2 << 4)).astype(np.float32) - 32
    return _scaled(_IQ4_LEVELS[_bits(blocks[:, 8:], 4, 16)], _float16(blocks, 0) * scales)


# ggml's number of a format → the format.
BLOCK_FORMATS = {
    0: BlockFormat("F32", 1, 4, _f32),
    1: BlockFormat("F16", 1, 2, _f16),
    2: BlockFormat("Q4_0", 32, 18, _q4_0),
    3: BlockFormat("Q4_1", 32, 20, _q4_1),
    6: BlockFormat("Q5_0", 32, 22, _q5_0),
    7: BlockFormat("Q5_1", 32, 24, _q5_1),
    8: BlockFormat("Q8_0", 32, 34, _q8_0),
    10: BlockFormat("Q2_K", 256, 84, _q2_k),
    11: BlockFormat("Q3_K", 256, 110, _q3_k),
    12: BlockFormat("Q4_K", 256, 144, _q4_k),
    13: BlockFormat("Q5_K", 256, 176, _q5_k),
    14: BlockFormat("Q6_K", 256, 210, _q6_k),
    15: BlockFormat("Q8_K", 256, 292, _q8_k),
    20: BlockFormat("IQ4_NL", 32, 18, _iq4_nl),
    23: BlockFormat("IQ4_XS", 256, 136, _iq4_xs),
    30: BlockFormat("BF16", 1, 2, _bf16),
}

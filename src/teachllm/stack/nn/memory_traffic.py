"""What attention moves between a GPU's large memory and its chip, counted while it is computed.

A GPU computes on what lies in the small fast memory of the chip (SRAM). Everything else lies in its large
memory (HBM), tens of times slower. Code that says where it crosses from one to the other, by `Hbm.read` and
`Hbm.write`, is counted by the meter. The formulas below are held against the meter by a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.nn.attention import causal_mask


@dataclass
class Hbm:
    """A meter of bytes between the large memory and the chip."""

    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def bytes_moved(self) -> int:
        return self.bytes_read + self.bytes_written

    def read(self, tile: Tensor) -> Tensor:
        """The tile, on the chip. What an expanded dimension repeats is read as often as it repeats."""
        self.bytes_read += tile.numel() * tile.element_size()
        return tile

    def write(self, place: Tensor, tile: Tensor) -> None:
        """Put the tile into `place`, a view of a tensor in the large memory, in that tensor's dtype."""
        self.bytes_written += place.numel() * place.element_size()
        place.copy_(tile)

    def store(self, tile: Tensor) -> Tensor:
        """A new tensor in the large memory, filled with the tile."""
        self.bytes_written += tile.numel() * tile.element_size()
        return tile


def standard_attention(
    q: Float[Tensor, "batch heads query d"],
    k: Float[Tensor, "batch heads key d"],
    v: Float[Tensor, "batch heads key d_v"],
    causal: bool = False,
    hbm: Hbm | None = None,
) -> Float[Tensor, "batch heads query d_v"]:
    """Attention as three kernels that hand their matrices over in the large memory.

    Each kernel reads its inputs once and writes its output once, which is the least that it can do. Scale and
    mask are part of the first. Dao et al. 2022, arXiv:2205.14135, algorithm 0.
    """
    hbm = Hbm() if hbm is None else hbm
    # region: kernels
    scores = hbm.store(_scores(hbm.read(q), hbm.read(k), causal))
    weights = hbm.store(torch.softmax(hbm.read(scores), dim=-1))
    out = hbm.store(hbm.read(weights) @ hbm.read(v))
    # endregion: kernels
    return out  # noqa: RET504 (a return is no part of a region that a lesson shows)


def _scores(q: Tensor, k: Tensor, causal: bool) -> Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if causal:
        n_queries, n_keys = scores.shape[-2:]
        scores = scores.masked_fill(~causal_mask(n_queries, n_keys - n_queries, q.device), -math.inf)
    return scores


def standard_attention_bytes(n: int, d: int, bytes_per_number: int = 2) -> dict[str, int]:
    """Bytes that each of the three kernels moves for one head, n queries and keys of d numbers.

    S = q kᵀ reads q and k and writes S; P = softmax(S) reads S and writes P; O = P v reads P and v and
    writes O: 4 n² + 4 n d numbers in all. Dao et al. 2022, arXiv:2205.14135, algorithm 0 and theorem 2: Θ(n
    d + n²).

    >>> standard_attention_bytes(1024, 64)
    {'scores': 2359296, 'softmax': 4194304, 'output': 2359296}
    """
    matrix, square = n * d * bytes_per_number, n * n * bytes_per_number
    return {"scores": 2 * matrix + square, "softmax": 2 * square, "output": square + 2 * matrix}


def flash_attention_bytes(n: int, d: int, block_q: int, bytes_per_number: int = 2) -> int:
    """Bytes that `flash_forward` moves for one head without a causal mask, n queries and keys of d numbers.

    Queries are read and outputs written once, keys and values once for each block of `block_q` queries, and
    one float32 log-sum-exp a query is written: Θ(n² d / block_q). Dao et al. 2022, arXiv:2205.14135, theorem
    2, where block_q is as large as the chip's memory allows: Θ(n² d² / M).

    >>> flash_attention_bytes(1024, 64, block_q=128)
    2363392
    """
    matrix, row_blocks = n * d * bytes_per_number, -(-n // block_q)
    return 2 * matrix + 2 * matrix * row_blocks + 4 * n


def flash_v1_bytes(n: int, d: int, block_k: int, bytes_per_number: int = 2) -> int:
    """Bytes that `flash_forward_v1` moves, as above: its outer loop is the one over blocks of `block_k` keys.

    Keys and values are read once. For each block of keys, queries are read, and output, maximum and sum of
    each query (float32) are read and written; at the beginning the latter three are set.
    """
    matrix, column_blocks = n * d * bytes_per_number, -(-n // block_k)
    running = 4 * (n * d + 2 * n)
    return 2 * matrix + running + column_blocks * (matrix + 2 * running)

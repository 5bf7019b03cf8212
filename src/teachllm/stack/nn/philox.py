"""Random bits that are a function of a counter: any piece of a random mask, made again whenever it is needed.

A dropout mask of attention is as large as the matrix of scores. Where that matrix is never written down, the
mask cannot be either: each tile makes its own part from a seed and the positions, in the forward pass and
once more in the backward pass. Triton's `tl.philox` gives the same bits.

Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10).
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
MASK = 0xFFFFFFFF


def philox(
    seed: int, c0: Int[Tensor, "*shape"], c1: Int[Tensor, "*shape"], c2: Int[Tensor, "*shape"]
) -> Int[Tensor, "*shape"]:
    """The first 32 bits of Philox4x32-10 for the counter (c0, c1, c2, 0), as int64 from 0 to 2³² − 1.

    Counters are int64 below 2³² and may broadcast; seed is below 2⁶⁴.
    """
    k0, k1 = seed & MASK, seed >> 32 & MASK
    c3 = c0 * 0
    for _ in range(ROUNDS):
        high_0, low_0 = _product(MULTIPLIERS[0], c0)
        high_1, low_1 = _product(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = k0 + KEY_STEPS[0] & MASK, k1 + KEY_STEPS[1] & MASK
    return c0


def _product(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """Upper and lower 32 bits of the product of 32-bit numbers; it may wrap around int64, its bits do not."""
    product = a * b
    return product >> 32 & MASK, product & MASK


def dropout_factors(
    probability: float,
    seed: int,
    head: Int[Tensor, "*shape"],
    query: Int[Tensor, "*shape"],
    key: Int[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """0 for a weight of attention that is dropped, with `probability`; 1/(1 − probability) for others.

    head counts through the whole batch: row of the batch × heads + head.
    """
    stays = philox(seed, key, query, head) >= round(probability * 2**32)
    return stays.float() / (1 - probability)

"""A random order of any number of things that is computed, not stored: one place of it takes microseconds.

So a loader can continue at any place of any epoch without keeping, or drawing again, a list of all rows.
"""

from __future__ import annotations

ROUNDS = 6
MASK64 = (1 << 64) - 1


def shuffled(index: int, n: int, seed: int) -> int:
    """The index-th element of a random permutation of 0, …, n − 1, which `seed` chooses.

    A Feistel network permutes 0, …, 4ᵏ − 1 ≥ n − 1 (Luby and Rackoff 1988): each round mixes one half of
    the bits into the other, which can be undone whatever mixes. A result of n or more is permuted again
    until it is smaller ("cycle walking", Black and Rogaway 2002), at most four times on average.

    >>> sorted(shuffled(i, 10, seed=1) for i in range(10))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    if not 0 <= index < n:
        raise IndexError(f"index {index} of a permutation of {n}")
    half = ((n - 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    keys = [mix(mix(seed) + number) for number in range(ROUNDS)]
    while True:
        left, right = index >> half, index & mask
        for key in keys:
            left, right = right, left ^ (mix(right ^ key) & mask)
        index = left << half | right
        if index < n:
            return index


def mix(x: int) -> int:
    """64 bits that look independent of those of any other x: SplitMix64's finalizer (Steele et al. 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & MASK64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK64
    return x ^ x >> 31

"""MinHash: how much two texts share, from a few hundred bytes of each; and bands that find similar ones.

Each text is the set of its shingles, short runs of words. Two sets' Jaccard similarity, |A ∩ B| / |A ∪ B|, is
the chance that a random permutation of all shingles puts the same one first in both. A signature keeps the
first under each of k permutations; the share of equal entries estimates the similarity, with a standard error
of √(s(1 − s)/k). Broder 1997, "On the resemblance and containment of documents".

Written to be read. `fast.signatures` computes the same numbers for a stream of texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import overload

import numpy as np
import regex
from jaxtyping import Float, UInt32

MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1
EMPTY = MASK32
"""The entry of a text that has no shingle."""

WRITTEN_WITHOUT_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
ALONE = rf"[{WRITTEN_WITHOUT_SPACES}]"
WORD = rf"(?V1)[[\p{{L}}\p{{N}}]--[{WRITTEN_WITHOUT_SPACES}]]+"
UNITS = regex.compile(f"{ALONE}|{WORD}")


def units(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation. In scripts that put no space between words,
    each character is a unit.

    >>> units("Attention, 注意力!")
    ['attention', '注', '意', '力']
    """
    return UNITS.findall(text.lower())


def shingles(text: str, size: int = 5) -> set[str]:
    """All runs of `size` neighbouring units; of a shorter text the one run it has.

    >>> sorted(shingles("A rose is a rose is a rose", size=4))
    ['a rose is a', 'is a rose is', 'rose is a rose']
    """
    words = units(text)
    n_runs = max(1, len(words) - size + 1) if words else 0
    return {" ".join(words[i : i + size]) for i in range(n_runs)}


def jaccard(a: set[str], b: set[str]) -> float:
    """|A ∩ B| / |A ∪ B|; 0 for two empty sets, of which nothing is known."""
    return len(a & b) / len(a | b) if a or b else 0.0


# Signatures ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Permutations:
    """k permutations of the 32-bit integers, x → (multipliers·x + shifts) mod 2³². An odd multiplier has an
    inverse, so that no two x meet.
    """

    multipliers: UInt32[np.ndarray, " k"]
    shifts: UInt32[np.ndarray, " k"]


@cache
def random_permutations(k: int, seed: int = 0) -> Permutations:
    """k permutations that `seed` chooses. Signatures can be compared only when made with the same ones."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(1 << 32, size=(2, k), dtype=np.uint32)
    return Permutations(drawn[0] | np.uint32(1), drawn[1])


def shingle_hash(shingle: str) -> int:
    """32 bits of a shingle: FNV-1a of each unit, a polynomial over the units, and MurmurHash3's finalizer."""
    polynomial = 0
    for unit in shingle.split(" "):
        hashed = 0xCBF29CE484222325
        for byte in unit.encode("utf-8", "surrogatepass"):
            hashed = (hashed ^ byte) * 0x100000001B3 & MASK64
        polynomial = (polynomial * 0x9E3779B97F4A7C15 + hashed) & MASK64
    polynomial = (polynomial ^ polynomial >> 33) * 0xFF51AFD7ED558CCD & MASK64
    polynomial = (polynomial ^ polynomial >> 33) * 0xC4CEB9FE1A85EC53 & MASK64
    return polynomial >> 32


def minhash_signature(
    hashes: UInt32[np.ndarray, " n"], permutations: Permutations
) -> UInt32[np.ndarray, " k"]:
    """For each permutation the smallest of the permuted hashes; `EMPTY` everywhere for no hashes.

    Broder 1997; as permutations, the affine maps of Broder et al. 1998, "Min-wise independent permutations".
    """
    a, b = permutations.multipliers[:, None], permutations.shifts[:, None]
    permuted = a * hashes + b  # uint32 wraps around: mod 2³²
    return permuted.min(axis=1, initial=EMPTY)


def text_signature(text: str, permutations: Permutations, size: int = 5) -> UInt32[np.ndarray, " k"]:
    """The signature of a text's shingles."""
    hashes = np.array([shingle_hash(shingle) for shingle in shingles(text, size)], dtype=np.uint32)
    return minhash_signature(hashes, permutations)


def estimated_jaccard(a: UInt32[np.ndarray, " k"], b: UInt32[np.ndarray, " k"]) -> float:
    """The share of permutations under which both texts have the same first shingle."""
    return float((a == b).mean())


# Bands: candidates without comparing all pairs -----------------------------------------------------------


@overload
def candidate_probability(similarity: float, bands: int, rows: int) -> float: ...
@overload
def candidate_probability(
    similarity: Float[np.ndarray, " n"], bands: int, rows: int
) -> Float[np.ndarray, " n"]: ...
def candidate_probability(similarity, bands, rows):
    """How likely two texts agree in all `rows` entries of at least one of `bands` bands: 1 − (1 − sʳ)ᵇ.

    An S-shaped curve that climbs steepest near (1/b)^(1/r). Indyk and Motwani 1998; Leskovec, Rajaraman and
    Ullman, "Mining of Massive Datasets", section 3.4.
    """
    return 1 - (1 - similarity**rows) ** bands


@cache
def choose_bands(threshold: float, k: int, miss_weight: float = 0.5) -> tuple[int, int]:
    """(bands, rows) with bands · rows ≤ k for which the curve comes closest to a step at `threshold`.

    Least is (1 − miss_weight) · (candidates below the threshold) + miss_weight · (pairs above it that are
    missed), each an area between the curve and the step; the integrals are sums over 1,000 midpoints each.

    >>> choose_bands(0.8, 128)
    (9, 13)
    """
    if not 0 < threshold < 1 or k < 1 or not 0 <= miss_weight <= 1:
        raise ValueError(
            f"threshold {threshold} and miss_weight {miss_weight} must lie between 0 and 1, and k = {k} must "
            "be at least 1"
        )
    below = _midpoints(0.0, threshold)
    above = _midpoints(threshold, 1.0)

    def error(bands: int, rows: int) -> float:
        false_candidates = threshold * np.mean(candidate_probability(below, bands, rows))
        missed = (1 - threshold) * np.mean(1 - candidate_probability(above, bands, rows))
        return float((1 - miss_weight) * false_candidates + miss_weight * missed)

    pairs = [(bands, rows) for bands in range(1, k + 1) for rows in range(1, k // bands + 1)]
    return min(pairs, key=lambda pair: error(*pair))


def _midpoints(start: float, stop: float, n: int = 1000) -> np.ndarray:
    return start + (np.arange(n) + 0.5) * (stop - start) / n

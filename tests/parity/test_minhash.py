"""MinHash and its bands beside `datasketch`."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import MinHash
from datasketch.lsh import _optimal_param

from teachllm.stack.data.minhash import (
    choose_bands,
    estimated_jaccard,
    jaccard,
    minhash_signature,
    random_permutations,
    shingles,
    text_signature,
)

pytestmark = pytest.mark.parity

WORDS = [f"w{number}" for number in range(400)]


@pytest.mark.parametrize("k", [32, 64])
@pytest.mark.parametrize("miss_weight", [0.3, 0.5, 0.8])
def test_the_bands_are_those_that_datasketch_chooses(k: int, miss_weight: float) -> None:
    for threshold in (0.5, 0.7, 0.8, 0.9):
        assert choose_bands(threshold, k, miss_weight) == _optimal_param(
            threshold, k, 1 - miss_weight, miss_weight
        )


def test_signatures_are_those_of_datasketch_under_the_same_permutations() -> None:
    """datasketch permutes as we do, x → a·x + b mod 2³² with odd a, after MurmurHash3's 32-bit finalizer."""
    hashes = np.random.default_rng(0).integers(1 << 32, size=500, dtype=np.uint32)
    permutations = random_permutations(128, seed=4)
    theirs = MinHash(
        num_perm=128,
        hashfunc=lambda item: int(item),
        permutations=(permutations.multipliers, permutations.shifts),
        scheme="affine32",
    )
    theirs.update_batch(hashes.tolist())
    assert np.array_equal(minhash_signature(finalized(hashes), permutations), theirs.hashvalues)


def finalized(x: np.ndarray) -> np.ndarray:
    """MurmurHash3's 32-bit finalizer."""
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    x = (x ^ x >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return x ^ x >> np.uint32(16)


def test_our_estimates_and_theirs_scatter_around_the_truth_alike() -> None:
    """In standard errors √(s(1 − s)/k), over many pairs: mean 0 and spread 1."""
    generator = np.random.default_rng(1)
    k, trials = 256, 40
    errors = np.empty((trials, 2))
    for trial in range(trials):
        words = generator.choice(WORDS, 300).tolist()
        changed = [word if generator.random() > 0.03 else "new" for word in words]
        texts = " ".join(words), " ".join(changed)
        sets = [shingles(text) for text in texts]
        ours = estimated_jaccard(*(text_signature(text, random_permutations(k, trial)) for text in texts))
        sketches = [MinHash(num_perm=k, seed=trial) for _ in sets]
        for sketch, shingle_set in zip(sketches, sets, strict=True):
            sketch.update_batch([shingle.encode() for shingle in shingle_set])
        true = jaccard(*sets)
        standard_error = (true * (1 - true) / k) ** 0.5
        theirs = sketches[0].jaccard(sketches[1])
        errors[trial] = (ours - true) / standard_error, (theirs - true) / standard_error
    assert (abs(errors.mean(axis=0)) < 4 / trials**0.5).all()
    assert (abs(errors.std(axis=0) - 1) < 0.35).all()

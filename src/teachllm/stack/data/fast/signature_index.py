"""All signatures so far, findable by their bands: a hash table over arrays, filled by a kernel."""

from __future__ import annotations

import numpy as np

from teachllm.stack.data.minhash import EMPTY
from teachllm.stack.tokenizer.fast.compiled import compiled, inlined

NOBODY = -1
MOST_IN_BUCKET = 64
"""Texts that may share one band. Where so many share it and none repeats another, it is a template of theirs
and tells nothing; comparing each newcomer with all would take quadratic time. Later ones are not entered
under this band, but still under their others.
"""
BASE = np.uint64(0x9E3779B97F4A7C15)
MIX, U29 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(29)


class SignatureIndex:
    """Finds for each new signature the earlier one it shares most with, and keeps it if there is none.

    A text that is kept costs 4·k bytes for its signature and 12 bytes a band in a table that is between a
    quarter and half full: with k = 128 and 9 bands 730 to 940 bytes, and when the arrays have just doubled,
    twice that.
    """

    def __init__(self, k: int, bands: int, rows: int, least_equal: int) -> None:
        self.count = 0
        """Signatures that were kept."""
        self._bands, self._rows, self._least_equal = bands, rows, least_equal
        self._signatures = np.empty((1 << 10, k), dtype=np.uint32)
        self._keys = np.empty(0, dtype=np.uint64)
        self._owners = np.empty(0, dtype=np.int32)
        self._grow_table(1 << 10)

    def add(self, signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each signature the number of the kept one that it repeats, or NOBODY, and how many entries are
        equal. One that repeats nobody is kept, under the next number.
        """
        if self.count + len(signatures) > len(self._signatures):
            n = max(2 * len(self._signatures), self.count + len(signatures))
            grown = np.empty((n, self._signatures.shape[1]), dtype=np.uint32)
            grown[: self.count] = self._signatures[: self.count]
            self._signatures = grown
            self._grow_table(n)
        repeated = np.empty(len(signatures), dtype=np.int32)
        equal = np.empty(len(signatures), dtype=np.int32)
        self.count = find_or_add(
            signatures, self._signatures, self.count, self._bands, self._rows, self._least_equal,
            self._keys, self._owners, repeated, equal,
        )  # fmt: skip
        return repeated, equal

    @property
    def n_bytes(self) -> int:
        return self._signatures.nbytes + self._keys.nbytes + self._owners.nbytes

    def _grow_table(self, n_texts: int) -> None:
        n_slots = 1 << (2 * n_texts * self._bands - 1).bit_length()
        keys, owners = np.zeros(n_slots, dtype=np.uint64), np.full(n_slots, NOBODY, dtype=np.int32)
        move(self._keys, self._owners, keys, owners)
        self._keys, self._owners = keys, owners


@compiled
def find_or_add(new, kept, count, bands, rows, least_equal, keys, owners, repeated, equal):
    """See `SignatureIndex.add`. Returns how many are kept now."""
    mask = np.uint64(len(keys) - 1)
    for i in range(len(new)):
        signature = new[i]
        best, most_equal, last_compared = NOBODY, 0, NOBODY
        for band in range(bands):
            key = band_key(signature, band, rows)
            slot = key & mask
            while owners[slot] != NOBODY:
                owner = owners[slot]
                if keys[slot] == key and owner != last_compared:
                    last_compared = owner
                    n_equal = count_equal(signature, kept[owner])
                    if n_equal > most_equal or (n_equal == most_equal and owner < best):
                        best, most_equal = owner, n_equal
                slot = slot + np.uint64(1) & mask
        equal[i] = most_equal
        if most_equal >= least_equal:
            repeated[i] = best
            continue
        repeated[i] = NOBODY
        for j in range(len(signature)):  # assigning the whole row would allocate
            kept[count, j] = signature[j]
        if not is_empty(signature):
            for band in range(bands):
                enter(band_key(signature, band, rows), count, keys, owners)
        count += 1
    return count


@compiled
def move(old_keys, old_owners, keys, owners):
    """Enter all of an old table into a new one."""
    for slot in range(len(old_keys)):
        if old_owners[slot] != NOBODY:
            enter(old_keys[slot], old_owners[slot], keys, owners)


@inlined
def enter(key, owner, keys, owners):
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    n_sharing = 0
    while owners[slot] != NOBODY:
        n_sharing += keys[slot] == key
        slot = slot + np.uint64(1) & mask
    if n_sharing < MOST_IN_BUCKET:
        keys[slot] = key
        owners[slot] = owner


@inlined
def band_key(signature, band, rows):
    key = np.uint64(band + 1) * BASE
    for i in range(band * rows, (band + 1) * rows):
        key = (key ^ np.uint64(signature[i])) * MIX
        key ^= key >> U29
    return key


@inlined
def count_equal(a, b):
    n = 0
    for i in range(len(a)):
        n += a[i] == b[i]
    return n


@inlined
def is_empty(signature):
    for i in range(len(signature)):  # noqa: SIM110  (a kernel)
        if signature[i] != EMPTY:
            return False
    return True

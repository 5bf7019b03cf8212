"""MinHash signatures of many texts in one pass over their bytes: `minhash.text_signature`, compiled.

No word and no shingle is ever built. A unit's hash grows byte by byte; the polynomial over the last few units
rolls on by one unit at a time; each shingle's hash then goes through all permutations at once, in vectors.
A shingle that occurs twice is hashed twice, which changes no minimum.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache

import numpy as np
import regex

from teachllm.stack.data.minhash import ALONE, EMPTY, WORD, Permutations
from teachllm.stack.tokenizer.fast.compiled import compiled, inlined

NEITHER, IN_WORD, IS_UNIT = 0, 1, 2
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
BASE = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
U32, U33 = np.uint64(32), np.uint64(33)


def text_signatures(texts: Sequence[str], permutations: Permutations, size: int = 5) -> np.ndarray:
    """uint32[text, k]: the signature of each text's shingles of `size` units."""
    encoded = [text.lower().encode("utf-8", "surrogatepass") for text in texts]
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    ends = np.cumsum(list(map(len, encoded)), dtype=np.int64)
    signatures = np.full((len(texts), len(permutations.shifts)), EMPTY, dtype=np.uint32)
    last_units = np.zeros(size, dtype=np.uint64)
    oldest_weight = np.uint64(pow(int(BASE), size - 1, 1 << 64))
    sign_texts(
        data, ends, unit_classes(), last_units, oldest_weight,
        permutations.multipliers, permutations.shifts, signatures,
    )  # fmt: skip
    return signatures


@cache
def unit_classes() -> np.ndarray:
    """uint8[0x110000]: whether a code point is part of a word, a unit by itself, or neither."""
    every_code_point = "".join(map(chr, range(sys.maxunicode + 1)))
    classes = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    for value, source in ((IN_WORD, WORD), (IS_UNIT, f"{ALONE}+")):
        for match in regex.finditer(source, every_code_point):
            classes[match.start() : match.end()] = value
    return classes


@compiled
def sign_texts(data, ends, classes, last_units, oldest_weight, multipliers, shifts, signatures):
    """Fill one row of `signatures` a text. `last_units` is room for the hashes of one shingle's units."""
    i = 0
    for text in range(len(ends)):
        end = ends[text]
        signature = signatures[text]
        last_units[:] = np.uint64(0)
        polynomial = np.uint64(0)
        unit = FNV_OFFSET
        n_units = 0
        in_word = False
        while i < end or in_word:
            kind, after = NEITHER, end  # what stands behind a text closes its last word
            if i < end:
                code_point, after = decode(data, i)
                kind = classes[code_point]
            if in_word and kind != IN_WORD:
                polynomial = add_unit(
                    unit, polynomial, n_units, last_units, oldest_weight, multipliers, shifts, signature
                )
                n_units += 1
                unit = FNV_OFFSET
            in_word = kind == IN_WORD
            if kind != NEITHER:
                for j in range(i, after):
                    unit = (unit ^ np.uint64(data[j])) * FNV_PRIME
            if kind == IS_UNIT:
                polynomial = add_unit(
                    unit, polynomial, n_units, last_units, oldest_weight, multipliers, shifts, signature
                )
                n_units += 1
                unit = FNV_OFFSET
            i = after
        if 0 < n_units < len(last_units):
            take_smaller(signature, polynomial, multipliers, shifts)


@inlined
def add_unit(unit, polynomial, n_units, last_units, oldest_weight, multipliers, shifts, signature):
    """The polynomial over the last units with one more; if they make a shingle, it enters the signature."""
    slot = n_units % len(last_units)
    polynomial = (polynomial - last_units[slot] * oldest_weight) * BASE + unit
    last_units[slot] = unit
    if n_units + 1 >= len(last_units):
        take_smaller(signature, polynomial, multipliers, shifts)
    return polynomial


@inlined
def take_smaller(signature, polynomial, multipliers, shifts):
    mixed = (polynomial ^ polynomial >> U33) * MIX_1
    mixed = (mixed ^ mixed >> U33) * MIX_2
    hashed = np.uint32(mixed >> U32)
    for k in range(len(signature)):
        signature[k] = min(signature[k], np.uint32(multipliers[k] * hashed + shifts[k]))


@inlined
def decode(data, i):
    """The code point at `i`, and where the next one begins. The bytes are valid UTF-8."""
    if data[i] < 0x80:
        return np.int64(data[i]), i + 1
    if data[i] < 0xE0:
        return (data[i] & 0x1F) << 6 | data[i + 1] & 0x3F, i + 2
    if data[i] < 0xF0:
        return (data[i] & 0x0F) << 12 | (data[i + 1] & 0x3F) << 6 | data[i + 2] & 0x3F, i + 3
    high = (data[i] & 0x07) << 18 | (data[i + 1] & 0x3F) << 12
    return high | (data[i + 2] & 0x3F) << 6 | data[i + 3] & 0x3F, i + 4

"""Distances of one query to four rows at once, and the pool that keeps the nearest.

A distance of 128 numbers is done in some nanoseconds when they are in the cache, and waits ten times as long
when they are not. Four rows are independent, so the processor waits for all four at once; while it does,
`prefetch` has asked for the next four.

A pool is an ascending row of 64-bit keys: a distance, a number, and one bit to mark with. One comparison of
whole numbers then orders by distance, and equal distances by number.
"""
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from teachllm.stack.nn.fast.threads import INNER
from teachllm.stack.nn.fast.vectors import all_floats, load_floats, multiply_add, total
from teachllm.stack.retrieval.indexes.fast.vector_operations import (
    bits_of,
    float_of,
    move,
    prefetch,
    subtract,
)

LINE = 64  # bytes
NOTHING = np.iinfo(np.int64).max
"""A key that comes after every other."""


def _inlined(function: Any) -> Any:
    return numba.njit(function, forceinline=True, _nrt=False, **INNER)


@_inlined
def four_distances(query, a, b, c, d, row_bytes, squared):  # type: ignore[no-untyped-def]
    """Of the query to the rows at four addresses: ‖x − q‖² if `squared`, else −x·q."""
    s = t = u = v = all_floats(np.float32(0))
    if squared:
        for i in range(0, row_bytes, LINE):
            q = load_floats(query + i)
            e, f = subtract(load_floats(a + i), q), subtract(load_floats(b + i), q)
            g, h = subtract(load_floats(c + i), q), subtract(load_floats(d + i), q)
            s, t = multiply_add(e, e, s), multiply_add(f, f, t)
            u, v = multiply_add(g, g, u), multiply_add(h, h, v)
        return total(s), total(t), total(u), total(v)
    for i in range(0, row_bytes, LINE):
        q = load_floats(query + i)
        s, t = multiply_add(load_floats(a + i), q, s), multiply_add(load_floats(b + i), q, t)
        u, v = multiply_add(load_floats(c + i), q, u), multiply_add(load_floats(d + i), q, v)
    return -total(s), -total(t), -total(u), -total(v)


@_inlined
def one_distance(query, a, row_bytes, squared):  # type: ignore[no-untyped-def]
    s = all_floats(np.float32(0))
    if squared:
        for i in range(0, row_bytes, LINE):
            e = subtract(load_floats(a + i), load_floats(query + i))
            s = multiply_add(e, e, s)
        return total(s)
    for i in range(0, row_bytes, LINE):
        s = multiply_add(load_floats(a + i), load_floats(query + i), s)
    return -total(s)


@_inlined
def prefetch_row(address, row_bytes):  # type: ignore[no-untyped-def]
    for i in range(0, row_bytes, LINE):
        prefetch(address + i)


# Keys ---------------------------------------------------------------------------------------------------


@_inlined
def key_of(distance, number):  # type: ignore[no-untyped-def]
    """The bits of a float ascend with it if those of negative numbers are turned round."""
    bits = bits_of(np.float32(distance))
    ascending = bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))
    return (np.int64(ascending) << np.int64(32)) | (np.int64(number) << np.int64(1))


@_inlined
def number_of(key):  # type: ignore[no-untyped-def]
    return (key & np.int64(0xFFFFFFFF)) >> np.int64(1)


@_inlined
def distance_of(key):  # type: ignore[no-untyped-def]
    bits = np.int32(key >> np.int64(32))
    return float_of(np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@_inlined
def place_in(pool, size, key):  # type: ignore[no-untyped-def]
    """How many of the first `size` keys come before this one."""
    low, high = 0, size
    while low < high:
        middle = (low + high) >> 1
        if pool[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@_inlined
def insert(pool, size, limit, place, key):  # type: ignore[no-untyped-def]
    """Put a key at its place; the last one leaves if there are `limit` already. Returns the new size."""
    if size < limit:
        size += 1
    address = pool.ctypes.data + 8 * place
    move(address + 8, address, 8 * (size - 1 - place))
    pool[place] = key
    return size


@_inlined
def offer(pool, size, limit, distance, number):  # type: ignore[no-untyped-def]
    """Keep it if it is among the `limit` nearest so far. Returns the new size."""
    key = key_of(distance, number)
    if size < limit or key < pool[limit - 1]:
        size = insert(pool, size, limit, place_in(pool, size, key), key)
    return size


@_inlined
def sift_up(heap, size, key):  # type: ignore[no-untyped-def]
    """Put a key into a heap whose least key is first. Returns the new size."""
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if heap[above] <= key:
            break
        heap[place] = heap[above]
        place = above
    heap[place] = key
    return size + 1


@_inlined
def sift_down(heap, size, key):  # type: ignore[no-untyped-def]
    """Put a key in place of the least of `size` keys."""
    place, child = 0, 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[place] = heap[child]
        place, child = child, 2 * child + 1
    heap[place] = key


@_inlined
def unpack(pool, size, numbers, distances):  # type: ignore[no-untyped-def]
    """Write out the keys of a pool, nearest first; what is behind them stays as it is."""
    for i in range(min(size, len(numbers))):
        numbers[i] = number_of(pool[i])
        distances[i] = distance_of(pool[i])

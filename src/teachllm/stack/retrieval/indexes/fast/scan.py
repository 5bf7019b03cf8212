"""Comparing a query with every row of a range: all rows of a flat index, or the cells that IVF visits.

Oracle: NumPy's differences, squared and added up. The nearest so far stand in a pool a query (`distances`).
`allowed` is a byte a row, 0 for rows that must not be found, or empty.
"""
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false, reportGeneralTypeIssues=false

from __future__ import annotations

import numba
import numpy as np

from teachllm.stack.nn.fast.threads import INNER
from teachllm.stack.nn.fast.vectors import all_floats, load_floats, multiply_add, total
from teachllm.stack.retrieval.indexes.fast.distances import four_distances, offer, unpack
from teachllm.stack.retrieval.indexes.fast.vector_operations import load_bytes
from teachllm.stack.tokenizer.fast.compiled import compiled

IN_CACHE = 16384  # bytes of rows that every query meets before the next ones are read


@numba.njit(forceinline=True, _nrt=False, **INNER)
def offer_four(pool, size, limit, allowed, row, end, s, t, u, v):  # type: ignore[no-untyped-def]
    """Four neighbouring rows; those from `end` on are repetitions of the last."""
    everything = len(allowed) == 0
    if everything or allowed[row]:
        size = offer(pool, size, limit, s, row)
    if row + 1 < end and (everything or allowed[row + 1]):
        size = offer(pool, size, limit, t, row + 1)
    if row + 2 < end and (everything or allowed[row + 2]):
        size = offer(pool, size, limit, u, row + 2)
    if row + 3 < end and (everything or allowed[row + 3]):
        size = offer(pool, size, limit, v, row + 3)
    return size


@numba.njit(forceinline=True, _nrt=False, **INNER)
def scan_range(query, rows, first, end, row_bytes, squared, allowed, pool, size):  # type: ignore[no-untyped-def]
    limit, last = len(pool), rows + (end - 1) * row_bytes
    for row in range(first, end, 4):
        a = rows + row * row_bytes
        b = min(a + row_bytes, last)
        c, d = min(b + row_bytes, last), min(b + 2 * row_bytes, last)
        s, t, u, v = four_distances(query, a, b, c, d, row_bytes, squared)
        size = offer_four(pool, size, limit, allowed, row, end, s, t, u, v)
    return size


@compiled
def scan_all(queries, n_queries, rows, n_rows, row_bytes, squared, allowed, pools, sizes, numbers, distances):  # type: ignore[no-untyped-def]
    """Every query with every row: some rows at a time, while they are in the cache, with all queries."""
    block = max(4, IN_CACHE // row_bytes)
    for first in range(0, n_rows, block):
        end = min(n_rows, first + block)
        for q in range(n_queries):
            query = queries + q * row_bytes
            sizes[q] = scan_range(query, rows, first, end, row_bytes, squared, allowed, pools[q], sizes[q])
    for q in range(n_queries):
        unpack(pools[q], sizes[q], numbers[q], distances[q])


@compiled
def scan_lists(
    queries, n_queries, rows, row_bytes, squared, starts, probes, allowed, pool, numbers, distances
):  # type: ignore[no-untyped-def]
    """Each query with the rows of the lists that it probes: list i is the rows starts[i] … starts[i + 1] - 1.

    A probe of -1 ends a query's row of them.
    """
    for q in range(n_queries):
        size = 0
        for i in range(probes.shape[1]):
            cell = probes[q, i]
            if cell < 0:
                break
            size = scan_range(
                queries + q * row_bytes, rows, starts[cell], starts[cell + 1], row_bytes, squared, allowed,
                pool, size,
            )  # fmt: skip
        unpack(pool, size, numbers[q], distances[q])


# Rows of bytes ------------------------------------------------------------------------------------------


@numba.njit(forceinline=True, _nrt=False, **INNER)
def four_byte_distances(shift, scale, a, b, c, d, width, squared):  # type: ignore[no-untyped-def]
    """Of rows of uint8: Σ (code · scale + shift)² if `squared`, else -Σ code · scale."""
    s = t = u = v = all_floats(np.float32(0))
    for i in range(0, width, 16):
        factor = load_floats(scale + 4 * i)
        e, f, g, h = load_bytes(a + i), load_bytes(b + i), load_bytes(c + i), load_bytes(d + i)
        if squared:
            difference = load_floats(shift + 4 * i)
            e, f = multiply_add(e, factor, difference), multiply_add(f, factor, difference)
            g, h = multiply_add(g, factor, difference), multiply_add(h, factor, difference)
            s, t = multiply_add(e, e, s), multiply_add(f, f, t)
            u, v = multiply_add(g, g, u), multiply_add(h, h, v)
        else:
            s, t = multiply_add(e, factor, s), multiply_add(f, factor, t)
            u, v = multiply_add(g, factor, u), multiply_add(h, factor, v)
    if squared:
        return total(s), total(t), total(u), total(v)
    return -total(s), -total(t), -total(u), -total(v)


@compiled
def scan_byte_lists(
    shifts, scales, constants, rows, width, squared, starts, probes, allowed, pool, numbers, distances
):  # type: ignore[no-untyped-def]
    """Like `scan_lists`, for rows of `width` uint8. Each query has its own shift, scale and constant, which
    is added to its distances.
    """
    limit = len(pool)
    for q in range(len(constants)):
        shift, scale, size = shifts + 4 * width * q, scales + 4 * width * q, 0
        for i in range(probes.shape[1]):
            cell = probes[q, i]
            if cell < 0:
                break
            end = starts[cell + 1]
            last = rows + (end - 1) * width
            for row in range(starts[cell], end, 4):
                a = rows + row * width
                b = min(a + width, last)
                c, d = min(b + width, last), min(b + 2 * width, last)
                s, t, u, v = four_byte_distances(shift, scale, a, b, c, d, width, squared)
                size = offer_four(pool, size, limit, allowed, row, end, s, t, u, v)
        unpack(pool, size, numbers[q], distances[q])
        for i in range(min(size, numbers.shape[1])):
            distances[q, i] += constants[q]


# Codes of a product quantizer ---------------------------------------------------------------------------


@compiled
def scan_code_lists(tables, codes, constants, extras, starts, probes, allowed, pool, numbers, distances):  # type: ignore[no-untyped-def]
    """Asymmetric distances: constants[query, probe] + extras[row] + Σ_j tables[query, j, codes[row, j]].

    `extras` may be empty. Four rows at a time: their look-ups do not wait for each other.
    """
    limit, n_codes = len(pool), codes.shape[1]
    for q in range(len(tables)):
        table, size = tables[q], 0
        for i in range(probes.shape[1]):
            cell = probes[q, i]
            if cell < 0:
                break
            end, constant = starts[cell + 1], constants[q, i]
            for row in range(starts[cell], end, 4):
                b, c, d = min(row + 1, end - 1), min(row + 2, end - 1), min(row + 3, end - 1)
                s = t = u = v = constant
                for j in range(n_codes):
                    s += table[j, codes[row, j]]
                    t += table[j, codes[b, j]]
                    u += table[j, codes[c, j]]
                    v += table[j, codes[d, j]]
                if len(extras) > 0:
                    s, t, u, v = s + extras[row], t + extras[b], u + extras[c], v + extras[d]
                size = offer_four(pool, size, limit, allowed, row, end, s, t, u, v)
        unpack(pool, size, numbers[q], distances[q])


@compiled
def inner_product_tables(queries, codebooks, factor, tables):  # type: ignore[no-untyped-def]
    """tables[query, j, code] = factor · q_j · codebooks[j, :, code]. Codebooks lie with their codes side by
    side.
    """
    n_parts, part, n_codes = codebooks.shape
    for q in range(len(queries)):
        for j in range(n_parts):
            for code in range(n_codes):
                tables[q, j, code] = np.float32(0)
            for i in range(part):
                number = queries[q, j * part + i] * factor
                for code in range(n_codes):
                    tables[q, j, code] += number * codebooks[j, i, code]


@compiled
def squared_distance_tables(queries, codebooks, tables):  # type: ignore[no-untyped-def]
    """tables[query, j, code] = ‖q_j − codebooks[j, :, code]‖²."""
    n_parts, part, n_codes = codebooks.shape
    for q in range(len(queries)):
        for j in range(n_parts):
            for code in range(n_codes):
                tables[q, j, code] = np.float32(0)
            for i in range(part):
                number = queries[q, j * part + i]
                for code in range(n_codes):
                    difference = number - codebooks[j, i, code]
                    tables[q, j, code] += difference * difference

"""A matrix times a vector, at the speed at which the matrix comes from memory: W x in several layouts.

A kind of weights is two functions. `prepare` brings the vector, float32, into the numbers and the order in
which the weights want to meet it, once for all rows; `product` makes some rows of the result, float32. Sums
are float32, or int32 within a group. Oracle: a matrix product with the weights dequantized.

Quantized weights lie in blocks of 16 rows by 32 columns, one after another along the columns: scales, minima
if there are any, codes. So a thread reads one stream, and a vector of codes is 4 columns of 16 rows, whose
sums need not be added up across the vector. The vector is rounded to int8 in groups of 32, as in
llama.cpp; products of codes are then exact. A weight is scale · (code - zero), or scale · code + minimum.
"""
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numba
import numpy as np

from teachllm.stack.nn.fast.bits import array, narrow
from teachllm.stack.nn.fast.threads import INNER
from teachllm.stack.nn.fast.vectors import (
    all_floats,
    all_integers,
    as_floats,
    compiled_by_constant,
    dot2,
    dot4,
    load_float,
    load_floats,
    load_halves,
    load_integers,
    load_word,
    lower_nibbles,
    multiply,
    multiply_add,
    store_float,
    store_floats,
    total,
    upper_nibbles,
)

Kind: TypeAlias = Literal["float32", "bfloat16", "int8", "int4", "int4_minima"]

ROWS, COLUMNS = 16, 32  # of a block of quantized weights; columns of any kind come in groups of 32
HALF = COLUMNS // 2
# Of a prepared vector for quantized weights: 32 int8, and for each half its scale and its sum.
GROUP_BYTES, SCALES, SUMS = 48, 32, 40

BLOCK_BYTES: dict[Kind, int] = {
    "int8": 2 * ROWS + ROWS * COLUMNS,
    "int4": 2 * ROWS + ROWS * COLUMNS // 2,
    "int4_minima": 4 * ROWS + ROWS * COLUMNS // 2,
}
ZERO: dict[Kind, int] = {"int8": 128, "int4": 8}  # the code that stands for 0


KINDS: tuple[Kind, ...] = ("float32", "bfloat16", "int8", "int4", "int4_minima")


def _kernel(function: Any) -> Any:
    return numba.njit(function, **INNER)


# Plain numbers ------------------------------------------------------------------------------------------


@_kernel
def _copy(source, n, target):  # type: ignore[no-untyped-def]
    array(target, (n,), np.float32)[:] = array(source, (n,), np.float32)


@_kernel
def _round(source, n, target):  # type: ignore[no-untyped-def]
    """To bfloat16, as PyTorch rounds what it multiplies."""
    numbers, rounded = array(source, (n,), np.float32), array(target, (n,), np.uint16)
    for i in range(n):
        rounded[i] = narrow(numbers[i], rounded)


def _float32() -> tuple[Any, Any]:
    """Rows times one vector, and times four. A row lies in one piece in memory; its sums stand across two
    vectors until its end.
    """
    step = 4 * COLUMNS  # bytes

    @_kernel
    def one(weights, first, n_rows, columns, x, x_stride, out, out_stride):  # type: ignore[no-untyped-def]
        for row in range(n_rows):
            at = weights + (first + row) * columns * 4
            a, b = all_floats(np.float32(0)), all_floats(np.float32(0))
            for column in range(0, 4 * columns, step):
                a = multiply_add(load_floats(at + column), load_floats(x + column), a)
                b = multiply_add(load_floats(at + column + 64), load_floats(x + column + 64), b)
            store_float(out + 4 * row, total(a) + total(b))

    @_kernel
    def four(weights, first, n_rows, columns, x, x_stride, out, out_stride):  # type: ignore[no-untyped-def]
        x0, x1, x2, x3 = x, x + x_stride, x + 2 * x_stride, x + 3 * x_stride
        for row in range(n_rows):
            at = weights + (first + row) * columns * 4
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = all_floats(np.float32(0))
            for column in range(0, 4 * columns, step):
                w, v = load_floats(at + column), load_floats(at + column + 64)
                a0 = multiply_add(w, load_floats(x0 + column), a0)
                a1 = multiply_add(w, load_floats(x1 + column), a1)
                a2 = multiply_add(w, load_floats(x2 + column), a2)
                a3 = multiply_add(w, load_floats(x3 + column), a3)
                b0 = multiply_add(v, load_floats(x0 + column + 64), b0)
                b1 = multiply_add(v, load_floats(x1 + column + 64), b1)
                b2 = multiply_add(v, load_floats(x2 + column + 64), b2)
                b3 = multiply_add(v, load_floats(x3 + column + 64), b3)
            result = out + 4 * row
            store_float(result, total(a0) + total(b0))
            store_float(result + out_stride, total(a1) + total(b1))
            store_float(result + 2 * out_stride, total(a2) + total(b2))
            store_float(result + 3 * out_stride, total(a3) + total(b3))

    return one, four


@_kernel
def _store_two(at, a, b):  # type: ignore[no-untyped-def]
    store_float(at, total(a))
    store_float(at + 4, total(b))


def _bfloat16() -> tuple[Any, Any]:
    """The same for bfloat16. The vectors are rounded to it as well, so that pairs of numbers meet in one
    instruction. A sum goes along the columns in the same order in both, so a result does not depend on how
    many vectors there are.
    """
    wide = 2 * COLUMNS  # bytes

    @_kernel
    def one(weights, first, n_rows, columns, x, x_stride, out, out_stride):  # type: ignore[no-untyped-def]
        size = 2 * columns
        for row in range(n_rows):
            w, a = weights + (first + row) * size, all_floats(np.float32(0))
            for at in range(0, size, wide):
                a = dot2(a, load_integers(w + at), load_integers(x + at))
            store_float(out + 4 * row, total(a))

    @_kernel
    def four(weights, first, n_rows, columns, x, x_stride, out, out_stride):  # type: ignore[no-untyped-def]
        size = 2 * columns
        x1, x2, x3 = x + x_stride, x + 2 * x_stride, x + 3 * x_stride
        for row in range(0, n_rows - 1, 2):
            w0 = weights + (first + row) * size
            w1 = w0 + size
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = all_floats(np.float32(0))
            for at in range(0, size, wide):
                v0, v1 = load_integers(x + at), load_integers(x1 + at)
                v2, v3 = load_integers(x2 + at), load_integers(x3 + at)
                w = load_integers(w0 + at)
                a0, a1, a2, a3 = dot2(a0, w, v0), dot2(a1, w, v1), dot2(a2, w, v2), dot2(a3, w, v3)
                w = load_integers(w1 + at)
                b0, b1, b2, b3 = dot2(b0, w, v0), dot2(b1, w, v1), dot2(b2, w, v2), dot2(b3, w, v3)
            result = out + 4 * row
            _store_two(result, a0, b0)
            _store_two(result + out_stride, a1, b1)
            _store_two(result + 2 * out_stride, a2, b2)
            _store_two(result + 3 * out_stride, a3, b3)
        if n_rows % 2:
            last = n_rows - 1
            one(weights, first + last, 1, columns, x, x_stride, out + 4 * last, out_stride)
            one(weights, first + last, 1, columns, x1, x_stride, out + 4 * last + out_stride, out_stride)
            one(weights, first + last, 1, columns, x2, x_stride, out + 4 * last + 2 * out_stride, out_stride)
            one(weights, first + last, 1, columns, x3, x_stride, out + 4 * last + 3 * out_stride, out_stride)

    return one, four


# Quantized ----------------------------------------------------------------------------------------------


@_kernel
def _quantize(source, n, target):  # type: ignore[no-untyped-def]
    """Symmetric int8 in groups of 16: scale = max|x| / 127."""
    for half in range(n // HALF):
        group = target + half // 2 * GROUP_BYTES
        numbers = array(source + half * HALF * 4, (HALF,), np.float32)
        codes = array(group + half % 2 * HALF, (HALF,), np.int8)
        highest = np.float32(0)
        for i in range(HALF):
            highest = max(highest, abs(numbers[i]))
        inverse = np.float32(127) / highest if highest > 0 else np.float32(0)
        together = np.int32(0)
        for i in range(HALF):
            code = np.int32(np.floor(numbers[i] * inverse + np.float32(0.5)))
            codes[i] = code
            together += code
        array(group + SCALES, (2,), np.float32)[half % 2] = highest / np.float32(127)
        array(group + SUMS, (2,), np.int32)[half % 2] = together


@numba.njit(forceinline=True)
def _words(group, i):  # type: ignore[no-untyped-def]
    """Columns 4i … 4i + 3 of a prepared group, for 16 rows."""
    return all_integers(load_word(group + 4 * i))


@numba.njit(forceinline=True)
def _int8_codes(codes, i):  # type: ignore[no-untyped-def]
    """Of 16 rows, four columns of a block's first half, and four of its second: from 4i and 16 + 4i."""
    return load_integers(codes + 64 * i), load_integers(codes + 256 + 64 * i)


@numba.njit(forceinline=True)
def _int4_codes(codes, i):  # type: ignore[no-untyped-def]
    """The same: a byte holds a column of the first half in its lower bits, one of the second in its upper."""
    both = load_integers(codes + 64 * i)
    return lower_nibbles(both), upper_nibbles(both)


def _quantized(kind: Kind) -> tuple[Any, Any]:
    """16 rows at a time, times one vector and times four; sums of different rows stand in one vector."""
    size, zero, has_minima = BLOCK_BYTES[kind], ZERO.get(kind, 0), kind == "int4_minima"
    codes_at = _int8_codes if kind == "int8" else _int4_codes
    head = 4 * ROWS if has_minima else 2 * ROWS

    @numba.njit(forceinline=True)
    def products(at, group):  # type: ignore[no-untyped-def]
        """Of a block and a group, for each half. (code - zero) · x, summed, is code · x, summed, less zero
        times the sum of x.
        """
        a = all_integers(np.int32(-zero * load_word(group + SUMS)))
        b = all_integers(np.int32(-zero * load_word(group + SUMS + 4)))
        for i in range(4):
            left, right = codes_at(at + head, i)
            a, b = dot4(a, left, _words(group, i)), dot4(b, right, _words(group, i + 4))
        return a, b

    @numba.njit(forceinline=True)
    def scaled(a, b, at, group, sums):  # type: ignore[no-untyped-def]
        scales, of_a, of_b = load_halves(at), load_float(group + SCALES), load_float(group + SCALES + 4)
        sums = multiply_add(as_floats(a), multiply(scales, all_floats(of_a)), sums)
        sums = multiply_add(as_floats(b), multiply(scales, all_floats(of_b)), sums)
        if has_minima:
            sum_a, sum_b = np.float32(load_word(group + SUMS)), np.float32(load_word(group + SUMS + 4))
            x_sum = of_a * sum_a + of_b * sum_b
            sums = multiply_add(load_halves(at + 2 * ROWS), all_floats(x_sum), sums)
        return sums

    @_kernel
    def one(weights, first, n_rows, columns, x, x_stride, out, out_stride):  # type: ignore[no-untyped-def]
        at = weights + first // ROWS * (columns // COLUMNS) * size
        for row in range(0, n_rows, ROWS):
            sums = all_floats(np.float32(0))
            for group in range(x, x + columns // COLUMNS * GROUP_BYTES, GROUP_BYTES):
                a, b = products(at, group)
                sums = scaled(a, b, at, group, sums)
                at += size
            store_floats(out + 4 * row, sums)

    @_kernel
    def four(weights, first, n_rows, columns, x, x_stride, out, out_stride):  # type: ignore[no-untyped-def]
        at = weights + first // ROWS * (columns // COLUMNS) * size
        for row in range(0, n_rows, ROWS):
            s0 = s1 = s2 = s3 = all_floats(np.float32(0))
            for g0 in range(x, x + columns // COLUMNS * GROUP_BYTES, GROUP_BYTES):
                g1, g2, g3 = g0 + x_stride, g0 + 2 * x_stride, g0 + 3 * x_stride
                a0, b0 = products(at, g0)
                a1, b1 = products(at, g1)
                a2, b2 = products(at, g2)
                a3, b3 = products(at, g3)
                s0, s1 = scaled(a0, b0, at, g0, s0), scaled(a1, b1, at, g1, s1)
                s2, s3 = scaled(a2, b2, at, g2, s2), scaled(a3, b3, at, g3, s3)
                at += size
            result = out + 4 * row
            store_floats(result, s0)
            store_floats(result + out_stride, s1)
            store_floats(result + 2 * out_stride, s2)
            store_floats(result + 3 * out_stride, s3)

    return one, four


# One name for all: the first argument, constant in a kernel, is the kind's place in KINDS ----------------


def _prepare_of(kind: int) -> Any:
    return {"float32": _copy, "bfloat16": _round}.get(KINDS[kind], _quantize)


def _product_of(kind: int) -> Any:
    plain = {"float32": _float32, "bfloat16": _bfloat16}
    name = KINDS[kind]
    one, four = plain[name]() if name in plain else _quantized(name)

    @_kernel
    def for_every_vector(weights, first, n_rows, columns, n_vectors, x, x_stride, out, out_stride):  # type: ignore[no-untyped-def]
        done = 0
        while n_vectors - done >= 4:
            four(weights, first, n_rows, columns, x, x_stride, out, out_stride)
            x, out, done = x + 4 * x_stride, out + 4 * out_stride, done + 4
        while done < n_vectors:
            one(weights, first, n_rows, columns, x, x_stride, out, out_stride)
            x, out, done = x + x_stride, out + out_stride, done + 1

    return for_every_vector


# (kind, address of n float32, n, address of room for 4 n bytes and 256 more)
prepare = compiled_by_constant(_prepare_of)
# (kind, address of the weights, first row, rows, columns, vectors, address of the first prepared vector,
# bytes from one to the next, address of the first result, bytes from one to the next)
# Rows of quantized weights are multiples of 16.
product = compiled_by_constant(_product_of)

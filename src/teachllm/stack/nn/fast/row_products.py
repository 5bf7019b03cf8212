"""A matrix times a vector, at the speed at which the matrix comes from memory: W x in several layouts.

A kind of weights is two functions. `prepare` brings the vector, float32, into the order in which the weights
want to meet it, once for all rows; `product` makes some rows of the result, float32. Sums are float32, or
int32 within a group. Oracle: a matrix product with the weights dequantized.

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

from teachllm.stack.nn.fast.bits import array
from teachllm.stack.nn.fast.threads import INNER
from teachllm.stack.nn.fast.vectors import (
    all_floats,
    all_integers,
    as_floats,
    compiled_by_constant,
    dot4,
    load_float,
    load_floats,
    load_halves,
    load_integers,
    load_word,
    lower_bfloats,
    lower_nibbles,
    multiply,
    multiply_add,
    store_floats,
    total,
    upper_bfloats,
    upper_nibbles,
)

Kind: TypeAlias = Literal["float32", "bfloat16", "int8", "int4", "int4_minima"]

ROWS, COLUMNS = 16, 32  # of a block of quantized weights; columns of any kind come in groups of 32
GROUP_BYTES = 40  # of a prepared vector for quantized weights: 32 int8, their scale and their sum

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
def _float32_rows(weights, first, n_rows, columns, x, out):  # type: ignore[no-untyped-def]
    result = array(out, (n_rows,), np.float32)
    for row in range(n_rows):
        at = weights + (first + row) * columns * 4
        a, b = all_floats(np.float32(0)), all_floats(np.float32(0))
        for column in range(0, columns * 4, COLUMNS * 4):
            a = multiply_add(load_floats(at + column), load_floats(x + column), a)
            b = multiply_add(load_floats(at + column + 64), load_floats(x + column + 64), b)
        result[row] = total(a) + total(b)


@_kernel
def _even_and_odd(source, n, target):  # type: ignore[no-untyped-def]
    """In each 32 numbers, first the even ones: a vector of weights holds pairs, and splits into these."""
    numbers, split = array(source, (n // 32, 16, 2), np.float32), array(target, (n // 32, 2, 16), np.float32)
    for group in range(n // 32):
        for pair in range(16):
            split[group, 0, pair] = numbers[group, pair, 0]
            split[group, 1, pair] = numbers[group, pair, 1]


@_kernel
def _bfloat16_rows(weights, first, n_rows, columns, x, out):  # type: ignore[no-untyped-def]
    result = array(out, (n_rows,), np.float32)
    for row in range(n_rows):
        at = weights + (first + row) * columns * 2
        a, b = all_floats(np.float32(0)), all_floats(np.float32(0))
        for column in range(0, columns * 2, COLUMNS * 2):
            pairs = load_integers(at + column)
            a = multiply_add(lower_bfloats(pairs), load_floats(x + 2 * column), a)
            b = multiply_add(upper_bfloats(pairs), load_floats(x + 2 * column + 64), b)
        result[row] = total(a) + total(b)


# Quantized ----------------------------------------------------------------------------------------------


@_kernel
def _quantize(source, n, target):  # type: ignore[no-untyped-def]
    """Symmetric int8 in groups of 32: scale = max|x| / 127."""
    for group in range(n // COLUMNS):
        numbers = array(source + group * COLUMNS * 4, (COLUMNS,), np.float32)
        codes = array(target + group * GROUP_BYTES, (COLUMNS,), np.int8)
        highest = np.float32(0)
        for i in range(COLUMNS):
            highest = max(highest, abs(numbers[i]))
        inverse = np.float32(127) / highest if highest > 0 else np.float32(0)
        together = np.int32(0)
        for i in range(COLUMNS):
            code = np.int32(np.floor(numbers[i] * inverse + np.float32(0.5)))
            codes[i] = code
            together += code
        array(target + group * GROUP_BYTES + 32, (1,), np.float32)[0] = highest / np.float32(127)
        array(target + group * GROUP_BYTES + 36, (1,), np.int32)[0] = together


@_kernel
def _int8_rows(weights, first, n_rows, columns, x, out):  # type: ignore[no-untyped-def]
    at = weights + first // ROWS * (columns // COLUMNS) * 544
    for row in range(0, n_rows, ROWS):
        sums = all_floats(np.float32(0))
        for group in range(x, x + columns // COLUMNS * GROUP_BYTES, GROUP_BYTES):
            # (code - 128) · x summed is code · x summed, less 128 times the sum of x.
            products = all_integers(np.int32(-128 * load_word(group + 36)))
            for i in range(8):
                x4 = all_integers(load_word(group + 4 * i))
                products = dot4(products, load_integers(at + 32 + 64 * i), x4)
            scale = multiply(load_halves(at), all_floats(load_float(group + 32)))
            sums = multiply_add(as_floats(products), scale, sums)
            at += 544
        store_floats(out + 4 * row, sums)


@numba.njit(forceinline=True)
def _int4_products(products, codes, group):  # type: ignore[no-untyped-def]
    """A byte holds a column of the group's first half in its lower bits, and one of the second half."""
    for i in range(4):
        both = load_integers(codes + 64 * i)
        products = dot4(products, lower_nibbles(both), all_integers(load_word(group + 4 * i)))
        products = dot4(products, upper_nibbles(both), all_integers(load_word(group + 16 + 4 * i)))
    return products


@_kernel
def _int4_rows(weights, first, n_rows, columns, x, out):  # type: ignore[no-untyped-def]
    at = weights + first // ROWS * (columns // COLUMNS) * 288
    for row in range(0, n_rows, ROWS):
        sums = all_floats(np.float32(0))
        for group in range(x, x + columns // COLUMNS * GROUP_BYTES, GROUP_BYTES):
            products = all_integers(np.int32(-8 * load_word(group + 36)))
            products = _int4_products(products, at + 32, group)
            scale = multiply(load_halves(at), all_floats(load_float(group + 32)))
            sums = multiply_add(as_floats(products), scale, sums)
            at += 288
        store_floats(out + 4 * row, sums)


@_kernel
def _int4_minima_rows(weights, first, n_rows, columns, x, out):  # type: ignore[no-untyped-def]
    at = weights + first // ROWS * (columns // COLUMNS) * 320
    for row in range(0, n_rows, ROWS):
        sums = all_floats(np.float32(0))
        for group in range(x, x + columns // COLUMNS * GROUP_BYTES, GROUP_BYTES):
            x_scale = load_float(group + 32)
            products = _int4_products(all_integers(np.int32(0)), at + 64, group)
            sums = multiply_add(as_floats(products), multiply(load_halves(at), all_floats(x_scale)), sums)
            x_sum = all_floats(x_scale * np.float32(load_word(group + 36)))
            sums = multiply_add(load_halves(at + 32), x_sum, sums)
            at += 320
        store_floats(out + 4 * row, sums)


# One name for all: the first argument, constant in a kernel, is the kind's place in KINDS ----------------


def _prepare_of(kind: int) -> Any:
    return {"float32": _copy, "bfloat16": _even_and_odd}.get(KINDS[kind], _quantize)


def _product_of(kind: int) -> Any:
    rows = (_float32_rows, _bfloat16_rows, _int8_rows, _int4_rows, _int4_minima_rows)[kind]

    @_kernel
    def for_every_vector(weights, first, n_rows, columns, n_vectors, x, x_stride, out, out_stride):  # type: ignore[no-untyped-def]
        for vector in range(n_vectors):
            rows(weights, first, n_rows, columns, x + vector * x_stride, out + vector * out_stride)

    return for_every_vector


# (kind, address of n float32, n, address of room for 4 n bytes and 256 more)
prepare = compiled_by_constant(_prepare_of)
# (kind, address of the weights, first row, rows, columns, vectors, address of the first prepared vector,
# bytes from one to the next, address of the first result, bytes from one to the next)
# Rows of quantized weights are multiples of 16.
product = compiled_by_constant(_product_of)

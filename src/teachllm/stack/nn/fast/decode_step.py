"""One decoding step of a Llama as one parallel region: a token's vector in, what the head reads out.

A step of a small model is some 300 operations, and dispatching them costs PyTorch more than reading all
weights. Here the threads enter once, and walk through five phases a layer (see `phases`):

    queries, keys, values   a piece is a head: normalize, multiply, turn, and put keys and values in the cache
    attention               a piece is a head of queries, over the cache
    out                     a piece is some rows: multiply, and add to x
    gate and up             a piece is some rows of both: normalize, multiply, silu(gate) · up
    down                    a piece is some rows: multiply, and add to x

Everything between weights and cache is float32, but vectors are rounded to what multiplies the weights: int8
in groups for quantized ones, bfloat16 for bfloat16. Oracle: `models.llama.Llama.features`, and for the head a
matrix product.
"""
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np

from teachllm.stack.nn.fast.bits import array, as_float, exp, narrow
from teachllm.stack.nn.fast.phases import LINE, finish, next_piece, take_number
from teachllm.stack.nn.fast.row_products import KINDS, Kind, prepare, product
from teachllm.stack.nn.fast.threads import FAST, INNER
from teachllm.stack.nn.fast.vectors import (
    add,
    all_floats,
    compiled_by_constant,
    load_bfloats,
    load_floats,
    multiply_add,
    store_floats,
    total,
)

PIECE = 32  # rows of a matrix a piece: enough to be worth taking, few enough that threads end together
HEAD_PIECE = 256  # rows of the head
RESULTS = 256  # room for results of a piece: at least PIECE, and head_dim

# What the kernel is given: 64-bit numbers, in this order. Addresses unless said otherwise; a row is the next
# token of a text.
STEP = (
    "counters",  # see phases.counters
    "n_threads",
    "n_rows", "n_layers", "d_model", "n_heads", "n_kv_heads", "head_dim", "hidden",
    "eps",  # the bits of a float64
    "layers",  # LAYER numbers a layer; a bias that is not there is 0
    "x",  # float32, (n_rows, d_model): the residual stream, in place
    "q", "mixed",  # float32, (n_rows, n_heads · head_dim)
    "activation",  # float32, (n_rows, hidden)
    "norm",  # float32, d_model: the last norm
    "features",  # float32, (n_rows, d_model): the result
    "cos", "sin",  # float32, (n_rows, head_dim / 2)
    "positions",  # int64, n_rows: where each row stands in its text
    "cache_layers",  # two addresses a layer: keys and values
    "tables",  # int64, (n_rows, table_width): where in the cache each run of `block_size` positions lies
    "table_width", "block_size",
    "block_stride", "head_stride", "position_stride",  # in elements of the cache
    "private", "private_bytes",  # room for each thread; see `private_bytes`
)  # fmt: skip
LAYER = ("attention_norm", "qkv", "qkv_bias", "out", "feed_forward_norm", "gate_up", "down")
HEAD = (
    "counters", "n_threads", "n_rows", "columns", "vocab", "weights", "x", "logits", "private",
    "private_bytes",
)  # fmt: skip


def phases(n_layers: int) -> int:
    return 5 * n_layers + 1


def private_bytes(n_rows: int, widest: int, longest: int) -> int:
    """Room that a thread needs for itself: a vector, all rows prepared, results of a piece, scores.

    widest: of d_model, hidden and n_heads · head_dim; longest: positions of a text.
    """
    prepared = n_rows * (4 * widest + 256)
    return (4 * widest + prepared + n_rows * 2 * RESULTS * 4 + 4 * longest + 255) // 64 * 64


def step_kernel(kind: Kind, numbers: Any) -> Any:
    """The step for weights of this kind and a cache of `numbers` (float32, or uint16 for bfloat16)."""
    return _compiled(_step, KINDS.index(kind), numbers)


def head_kernel(kind: Kind) -> Any:
    """Logits, float32, (n_rows, vocab)."""
    return _compiled(_head, KINDS.index(kind), np.float32)


@functools.cache
def _compiled(make: Any, kind: int, numbers: Any) -> Any:
    signature, settings = numba.void(numba.types.voidptr), {"nopython": True, "fastmath": FAST}
    kernel = make(kind, numbers)
    try:
        return numba.cfunc(signature, cache=True, error_model="numpy", **settings)(kernel)
    except RuntimeError:  # no folder for the cache can be written
        return numba.cfunc(signature, error_model="numpy", **settings)(kernel)


def _step(kind: int, numbers: Any) -> Any:
    element = np.dtype(numbers).itemsize

    def kernel(block):  # type: ignore[no-untyped-def]
        step = numba.carray(block, (29,), np.int64)
        counters, n_threads, n_rows, n_layers, d_model, n_heads, n_kv_heads, head_dim, hidden = step[:9]
        eps_, layers, x_, q_, mixed_, activation_, norm_, features_ = step[9:17]
        cos_, sin_, positions_, cache_layers, tables_, table_width, block_size = step[17:24]
        block_stride, head_stride, position_stride, private, private_size = step[24:29]

        eps = as_float(eps_)
        thread, phase = take_number(counters), counters + LINE
        private += thread * private_size
        widest = max(d_model, max(hidden, n_heads * head_dim))
        vector, prepared = private, private + 4 * widest
        prepared_size = 4 * widest + 256
        results_ = prepared + n_rows * prepared_size
        scores = results_ + n_rows * 2 * RESULTS * 4
        results = array(results_, (n_rows, 2, RESULTS), np.float32)
        activation = array(activation_, (n_rows, hidden), np.float32)
        half = head_dim // 2
        cos, sin = array(cos_, (n_rows, half), np.float32), array(sin_, (n_rows, half), np.float32)
        positions = array(positions_, (n_rows,), np.int64)
        tables = array(tables_, (n_rows, table_width), np.int64)
        all_heads = n_heads + 2 * n_kv_heads
        for layer in range(n_layers):
            weights = array(layers + layer * 56, (7,), np.int64)
            keys, values = array(cache_layers + layer * 16, (2,), np.int64)

            # region: queries_keys_values
            ready, done = False, 0
            while True:
                head = next_piece(phase, thread, n_threads, all_heads)
                if head >= all_heads:
                    break
                done += 1
                if not ready:
                    for row in range(n_rows):
                        rms_norm(x_ + 4 * row * d_model, weights[0], d_model, eps, vector)
                        prepare(kind, vector, d_model, prepared + row * prepared_size)
                    ready = True
                product(
                    kind, weights[1], head * head_dim, head_dim, d_model, n_rows, prepared, prepared_size,
                    results_, 8 * RESULTS,
                )  # fmt: skip
                for row in range(n_rows):
                    numbers_of_head = results[row, 0, :head_dim]
                    if weights[2] != 0:
                        bias = array(weights[2] + 4 * head * head_dim, (head_dim,), np.float32)
                        for i in range(head_dim):
                            numbers_of_head[i] += bias[i]
                    if head < n_heads + n_kv_heads:
                        for i in range(half):
                            a, b = numbers_of_head[i], numbers_of_head[i + half]
                            numbers_of_head[i] = a * cos[row, i] - b * sin[row, i]
                            numbers_of_head[i + half] = a * sin[row, i] + b * cos[row, i]
                    if head < n_heads:
                        q = array(q_ + 4 * (row * n_heads + head) * head_dim, (head_dim,), np.float32)
                        q[:] = numbers_of_head
                    else:
                        kv_head, cache = head - n_heads, keys
                        if kv_head >= n_kv_heads:
                            kv_head, cache = kv_head - n_kv_heads, values
                        run, offset = positions[row] // block_size, positions[row] % block_size
                        at = (
                            tables[row, run] * block_stride + offset * position_stride + kv_head * head_stride
                        )
                        kept = array(cache + at * element, (head_dim,), numbers)
                        for i in range(head_dim):
                            kept[i] = narrow(numbers_of_head[i], kept)
            phase = finish(phase, done, n_threads, all_heads)
            # endregion: queries_keys_values

            # region: attention
            done = 0
            while True:
                piece = next_piece(phase, thread, n_threads, n_rows * n_heads)
                if piece >= n_rows * n_heads:
                    break
                done += 1
                row, head = piece // n_heads, piece % n_heads
                at = head // (n_heads // n_kv_heads) * head_stride * element
                attend(
                    element, q_ + 4 * piece * head_dim, keys + at, values + at, head_dim, positions[row] + 1,
                    tables_ + 8 * row * table_width, block_size, block_stride * element,
                    position_stride * element, scores, mixed_ + 4 * piece * head_dim,
                )  # fmt: skip
            phase = finish(phase, done, n_threads, n_rows * n_heads)
            # endregion: attention

            phase = add_product(
                kind, phase, thread, n_threads, weights[3], d_model, n_heads * head_dim, n_rows, mixed_, x_,
                prepared, prepared_size, results_,
            )  # fmt: skip

            # region: gate_and_up
            ready, done = False, 0
            pieces = -(-hidden // PIECE)
            while True:
                first = next_piece(phase, thread, n_threads, pieces) * PIECE
                if first >= hidden:
                    break
                done += 1
                if not ready:
                    for row in range(n_rows):
                        rms_norm(x_ + 4 * row * d_model, weights[4], d_model, eps, vector)
                        prepare(kind, vector, d_model, prepared + row * prepared_size)
                    ready = True
                count = min(PIECE, hidden - first)
                for which in range(2):
                    product(
                        kind, weights[5], which * hidden + first, count, d_model, n_rows, prepared,
                        prepared_size, results_ + 4 * which * RESULTS, 8 * RESULTS,
                    )  # fmt: skip
                for row in range(n_rows):
                    for i in range(count):
                        gate, up = results[row, 0, i], results[row, 1, i]
                        activation[row, first + i] = gate / (np.float32(1) + exp(-gate)) * up
            phase = finish(phase, done, n_threads, pieces)
            # endregion: gate_and_up

            phase = add_product(
                kind, phase, thread, n_threads, weights[6], d_model, hidden, n_rows, activation_, x_,
                prepared, prepared_size, results_,
            )  # fmt: skip
        if take_number(phase) == 0:
            for row in range(n_rows):
                rms_norm(x_ + 4 * row * d_model, norm_, d_model, eps, features_ + 4 * row * d_model)

    return kernel


def _head(kind: int, numbers: Any) -> Any:
    def kernel(block):  # type: ignore[no-untyped-def]
        counters, n_threads, n_rows, columns, vocab, weights, x, logits, private, private_size = numba.carray(
            block, (10,), np.int64
        )
        thread, phase = take_number(counters), counters + LINE
        prepared, prepared_size = private + thread * private_size, 4 * columns + 256
        ready = False
        while True:
            first = next_piece(phase, thread, n_threads, -(-vocab // HEAD_PIECE)) * HEAD_PIECE
            if first >= vocab:
                return
            if not ready:
                for row in range(n_rows):
                    prepare(kind, x + 4 * row * columns, columns, prepared + row * prepared_size)
                ready = True
            count = min(HEAD_PIECE, vocab - first)
            product(
                kind,
                weights,
                first,
                count,
                columns,
                n_rows,
                prepared,
                prepared_size,
                logits + 4 * first,
                4 * vocab,
            )

    return kernel


def _add_product(kind: int) -> Any:
    """A whole phase: x += W source."""

    @numba.njit(**INNER)
    def add_product(  # type: ignore[no-untyped-def]
        phase,
        thread,
        n_threads,
        weights,
        d_model,
        columns,
        n_rows,
        source,
        x_,
        prepared,
        prepared_size,
        results_,
    ):
        x = array(x_, (n_rows, d_model), np.float32)
        results = array(results_, (n_rows, 2, RESULTS), np.float32)
        ready, done = False, 0
        pieces = -(-d_model // PIECE)
        while True:
            first = next_piece(phase, thread, n_threads, pieces) * PIECE
            if first >= d_model:
                break
            done += 1
            if not ready:
                for row in range(n_rows):
                    prepare(kind, source + 4 * row * columns, columns, prepared + row * prepared_size)
                ready = True
            count = min(PIECE, d_model - first)
            product(
                kind, weights, first, count, columns, n_rows, prepared, prepared_size, results_, 8 * RESULTS
            )
            for row in range(n_rows):
                for i in range(count):
                    x[row, first + i] += results[row, 0, i]
        return finish(phase, done, n_threads, pieces)

    return add_product


@numba.njit(**INNER)
def rms_norm(x_, weight_, n, eps, out_):  # type: ignore[no-untyped-def]
    x, weight, out = (
        array(x_, (n,), np.float32),
        array(weight_, (n,), np.float32),
        array(out_, (n,), np.float32),
    )
    squares = np.float32(0)
    for i in range(n):
        squares += x[i] * x[i]
    inverse = np.float32(1) / np.sqrt(squares / np.float32(n) + eps)
    for i in range(n):
        out[i] = x[i] * inverse * weight[i]


def _attention(element: int) -> Any:
    """One head of queries over `length` positions: scores, softmax, weighted sum of the values."""
    load = load_bfloats if element == 2 else load_floats

    @numba.njit(**INNER)
    def attention(
        q, keys, values, head_dim, length, blocks_, block_size, block_stride, position_stride, scores_, out
    ):  # type: ignore[no-untyped-def]
        scores = array(scores_, (length,), np.float32)
        n_blocks = -(-length // block_size)
        blocks = array(blocks_, (n_blocks,), np.int64)
        scale = np.float32(1) / np.sqrt(np.float32(head_dim))
        highest = np.float32(-np.inf)
        for block in range(n_blocks):
            first = block * block_size
            for i in range(min(block_size, length - first)):
                key = keys + blocks[block] * block_stride + i * position_stride
                products = all_floats(np.float32(0))
                for j in range(0, head_dim, 16):
                    products = multiply_add(load(key + j * element), load_floats(q + 4 * j), products)
                score = total(products) * scale
                scores[first + i] = score
                highest = max(highest, score)
        weights = np.float32(0)
        for i in range(length):
            scores[i] = exp(scores[i] - highest)
            weights += scores[i]
        inverse = np.float32(1) / weights
        for i in range(length):
            scores[i] *= inverse
        for j in range(0, head_dim, 16):
            even, odd = all_floats(np.float32(0)), all_floats(np.float32(0))
            for block in range(n_blocks):
                first = block * block_size
                count = min(block_size, length - first)
                value = values + blocks[block] * block_stride + j * element
                for i in range(0, count - 1, 2):
                    even = multiply_add(load(value), all_floats(scores[first + i]), even)
                    odd = multiply_add(load(value + position_stride), all_floats(scores[first + i + 1]), odd)
                    value += 2 * position_stride
                if count % 2:  # the order of sums does not depend on how positions are cut into blocks
                    last = first + count - 1
                    if last % 2:
                        odd = multiply_add(load(value), all_floats(scores[last]), odd)
                    else:
                        even = multiply_add(load(value), all_floats(scores[last]), even)
            store_floats(out + 4 * j, add(even, odd))

    return attention


add_product = compiled_by_constant(_add_product)
attend = compiled_by_constant(_attention)

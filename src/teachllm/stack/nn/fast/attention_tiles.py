"""The two products of attention in tiles whose sums stay in registers, for Numba kernels.

A loop of Numba would add up one query and one key at a time, widen every key once for each query that shares
it, and add up 16 partial sums for every score. In a tile, a few keys meet the queries of a group at once. The
numbers of heads and chunks are constants where a tile is called; LLVM sees straight code.

Addresses and strides are 64-bit numbers, in bytes. Queries, scores and accumulators are float32; keys and
values are float32 (size 4) or bfloat16 (size 2). After a change here, delete `__pycache__` beside this file.
"""
# Numba reads the types in these signatures itself: no postponed annotations, and no types for a checker.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16  # numbers in a chunk
KEYS = 4  # keys in a tile of scores
HEADS = 4  # queries in a tile: with four keys, 16 sums; a processor has 16 or 32 registers for them
CHUNKS = 4  # chunks of a value in a tile: with four queries, 16 sums again

_i8, _i16, _i32, _i64, _f32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_chunk = ir.VectorType(_f32, WIDTH)


def _pointer(builder, address, offset, kind):
    return builder.inttoptr(builder.add(address, ir.Constant(_i64, offset)), kind.as_pointer())


def _load(builder, address, offset, size=4):
    """16 numbers as float32. bfloat16 is the upper half of a float32."""
    if size == 4:
        return builder.load(_pointer(builder, address, offset, _chunk), align=4, typ=_chunk)
    halves, words = ir.VectorType(_i16, WIDTH), ir.VectorType(_i32, WIDTH)
    bits = builder.load(_pointer(builder, address, offset, halves), align=2, typ=halves)
    shifted = builder.shl(builder.zext(bits, words), ir.Constant(words, [16] * WIDTH))
    return builder.bitcast(shifted, _chunk)


def _multiply_add(builder, a, b, c):
    kind = ir.FunctionType(_chunk, [_chunk] * 3)
    name = "llvm.fma.v16f32"
    return builder.call(
        builder.module.globals.get(name) or ir.Function(builder.module, kind, name), [a, b, c]
    )


def _tiles(n, most):
    return [range(first, min(n, first + most)) for first in range(0, n, most)]


def _sixteen_times(builder, number):
    one = builder.insert_element(ir.Constant(_chunk, ir.Undefined), number, ir.Constant(_i32, 0))
    return _shuffle(builder, one, one, [0] * WIDTH)


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_i32, len(lanes)), lanes))


def _sums_of_four(builder, a, b, c, d):
    """Four vectors of 16 added up at once, to one of 4: fewer shuffles than each by itself."""

    def interleaved(x, y, pattern):
        lanes = [4 * part + lane for part in range(4) for lane in pattern]
        return _shuffle(builder, x, y, [lane % 32 for lane in lanes])

    def halved(x, y, low, high):
        return builder.fadd(interleaved(x, y, low), interleaved(x, y, high))

    # In each quarter: [a0+a2, b0+b2, a1+a3, b1+b3], and c and d alike; then [a, b, c, d].
    ab, cd = (halved(x, y, (0, 16, 1, 17), (2, 18, 3, 19)) for x, y in ((a, b), (c, d)))
    quarters = halved(ab, cd, (0, 1, 16, 17), (2, 3, 18, 19))
    eight = builder.fadd(*(_shuffle(builder, quarters, quarters, list(range(i, i + 8))) for i in (0, 8)))
    return builder.fadd(*(_shuffle(builder, eight, eight, list(range(i, i + 4))) for i in (0, 4)))


@intrinsic(prefer_literal=True)
def score_tile(typingctx, query, key, key_stride, scores, score_stride, heads, chunks, size):
    """scores[h, i] = query[h] · key[i] for `heads` queries, one behind another, and four keys."""
    n_heads, n_chunks, n_size = heads.literal_value, chunks.literal_value, size.literal_value

    def generate(context, builder, signature, arguments):
        query, key, key_stride, scores, score_stride = arguments[:5]
        keys = [builder.add(key, builder.mul(key_stride, ir.Constant(_i64, i))) for i in range(KEYS)]
        for tile in _tiles(n_heads, HEADS):
            sums = {head: [ir.Constant(_chunk, [0.0] * WIDTH)] * KEYS for head in tile}
            for chunk in range(n_chunks):
                wide = [_load(builder, address, chunk * WIDTH * n_size, n_size) for address in keys]
                for head in tile:
                    own = _load(builder, query, (head * n_chunks + chunk) * WIDTH * 4)
                    pairs = zip(wide, sums[head], strict=True)
                    sums[head] = [_multiply_add(builder, own, key, so_far) for key, so_far in pairs]
            for head in tile:
                row = builder.add(scores, builder.mul(score_stride, ir.Constant(_i64, head)))
                four = _sums_of_four(builder, *sums[head])
                builder.store(four, _pointer(builder, row, 0, four.type), align=4)

    return types.void(*[types.int64] * 5, heads, chunks, size), generate


@intrinsic(prefer_literal=True)
def value_tile(typingctx, weights, weight_stride, value, value_stride, n_values, sums, heads, chunks, size):
    """sums[h] += Σ_i weights[h, i] · value[i], for `heads` rows, one behind another, of `chunks` chunks."""
    n_heads, n_chunks, n_size = heads.literal_value, chunks.literal_value, size.literal_value

    def generate(context, builder, signature, arguments):
        for tile in _tiles(n_heads, HEADS):
            for part in _tiles(n_chunks, CHUNKS):
                _values(builder, arguments[:6], tile, part)

    def _values(builder, arguments, tile, part):
        weights, weight_stride, value, value_stride, n_values, sums = arguments
        places = [(head, chunk, (head * n_chunks + chunk) * WIDTH * 4) for head in tile for chunk in part]
        registers = {}
        for head, chunk, offset in places:
            registers[head, chunk] = cgutils.alloca_once(builder, _chunk)
            builder.store(_load(builder, sums, offset), registers[head, chunk])
        with cgutils.for_range(builder, n_values) as loop:
            own = builder.add(value, builder.mul(value_stride, loop.index))
            column = builder.add(weights, builder.mul(loop.index, ir.Constant(_i64, 4)))
            wide = {chunk: _load(builder, own, chunk * WIDTH * n_size, n_size) for chunk in part}
            for head in tile:
                place = builder.add(column, builder.mul(weight_stride, ir.Constant(_i64, head)))
                weight = _sixteen_times(builder, builder.load(_pointer(builder, place, 0, _f32), typ=_f32))
                for chunk in part:
                    register = registers[head, chunk]
                    more = _multiply_add(builder, weight, wide[chunk], builder.load(register, typ=_chunk))
                    builder.store(more, register)
        for head, chunk, offset in places:
            register = builder.load(registers[head, chunk], typ=_chunk)
            builder.store(register, _pointer(builder, sums, offset, _chunk), align=4)

    return types.void(*[types.int64] * 6, heads, chunks, size), generate


@intrinsic
def prefetch(typingctx, address):
    """The cache line at this address is read soon: bring it to the second level.

    It can wait for more lines at once than the first.
    """

    def generate(context, builder, signature, arguments):
        name, pointer = "llvm.prefetch.p0", _i8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _i32, _i32, _i32])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        read, second, data = (ir.Constant(_i32, n) for n in (0, 2, 1))
        builder.call(function, [builder.inttoptr(arguments[0], pointer), read, second, data])

    return types.void(types.int64), generate

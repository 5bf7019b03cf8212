"""Vectors of 16 numbers for Numba kernels, which knows only single numbers.

Numba's loops become vectors if LLVM finds how. Where the order of the bits in memory decides the speed, as in
quantized weights, a kernel says it itself with these. They are LLVM's own vectors, so every processor can run
them: on one with narrower registers, an operation becomes several. Only `dot4` and `dot2` have instructions
of their own where there are some (VNNI, AVX512_BF16).

An address is a 64-bit number, as in `bits`. After a change here, delete `__pycache__` beside this file.
"""
# Numba reads the types in these signatures itself: no postponed annotations, and no types for a checker.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

import functools

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

WIDTH = 16

_i8, _i16, _i32, _f32, _half = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType(), ir.HalfType()


class _BFloat(ir.types.Type):
    """A type that LLVM has and llvmlite does not name."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


def _vector(element):
    return ir.VectorType(element, WIDTH)


class Floats(types.Type):
    """16 float32."""


class Integers(types.Type):
    """16 int32, or 64 bytes: four of them in each int32, the first in its lowest bits."""


@register_model(Floats)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _vector(_f32))


@register_model(Integers)
class _IntegersModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _vector(_i32))


floats, integers = Floats("16 float32"), Integers("16 int32")


def _load(builder, address, element):
    pointer = builder.inttoptr(address, _vector(element).as_pointer())
    return builder.load(pointer, align=1, typ=_vector(element))


def _same(builder, number, element):
    """A vector of one number, 16 times."""
    one = builder.insert_element(ir.Constant(_vector(element), ir.Undefined), number, ir.Constant(_i32, 0))
    return builder.shuffle_vector(
        one, ir.Constant(_vector(element), ir.Undefined), ir.Constant(_vector(_i32), [0] * WIDTH)
    )


def _llvm(builder, name, result, *arguments):
    """One of LLVM's own functions."""
    kind = ir.FunctionType(result, arguments)
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def _constant(number):
    return ir.Constant(_vector(_i32), [number] * WIDTH)


# From memory and back -----------------------------------------------------------------------------------


@intrinsic
def load_floats(typingctx, address):
    def generate(context, builder, signature, arguments):
        return _load(builder, arguments[0], _f32)

    return floats(types.int64), generate


@intrinsic
def load_integers(typingctx, address):
    def generate(context, builder, signature, arguments):
        return _load(builder, arguments[0], _i32)

    return integers(types.int64), generate


@intrinsic
def load_halves(typingctx, address):
    """16 float16 as float32."""

    def generate(context, builder, signature, arguments):
        return builder.fpext(_load(builder, arguments[0], _half), _vector(_f32))

    return floats(types.int64), generate


@intrinsic
def load_bfloats(typingctx, address):
    """16 bfloat16 as float32."""

    def generate(context, builder, signature, arguments):
        bits = builder.zext(_load(builder, arguments[0], _i16), _vector(_i32))
        return builder.bitcast(builder.shl(bits, _constant(16)), _vector(_f32))

    return floats(types.int64), generate


@intrinsic
def load_word(typingctx, address):
    """The int32 at an address."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], _i32.as_pointer()), align=1, typ=_i32)

    return types.int32(types.int64), generate


@intrinsic
def load_float(typingctx, address):
    """The float32 at an address."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], _f32.as_pointer()), align=1, typ=_f32)

    return types.float32(types.int64), generate


@intrinsic
def store_float(typingctx, address, number):
    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], builder.inttoptr(arguments[0], _f32.as_pointer()), align=1)

    return types.void(types.int64, types.float32), generate


@intrinsic
def store_floats(typingctx, address, vector):
    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], _vector(_f32).as_pointer())
        builder.store(arguments[1], pointer, align=1)

    return types.void(types.int64, floats), generate


# Making -------------------------------------------------------------------------------------------------


@intrinsic
def all_floats(typingctx, number):
    def generate(context, builder, signature, arguments):
        return _same(builder, arguments[0], _f32)

    return floats(types.float32), generate


@intrinsic
def all_integers(typingctx, number):
    def generate(context, builder, signature, arguments):
        return _same(builder, arguments[0], _i32)

    return integers(types.int32), generate


@intrinsic
def as_floats(typingctx, vector):
    """int32 as float32, by value."""

    def generate(context, builder, signature, arguments):
        return builder.sitofp(arguments[0], _vector(_f32))

    return floats(integers), generate


@intrinsic
def lower_nibbles(typingctx, vector):
    """The lower four bits of each byte."""

    def generate(context, builder, signature, arguments):
        return builder.and_(arguments[0], _constant(0x0F0F0F0F))

    return integers(integers), generate


@intrinsic
def upper_nibbles(typingctx, vector):
    """The upper four bits of each byte."""

    def generate(context, builder, signature, arguments):
        return builder.and_(builder.lshr(arguments[0], _constant(4)), _constant(0x0F0F0F0F))

    return integers(integers), generate


# Arithmetic ---------------------------------------------------------------------------------------------


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a · b + c, rounded once."""

    def generate(context, builder, signature, arguments):
        return builder.call(_llvm(builder, "llvm.fma.v16f32", *[_vector(_f32)] * 4), arguments)

    return floats(floats, floats, floats), generate


@intrinsic
def multiply(typingctx, a, b):
    def generate(context, builder, signature, arguments):
        return builder.fmul(*arguments)

    return floats(floats, floats), generate


@intrinsic
def add(typingctx, a, b):
    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return floats(floats, floats), generate


@intrinsic
def total(typingctx, vector):
    """The sum of the 16 float32, in no particular order."""

    def generate(context, builder, signature, arguments):
        reduce = _llvm(builder, "llvm.vector.reduce.fadd.v16f32", _f32, _f32, _vector(_f32))
        return builder.call(reduce, [ir.Constant(_f32, 0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(floats), generate


@intrinsic
def dot4(typingctx, accumulator, unsigned, signed):
    """accumulator + the sum of the four products of bytes in each int32: 0 … 255 by -128 … 127."""

    def generate(context, builder, signature, arguments):
        if has_vnni():
            bytes_ = ir.VectorType(_i8, 64)
            kinds = (_vector(_i32), _vector(_i32), bytes_, bytes_)
            instruction = _llvm(builder, "llvm.x86.avx512.vpdpbusd.512", *kinds)
            unsigned, signed = (builder.bitcast(one, bytes_) for one in arguments[1:])
            return builder.call(instruction, [arguments[0], unsigned, signed])
        sums, codes, numbers = arguments
        for byte in range(4):
            code = builder.and_(builder.lshr(codes, _constant(8 * byte)), _constant(255))
            number = builder.ashr(builder.shl(numbers, _constant(24 - 8 * byte)), _constant(24))
            sums = builder.add(sums, builder.mul(code, number))
        return sums

    return integers(integers, integers, integers), generate


@intrinsic
def dot2(typingctx, accumulator, a, b):
    """accumulator + the sum of the two products of bfloat16 in each int32. Tiny numbers may count as 0."""

    def generate(context, builder, signature, arguments):
        if has_bfloat16():
            pairs = ir.VectorType(_BFloat(), 2 * WIDTH)
            kinds = (_vector(_f32), _vector(_f32), pairs, pairs)
            instruction = _llvm(builder, "llvm.x86.avx512bf16.dpbf16ps.512", *kinds)
            return builder.call(
                instruction, [arguments[0], *(builder.bitcast(one, pairs) for one in arguments[1:])]
            )
        sums, a, b = arguments
        fma = _llvm(builder, "llvm.fma.v16f32", *[_vector(_f32)] * 4)
        for half in (
            lambda one: builder.and_(one, _constant(0xFFFF0000)),
            lambda one: builder.shl(one, _constant(16)),
        ):
            sums = builder.call(fma, [*(builder.bitcast(half(one), _vector(_f32)) for one in (a, b)), sums])
        return sums

    return floats(floats, integers, integers), generate


# Choosing -----------------------------------------------------------------------------------------------


def compiled_by_constant(make):
    """A function for kernels whose first argument is a whole number, constant in the kernel: it decides which
    function, make(number), is called with the others.

    A kernel that had the functions themselves in its closure could not be kept on disk: Numba's key of a
    closure is what is in it, and a compiled function is another one in every process.
    """
    make = functools.cache(make)

    def chosen(constant, *arguments):
        raise TypeError("this is for compiled kernels")

    def choose(constant, *arguments):
        if not isinstance(constant, types.IntegerLiteral):
            return None
        function = make(constant.literal_value)
        return lambda constant, *arguments: function(*arguments)

    overload(chosen, prefer_literal=True)(choose)
    return chosen


@functools.cache
def has_vnni() -> bool:
    """Whether the processor multiplies and adds 64 pairs of bytes in one instruction."""
    return bool(llvm.get_host_cpu_features().get("avx512vnni", False))


@functools.cache
def has_bfloat16() -> bool:
    """Whether the processor multiplies and adds 32 pairs of bfloat16 in one instruction."""
    return bool(llvm.get_host_cpu_features().get("avx512bf16", False))

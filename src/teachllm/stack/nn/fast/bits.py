"""What Numba lacks for these kernels: bfloat16, arrays at an address, taking turns, and a vector exponential.

Kernels of other files are kept on disk by Numba with what they call from here; after a change here, delete
`__pycache__` beside this file.
"""
# Numba reads the types in these signatures itself: no postponed annotations, and no types for a checker.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_i16, _i32, _i64, _f32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


@intrinsic
def wide(typingctx, number):
    """A number as float32. bfloat16 comes as the uint16 of its bits: the upper half of those of a float32."""

    def generate(context, builder, signature, arguments):
        if number == types.float32:
            return arguments[0]
        bits = builder.shl(builder.zext(arguments[0], _i32), ir.Constant(_i32, 16))
        return builder.bitcast(bits, _f32)

    return types.float32(number), generate


@intrinsic
def narrow(typingctx, number, array):
    """A float32 as a number of the array: bfloat16 by rounding to the nearest, and to even half-way."""
    target = array.dtype

    def generate(context, builder, signature, arguments):
        if target == types.float32:
            return arguments[0]
        bits = builder.bitcast(arguments[0], _i32)
        odd = builder.and_(builder.lshr(bits, ir.Constant(_i32, 16)), ir.Constant(_i32, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(_i32, 0x7FFF)), odd)
        # Adding would carry a NaN into infinity or a number.
        is_nan = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        rounded = builder.select(is_nan, ir.Constant(_i32, 0x7FC00000), rounded)
        return builder.trunc(builder.lshr(rounded, ir.Constant(_i32, 16)), _i16)

    return target(types.float32, array), generate


@intrinsic
def take(typingctx, block):
    """The next piece: the first number of the block, which goes up by one, without two threads in between."""

    def generate(context, builder, signature, arguments):
        first = builder.bitcast(arguments[0], _i64.as_pointer())
        return builder.atomic_rmw("add", first, ir.Constant(_i64, 1), "monotonic")

    return types.int64(types.voidptr), generate


@intrinsic
def _pointer(typingctx, address):
    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@intrinsic
def _as_float(typingctx, bits):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def _power_of_two(typingctx, exponent):
    """2^exponent for an int32 from -126 to 127, by writing it into the bits of a float32."""

    def generate(context, builder, signature, arguments):
        biased = builder.add(arguments[0], ir.Constant(_i32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(_i32, 23)), _f32)

    return types.float32(types.int32), generate


@numba.njit(forceinline=True)
def arguments_of(block):
    """The 64-bit numbers that `threads.run` has left behind the count of pieces."""
    return numba.carray(block, (32,), np.int64)[1:]


@numba.njit(forceinline=True)
def array(address, shape, dtype):
    return numba.carray(_pointer(address), shape, dtype)


@numba.njit(forceinline=True)
def as_float(bits):
    return np.float32(_as_float(bits))


@numba.njit(forceinline=True, fastmath={"contract"})
def exp(x):
    """e^x in float32 within 2 units in the last place, for x from -87 to 88; beyond them, that of the nearer.

    2^n · e^r with n the nearest whole number to x / ln 2: a polynomial for r in ±ln 2 / 2.
    """
    x = min(max(x, np.float32(-87)), np.float32(88))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    r = x - n * np.float32(0.693145751953125)
    r = r - n * np.float32(1.428606765330187e-06)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = (p * r) * r + r + np.float32(1)
    return p * _power_of_two(np.int32(n))

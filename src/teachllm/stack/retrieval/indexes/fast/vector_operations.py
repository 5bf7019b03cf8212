"""What the kernels of the indexes need beside `nn.fast.vectors`: bytes as numbers, the smaller of two vectors
and where it came from, asking for memory ahead of time, moving it, and a lock.

Addresses are 64-bit numbers, as in `nn.fast.vectors`.
"""
# Numba reads the types in these signatures itself: no postponed annotations, and no types for a checker.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from teachllm.stack.nn.fast.vectors import WIDTH, floats, integers

_i8, _i32, _i64, _f32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_lanes = ir.Constant(ir.VectorType(_i32, WIDTH), list(range(WIDTH)))


def _pointer(builder, address, element):
    return builder.inttoptr(address, element.as_pointer())


@intrinsic
def subtract(typingctx, a, b):
    def generate(context, builder, signature, arguments):
        return builder.fsub(*arguments)

    return floats(floats, floats), generate


@intrinsic
def load_bytes(typingctx, address):
    """16 uint8 as float32."""

    def generate(context, builder, signature, arguments):
        kind = ir.VectorType(_i8, WIDTH)
        codes = builder.load(_pointer(builder, arguments[0], kind), align=1, typ=kind)
        words = builder.zext(codes, ir.VectorType(_i32, WIDTH))
        return builder.sitofp(words, ir.VectorType(_f32, WIDTH))

    return floats(types.int64), generate


@intrinsic
def larger(typingctx, a, b):
    """In each place the larger of the two numbers; `a` where they are equal."""

    def generate(context, builder, signature, arguments):
        a, b = arguments
        return builder.select(builder.fcmp_ordered(">", b, a), b, a)

    return floats(floats, floats), generate


@intrinsic
def place_of_larger(typingctx, a, b, place_of_a, first_place_of_b):
    """Where the larger number came from: `place_of_a`, or `first_place_of_b` + 0 … 15."""

    def generate(context, builder, signature, arguments):
        a, b, place_of_a, first = arguments
        undefined = ir.Constant(ir.VectorType(_i32, WIDTH), ir.Undefined)
        one = builder.insert_element(undefined, first, ir.Constant(_i32, 0))
        zeros = ir.Constant(ir.VectorType(_i32, WIDTH), [0] * WIDTH)
        place_of_b = builder.add(builder.shuffle_vector(one, undefined, zeros), _lanes)
        return builder.select(builder.fcmp_ordered(">", b, a), place_of_b, place_of_a)

    return integers(floats, floats, integers, types.int32), generate


@intrinsic
def any_larger(typingctx, vector, number):
    """Whether one of the 16 numbers is larger."""

    def generate(context, builder, signature, arguments):
        vector, number = arguments
        undefined = ir.Constant(ir.VectorType(_f32, WIDTH), ir.Undefined)
        one = builder.insert_element(undefined, number, ir.Constant(_i32, 0))
        zeros = ir.Constant(ir.VectorType(_i32, WIDTH), [0] * WIDTH)
        larger = builder.fcmp_ordered(">", vector, builder.shuffle_vector(one, undefined, zeros))
        bits = builder.bitcast(larger, ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(floats, types.float32), generate


@intrinsic
def store_integers(typingctx, address, vector):
    def generate(context, builder, signature, arguments):
        kind = ir.VectorType(_i32, WIDTH)
        builder.store(arguments[1], _pointer(builder, arguments[0], kind), align=1)

    return types.void(types.int64, integers), generate


@intrinsic
def bits_of(typingctx, number):
    """The bits of a float32 as an int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], _i32)

    return types.int32(types.float32), generate


@intrinsic
def float_of(typingctx, bits):
    """The float32 with these bits."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], _f32)

    return types.float32(types.int32), generate


# Memory -------------------------------------------------------------------------------------------------


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at this address, and go on. Nothing happens if there is no such memory."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.VoidType(), [_i8.as_pointer(), _i32, _i32, _i32])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        to_read, into_every_cache, data = (ir.Constant(_i32, number) for number in (0, 3, 1))
        pointer = _pointer(builder, arguments[0], _i8)
        builder.call(function, [pointer, to_read, into_every_cache, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def move(typingctx, target, source, n_bytes):
    """Copy bytes to where they may overlap themselves."""

    def generate(context, builder, signature, arguments):
        target, source, n_bytes = arguments
        pointers = (_pointer(builder, one, _i8) for one in (target, source))
        cgutils.raw_memmove(builder, *pointers, n_bytes, itemsize=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def try_to_take(typingctx, address):
    """Turn the int32 at this address from 0 to 1; whether this thread did it."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(builder, arguments[0], _i32)
        pair = builder.cmpxchg(
            pointer, ir.Constant(_i32, 0), ir.Constant(_i32, 1), "acquire", failordering="monotonic"
        )
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64), generate


@intrinsic
def give_back(typingctx, address):
    """Make the int32 at this address 0: what was written before is seen by whoever takes it next."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(builder, arguments[0], _i32)
        builder.store_atomic(ir.Constant(_i32, 0), pointer, "release", 4)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def take_next(typingctx, address):
    """The int64 at this address, which goes up by one: no two threads get the same."""

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw(
            "add", _pointer(builder, arguments[0], _i64), ir.Constant(_i64, 1), "monotonic"
        )

    return types.int64(types.int64), generate

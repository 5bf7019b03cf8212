"""Work in phases inside one parallel region.

A decoding step is some hundred small jobs, each of which needs all of the one before. Entering a parallel
region for each costs more than the job; so the threads stay in one region and meet between phases. A phase
has two counters: pieces taken and pieces done. It is over when its pieces are done, not when all threads have
come: one that the system holds back holds up nobody unless it has a piece in hand, and finds later that
everything was taken.

The counters of a step lie in one array of zeros: `COUNTERS` int64 a phase, a cache line for itself.
"""
# Numba reads the types in these signatures itself: no postponed annotations, and no types for a checker.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

import platform

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from teachllm.stack.nn.fast.threads import INNER

COUNTERS = 8  # int64 between the counters of two phases: 64 bytes

SPINS = 4000  # looks at a counter before the thread offers its core to others: some tens of microseconds

_i64 = ir.IntType(64)
_X86 = platform.machine().lower() in ("x86_64", "amd64")

_yield = types.ExternalFunction("sched_yield", types.int32())


def _counter(builder, address, offset):
    return builder.inttoptr(builder.add(address, ir.Constant(_i64, offset)), _i64.as_pointer())


@intrinsic
def take_piece(typingctx, phase):
    """The next piece of the phase whose counters are at this address."""

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw(
            "add", _counter(builder, arguments[0], 0), ir.Constant(_i64, 1), "monotonic"
        )

    return types.int64(types.int64), generate


@intrinsic
def piece_done(typingctx, phase):
    """What this thread has written for its piece can be read by whoever sees the count."""

    def generate(context, builder, signature, arguments):
        builder.atomic_rmw("add", _counter(builder, arguments[0], 8), ir.Constant(_i64, 1), "release")

    return types.void(types.int64), generate


@intrinsic
def _pieces_done(typingctx, phase):
    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_counter(builder, arguments[0], 8), "acquire", 8, typ=_i64)

    return types.int64(types.int64), generate


@intrinsic
def _pause(typingctx):
    """Tells the core that this is a loop of waiting."""

    def generate(context, builder, signature, arguments):
        if _X86:
            name = "llvm.x86.sse2.pause"
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), [])

    return types.void(), generate


@numba.njit(**INNER)
def wait_for(phase, pieces):
    """Returns when all pieces of the phase are done."""
    looks = 0
    while _pieces_done(phase) < pieces:
        looks += 1
        if looks < SPINS:
            _pause()
        else:
            _yield()

"""Work in phases inside one parallel region.

A decoding step is some hundred small jobs, each of which needs all of the one before. Entering a parallel
region for each costs more than the job; so the threads stay in one region and meet between phases. A phase
is cut into pieces. Each thread has a share of them that lie side by side, so that it reads memory as one
stream; who has finished takes from the shares of others. A phase is over when its pieces are done, not when
all threads have come: one that the system holds back holds up nobody unless it has a piece in hand, and finds
later that everything was taken.

The counters of a phase are zeros at the start, a cache line for each: how many pieces are done, and for every
thread how many of its share are taken.
"""
# Numba reads the types in these signatures itself: no postponed annotations, and no types for a checker.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

import platform

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from teachllm.stack.nn.fast.threads import INNER

LINE = 64  # bytes of a cache line: counters of different threads never share one

SPINS = 4000  # looks at a counter before the thread offers its core to others: some tens of microseconds

_i64 = ir.IntType(64)
_X86 = platform.machine().lower() in ("x86_64", "amd64")

_yield = types.ExternalFunction("sched_yield", types.int32())


def counters(n_phases: int, n_threads: int) -> NDArray[np.int64]:
    """A line for `take_number`, then the counters of so many phases."""
    return np.zeros((1 + n_phases * (1 + n_threads), LINE // 8), np.int64)


def _added(order):
    """Adds to the number at an address, and returns what was there."""

    @intrinsic
    def add(typingctx, address, number):
        def generate(context, builder, signature, arguments):
            pointer = builder.inttoptr(arguments[0], _i64.as_pointer())
            return builder.atomic_rmw("add", pointer, arguments[1], order)

        return types.int64(types.int64, types.int64), generate

    return add


_take, _publish = _added("monotonic"), _added("release")


@intrinsic
def _look(typingctx, address):
    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], _i64.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8, typ=_i64)

    return types.int64(types.int64), generate


@numba.njit(**INNER)
def take_number(at):  # type: ignore[no-untyped-def]
    """0 for the first thread that asks, 1 for the second …"""
    return _take(at, 1)


@numba.njit(**INNER)
def next_piece(phase, thread, n_threads, n_pieces):  # type: ignore[no-untyped-def]
    """A piece that nobody has taken: of this thread's share, or of another's; `n_pieces` if there is none."""
    for distance in range(n_threads):
        owner = (thread + distance) % n_threads
        first, end = owner * n_pieces // n_threads, (owner + 1) * n_pieces // n_threads
        piece = first + _take(phase + LINE * (1 + owner), 1)
        if piece < end:
            return piece
    return n_pieces


@numba.njit(**INNER)
def finish(phase, done, n_threads, n_pieces):  # type: ignore[no-untyped-def]
    """This thread has done so many pieces. Returns the address of the next phase when all are done, and what
    the others have written can be read.
    """
    _publish(phase, done)
    looks = 0
    while _look(phase) < n_pieces:
        looks += 1
        if looks < SPINS:
            _pause()
        else:
            _yield()
    return phase + LINE * (1 + n_threads)


@intrinsic
def _pause(typingctx):
    """Tells the core that this is a loop of waiting."""

    def generate(context, builder, signature, arguments):
        if _X86:
            name = "llvm.x86.sse2.pause"
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), [])

    return types.void(), generate

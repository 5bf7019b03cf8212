"""Numba's compiler with the settings of this room.

Kernels get every array from Python and allocate none. They can then do without Numba's reference counting
(`_nrt=False`), whose atomic counters around each call cost several times what the kernel does: the state
machine of `pieces` runs at 60 MB/s with it and at 280 MB/s without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, without the GIL, and keep the machine code on disk for the next process.

    Numba keeps it beside the source, or in the user's cache folder when that cannot be written. When
    neither can, the function is compiled anew in every process. Numba looks for changes in the source file
    of the kernel alone, so a kernel calls only kernels of its own file.
    """
    return _jit(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled`, for a small function inside the loop of a kernel."""
    return _jit(function, forceinline=True)


def _jit(function: Callable[..., Any], **options: bool) -> Callable[..., Any]:
    settings: dict[str, Any] = {"nogil": True, "_nrt": False, **options}
    try:
        return numba.njit(**settings, cache=True)(function)
    except RuntimeError:  # no folder for the cache can be written
        return numba.njit(**settings)(function)

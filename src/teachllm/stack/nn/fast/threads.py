"""Numba kernels in PyTorch's own threads.

A kernel with threads of its own would fight PyTorch's, which spin for a while after every operation: on two
cores each would wait for the other. PyTorch's wheels for Linux bring their OpenMP runtime as a library, so a
kernel enters a parallel region by the same door (`GOMP_parallel`) and gets the same threads, still warm.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUMBERS = {torch.float32: np.float32, torch.bfloat16: np.uint16}  # Numba knows no bfloat16: see `bits`


def can_run(*tensors: Tensor) -> bool:
    """Whether kernels can work on these: on the CPU, contiguous, and of one dtype, float32 or bfloat16."""
    first = tensors[0]
    return (
        all(t.device.type == "cpu" and t.dtype == first.dtype and t.is_contiguous() for t in tensors)
        and first.dtype in NUMBERS
        and not torch.compiler.is_compiling()
        and _gomp_parallel() is not None
    )


def pays(*tensors: Tensor) -> bool:
    """Whether kernels that save work in the backward pass can run here, and there will be one."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors) and can_run(*tensors)


LEAST_ROWS = 16


def pays_for_reading(x: Tensor, *others: Tensor) -> bool:
    """Whether kernels are faster than PyTorch's where nobody wants a gradient: in bfloat16, which those read
    and write once for every operation, and for enough rows.
    """
    return (
        x.dtype == torch.bfloat16
        and not torch.is_grad_enabled()
        and x.numel() >= LEAST_ROWS * x.shape[-1]
        and can_run(x, *others)
    )


def compiled_for(dtype: torch.dtype, make: Callable[[Any], Callable[..., None]]) -> Any:
    """The kernel that `make` writes for numbers of this dtype, compiled at its first use, kept on disk."""
    return _compiled(make, NUMBERS[dtype])


@functools.cache
def _compiled(make: Callable[[Any], Callable[..., None]], numbers: Any) -> Any:
    signature = numba.void(numba.types.voidptr)
    # A division that raised an error would keep its loop from using vectors.
    settings: dict[str, Any] = {"nopython": True, "fastmath": FAST, "error_model": "numpy"}
    try:
        return numba.cfunc(signature, cache=True, **settings)(make(numbers))
    except RuntimeError:  # no folder for the cache can be written
        return numba.cfunc(signature, **settings)(make(numbers))


# Sums may be taken in any order, which lets them use vectors; NaN and infinity keep their meaning, since the
# loop looks for them.
FAST = {"reassoc", "contract", "nsz", "arcp"}


# For functions that only kernels call: they need no entry for Python or C.
INNER: dict[str, Any] = {
    "fastmath": FAST,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def run(kernel: Any, pieces: int, *arguments: Tensor | int | float) -> None:
    """Run the pieces 0 … pieces-1 of `kernel` on PyTorch's threads, each thread taking the next one left.

    The kernel gets one pointer: to the number of pieces taken, `pieces`, and the arguments as 64-bit numbers,
    a tensor as the address of its first element, a float as its bits.
    """
    block = np.array(
        [
            0,
            pieces,
            *(
                a.data_ptr()
                if isinstance(a, Tensor)
                else a
                if isinstance(a, int)
                else int(np.float64(a).view(np.int64))
                for a in arguments
            ),
        ],
        dtype=np.int64,
    )
    enter(kernel, block, min(torch.get_num_threads(), pieces))


def enter(kernel: Any, block: NDArray[np.int64], n_threads: int | None = None) -> None:
    """Run `kernel` once in each of `n_threads` threads (None: as many as PyTorch uses), all with the address
    of `block`.
    """
    gomp_parallel = _gomp_parallel()
    threads = torch.get_num_threads() if n_threads is None else n_threads
    if gomp_parallel is None or threads < 2:
        kernel.ctypes(block.ctypes.data)
    else:
        gomp_parallel(kernel.address, block.ctypes.data, threads, 0)


@functools.cache
def _gomp_parallel() -> Any:
    """PyTorch's `void GOMP_parallel(void (*)(void *), void *, unsigned threads, unsigned flags)`, or None."""
    root = Path(torch.__file__).parent
    for folder in (root / "lib", root.parent / "torch.libs"):
        for library in sorted(folder.glob("libgomp*.so*")):
            function = ctypes.CDLL(str(library)).GOMP_parallel
            function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
            function.restype = None
            return function
    return None

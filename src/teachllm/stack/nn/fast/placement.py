"""Where keys and values lie in memory: how a kernel finds them without knowing what kind of cache it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Placement:
    """A row is a new token. What stands at position p of its text is in run p // block_size; with the number
    of that run from `tables`, head h of it begins at
    run · block_stride + (p % block_size) · position_stride + h · head_stride. Strides are in numbers.
    """

    layers: NDArray[np.int64]  # (n_layers, 2): addresses of keys and of values
    tables: NDArray[np.int64]  # (n_rows, runs)
    positions: NDArray[np.int64]  # (n_rows,): of the row in its text
    block_size: int
    block_stride: int
    head_stride: int
    position_stride: int
    dtype: torch.dtype


@runtime_checkable
class Placed(Protocol):
    """A cache view that a kernel can read and write by itself."""

    def placement(self, n_new: int) -> Placement | None:
        """Of `n_new` columns of tokens, one row; None if it lies in a way that cannot be described."""
        ...


def describable(cache: Tensor) -> bool:
    return cache.device.type == "cpu" and cache.is_contiguous()


def addresses(keys: Sequence[Tensor], values: Sequence[Tensor]) -> NDArray[np.int64]:
    return np.array([(k.data_ptr(), v.data_ptr()) for k, v in zip(keys, values, strict=True)], dtype=np.int64)

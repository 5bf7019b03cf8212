"""How many bytes of tensors are alive at once while some code runs, measured op by op."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorMemory(TorchDispatchMode):
    """Inside `with TensorMemory() as memory:`, counts what the tensors made there hold until they are freed.

    peak_bytes: the most at any moment. largest_bytes: the largest tensor of all. Tensors that existed before
    are not counted, nor what a single operation takes for itself while it runs. Python's own `tracemalloc`
    sees neither: tensors are not allocated by Python.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive_bytes = 0
        self.peak_bytes = 0
        self.largest_bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {_address(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and _address(x) not in given:
                self._count(x.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        address, n_bytes = storage._cdata, storage.nbytes()
        if address in self._known:
            return
        self._known.add(address)
        weakref.finalize(storage, self._freed, address, n_bytes)
        self.alive_bytes += n_bytes
        self.peak_bytes = max(self.peak_bytes, self.alive_bytes)
        self.largest_bytes = max(self.largest_bytes, n_bytes)

    def _freed(self, address: int, n_bytes: int) -> None:
        self._known.discard(address)
        self.alive_bytes -= n_bytes


def _address(x: Tensor) -> int:
    """Of the memory behind a tensor: views of it, and what is changed in place, have the same."""
    return x.untyped_storage()._cdata

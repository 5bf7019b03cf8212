"""Which way of computing attention is taken: one for each use and shape of heads, once it is chosen.

`attention_choice` chooses, by measuring; `attention` asks at every call. Until somebody has chosen, it is the
usual way of the device.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

Way: TypeAlias = Literal["numba", "triton", "pytorch"]
Use: TypeAlias = Literal["training", "prompts", "blocks"]


class ModelHeads(Protocol):
    """What must be known of a model."""

    @property
    def n_heads(self) -> int: ...
    @property
    def n_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


class Heads(NamedTuple):
    """The shape of attention, but for lengths, and where it is computed."""

    device: str
    dtype: torch.dtype
    n_heads: int
    n_kv_heads: int
    head_dim: int

    @classmethod
    def of(cls, q: Tensor, k: Tensor) -> Heads:
        """q and k are (batch, heads, length, d)."""
        return cls(q.device.type, q.dtype, q.shape[1], k.shape[1], q.shape[3])

    @classmethod
    def of_model(cls, config: ModelHeads, dtype: torch.dtype, device: torch.device) -> Heads:
        return cls(device.type, dtype, config.n_heads, config.n_kv_heads, config.head_dim)


def usual_way(use: Use, device: str, dtype: torch.dtype) -> Way:
    """Before anything is measured. On a CPU, PyTorch's kernel does not multiply with the processor's bfloat16
    instructions, and ours does; in float32 it is PyTorch's that does more. For keys in blocks it has none.
    """
    if device == "cpu" and (use == "blocks" or dtype == torch.bfloat16):
        return "numba"
    return "pytorch"


_taken: dict[tuple[Use, Heads], Way] = {}


def take(use: Use, heads: Heads, way: Way) -> None:
    """From now on, in this process, attention of these heads for this use goes this way."""
    _taken[use, heads] = way


def way_taken(use: Use, heads: Heads) -> Way:
    return _taken.get((use, heads)) or usual_way(use, heads.device, heads.dtype)

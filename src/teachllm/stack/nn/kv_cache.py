"""The keys and values of all positions seen so far, kept so that they are computed once."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.nn.attention import causal_attention
from teachllm.stack.nn.fast.placement import Placement, addresses, describable


class CachedModelConfig(Protocol):
    """What a cache must know of a model."""

    @property
    def n_layers(self) -> int: ...
    @property
    def n_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


class CacheView(Protocol):
    """What a model asks of a cache. It may hold one text (`KVCache`) or what is next of many."""

    def positions(self, n_new: int) -> slice | Int[Tensor, "*batch n_new"]:
        """Where the `n_new` columns of tokens that are given stand in their texts: a slice if all rows stand
        alike, else positions for every column, or for every row and column.
        """
        ...

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "batch heads new d"],
        k: Float[Tensor, "batch kv_heads new d"],
        v: Float[Tensor, "batch kv_heads new d"],
    ) -> Float[Tensor, "batch heads new d"]:
        """Keep the new keys and values of one layer; each query's attention over its text up to itself."""
        ...

    def advance(self, n_positions: int) -> None:
        """Every layer has written `n_positions` columns: they count from now on."""
        ...


class KVCache:
    """Room for `capacity` positions in every layer, taken once; a step writes only its new positions.

    Keys and values of a layer are (batch, kv_heads, capacity, head_dim). A forward pass calls `update` in
    every layer and `advance` at its end, so one that fails half-way leaves the cache as it was.
    """

    def __init__(
        self,
        n_layers: int,
        n_kv_heads: int,
        head_dim: int,
        capacity: int,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if min(n_layers, n_kv_heads, head_dim, capacity, batch) < 1:
            raise ValueError(
                f"a cache of {n_layers} layers, {n_kv_heads} heads of {head_dim}, capacity {capacity}, "
                f"batch {batch}: each must be at least 1"
            )
        shape = (batch, n_kv_heads, capacity, head_dim)
        self.keys = [torch.empty(shape, dtype=dtype, device=device) for _ in range(n_layers)]
        self.values = [torch.empty(shape, dtype=dtype, device=device) for _ in range(n_layers)]
        self.capacity = capacity
        self.length = 0

    @classmethod
    def for_model(
        cls,
        config: CachedModelConfig,
        capacity: int,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> KVCache:
        """An empty cache of the shape that a model with this `config` needs.

        dtype and device are those of the model's weights.
        """
        return cls(config.n_layers, config.n_kv_heads, config.head_dim, capacity, batch, dtype, device)

    def positions(self, n_new: int) -> slice:
        """Those behind what is held."""
        return slice(self.length, self.length + n_new)

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "batch heads new d"],
        k: Float[Tensor, "batch kv_heads new d"],
        v: Float[Tensor, "batch kv_heads new d"],
    ) -> Float[Tensor, "batch heads new d"]:
        """`causal_attention` of the new positions over all, which `update` keeps and returns."""
        keys, values = self.update(layer, k, v)
        return causal_attention(q, keys, values)

    def placement(self, n_new: int) -> Placement | None:
        """For kernels that do all of a step by themselves; None for a batch, or where there is no room."""
        batch, _, capacity, head_dim = self.keys[0].shape
        if batch > 1 or self.length + n_new > capacity or not describable(self.keys[0]):
            return None
        return Placement(
            layers=addresses(self.keys, self.values),
            tables=np.zeros((n_new, 1), np.int64),  # one run holds everything
            positions=np.arange(self.length, self.length + n_new),
            block_size=capacity,
            block_stride=0,
            head_stride=capacity * head_dim,
            position_stride=head_dim,
            dtype=self.keys[0].dtype,
        )

    def update(
        self,
        layer: int,
        k: Float[Tensor, "batch kv_heads new d"],
        v: Float[Tensor, "batch kv_heads new d"],
    ) -> tuple[Float[Tensor, "batch kv_heads seen d"], Float[Tensor, "batch kv_heads seen d"]]:
        """Write the new positions of one layer behind the old ones; return all of them, without a copy.

        ValueError if they do not fit, in number, shape or dtype. `length` stays as it is until `advance`,
        since every layer writes at the same positions.
        """
        end = self.length + k.shape[2]
        if end > self.capacity:
            raise ValueError(
                f"the KV cache has room for {self.capacity} positions; {self.length} are taken and "
                f"{k.shape[2]} more were given. Make it with a larger capacity, or give fewer tokens."
            )
        keys, values = self.keys[layer], self.values[layer]
        if k.shape[:2] != keys.shape[:2] or k.dtype != keys.dtype:
            raise ValueError(
                f"the KV cache holds {keys.dtype}, batch {keys.shape[0]}, {keys.shape[1]} heads; given are "
                f"{k.dtype}, batch {k.shape[0]}, {k.shape[1]} heads. Give both the same dtype and batch."
            )
        # region: write
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        # endregion: write
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, n_positions: int) -> None:
        """Count `n_positions` that every layer has written."""
        if not 0 <= n_positions <= self.capacity - self.length:
            raise ValueError(
                f"cannot advance by {n_positions}: {self.length} of {self.capacity} positions are taken"
            )
        self.length += n_positions

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on, as if they had never been given."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate to {length}: the cache holds {self.length} positions")
        self.length = length

    def select(self, rows: Int[Tensor, " new_batch"]) -> None:
        """Row i of the batch becomes what row rows[i] held; the batch may grow or shrink.

        For searches in which one beginning goes on in several ways.
        """
        end = self.length
        for layers in (self.keys, self.values):
            for layer, held in enumerate(layers):
                taken = held[rows, :, :end]
                if len(rows) != held.shape[0]:
                    layers[layer] = held.new_empty(len(rows), *held.shape[1:])
                layers[layer][:, :, :end] = taken


def kv_cache_bytes(
    n_layers: int, n_kv_heads: int, head_dim: int, length: int, *, batch: int = 1, bytes_per_number: int = 2
) -> int:
    """Bytes of keys and values: 2 · layers · kv_heads · head_dim · length · batch · bytes per number.

    >>> kv_cache_bytes(32, 8, 128, 8192) == 2**30  # Llama-3-8B in bf16
    True
    """
    return 2 * n_layers * n_kv_heads * head_dim * length * batch * bytes_per_number

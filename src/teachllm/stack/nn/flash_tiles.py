"""What both passes of FlashAttention ask about a tile: which there are, who sees whom, what the scores are.

A tile is a block of queries by a block of keys. Everything here is as large as a tile or as long as a text,
never (queries × keys).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from teachllm.stack.nn.philox import dropout_factors


@dataclass(frozen=True)
class Tiles:
    """One problem of attention, cut in tiles of `block_q` queries by `block_k` keys; the last may be smaller.

    Queries are the last positions of the keys: query i stands at position i + n_keys − n_queries. Tensors of
    the queries are kept as (batch, kv_heads, group, query, …), those of the keys as (batch, kv_heads, 1,
    key, …).
    """

    batch: int
    n_heads: int
    n_kv_heads: int
    n_queries: int
    n_keys: int
    block_q: int
    block_k: int
    scale: float
    causal: bool
    key_mask: Bool[Tensor, "batch key"] | None
    dropout: float
    seed: int

    @classmethod
    def of(
        cls,
        q: Float[Tensor, "batch heads query d"],
        k: Float[Tensor, "batch kv_heads key d"],
        v: Float[Tensor, "batch kv_heads key d_v"],
        *,
        causal: bool = False,
        key_mask: Bool[Tensor, "batch key"] | None = None,
        scale: float | None = None,
        dropout: float = 0.0,
        seed: int = 0,
        block_q: int = 64,
        block_k: int = 64,
    ) -> Tiles:
        """ValueError if shapes, sizes of blocks or the probability do not fit."""
        batch, n_heads, n_queries, d = q.shape
        n_kv_heads, n_keys = k.shape[1:3]
        if k.shape != (batch, n_kv_heads, n_keys, d) or v.shape[:3] != k.shape[:3] or n_heads % n_kv_heads:
            raise ValueError(
                f"q is {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; they must be (batch, heads, "
                "query, d), (batch, kv_heads, key, d), (batch, kv_heads, key, d_v), kv_heads dividing heads"
            )
        if min(block_q, block_k) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"block_q {block_q}, block_k {block_k}, dropout {dropout}: blocks must be at least 1, "
                "dropout from 0 to below 1"
            )
        if key_mask is not None and (key_mask.shape != (batch, n_keys) or key_mask.dtype != torch.bool):
            raise ValueError(
                f"key_mask is {key_mask.dtype} {tuple(key_mask.shape)}; it must be boolean "
                f"(batch, key), here ({batch}, {n_keys}), True where a key may be seen"
            )
        if scale is None:
            scale = 1 / math.sqrt(d)
        return cls(
            batch, n_heads, n_kv_heads, n_queries, n_keys, block_q, block_k, scale, causal, key_mask, dropout,
            seed,
        )  # fmt: skip

    # Cutting ---------------------------------------------------------------------------------------------

    def grouped(
        self, x: Float[Tensor, "batch heads query d"]
    ) -> Float[Tensor, "batch kv_heads group query d"]:
        """The query heads that share a head of keys, beside each other."""
        return x.unflatten(1, (self.n_kv_heads, -1))

    def shared(self, x: Float[Tensor, "batch kv_heads key d"]) -> Float[Tensor, "batch kv_heads group key d"]:
        """Keys or values as each query head of a group reads them, without a copy."""
        return x.unsqueeze(2).expand(-1, -1, self.n_heads // self.n_kv_heads, -1, -1)

    def row_blocks(self) -> Iterator[slice]:
        return _blocks(self.n_queries, self.block_q)

    def column_blocks(self) -> Iterator[slice]:
        return _blocks(self.n_keys, self.block_k)

    def columns_seen(self, rows: slice) -> Iterator[slice]:
        """Blocks of keys of which these queries may see any; a causal mask spares the others."""
        return (columns for columns in self.column_blocks() if self._is_seen(rows, columns))

    def rows_that_see(self, columns: slice) -> Iterator[slice]:
        """Blocks of queries that may see any of these keys."""
        return (rows for rows in self.row_blocks() if self._is_seen(rows, columns))

    def _is_seen(self, rows: slice, columns: slice) -> bool:
        return not self.causal or columns.start <= rows.stop - 1 + self._first_position

    @property
    def _first_position(self) -> int:
        """Where the first query stands among the keys; negative if there are more queries than keys."""
        return self.n_keys - self.n_queries

    # One tile --------------------------------------------------------------------------------------------

    def scores(
        self,
        q: Float[Tensor, "*heads row d"],
        k: Float[Tensor, "*heads column d"],
        rows: slice,
        columns: slice,
    ) -> Float[Tensor, "*heads row column"]:
        """q kᵀ · scale, with −∞ for a key that may not be seen."""
        scores = q @ k.transpose(-2, -1) * self.scale
        if self.causal and columns.stop - 1 > rows.start + self._first_position:  # else all of it is seen
            key = torch.arange(columns.start, columns.stop, device=q.device)
            position = torch.arange(rows.start, rows.stop, device=q.device) + self._first_position
            scores = scores.masked_fill(key > position.unsqueeze(-1), -math.inf)
        if self.key_mask is not None:
            hidden = ~self.key_mask[:, None, None, None, columns]
            scores = scores.masked_fill(hidden, -math.inf)
        return scores

    def kept(
        self, rows: slice, columns: slice, device: torch.device
    ) -> Float[Tensor, "batch kv_heads group row column"] | None:
        """What dropout multiplies the weights of a tile by; None without dropout. The same at every call."""
        if self.dropout == 0:
            return None
        head = torch.arange(self.batch * self.n_heads, device=device)
        return dropout_factors(
            self.dropout,
            self.seed,
            head.view(self.batch, self.n_kv_heads, -1, 1, 1),
            torch.arange(rows.start, rows.stop, device=device).unsqueeze(-1),
            torch.arange(columns.start, columns.stop, device=device),
        )


def _blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))

"""The tensors behind the block tables, and the cache view through which a model sees many texts at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.inference.engine.blocks import BlockTable, Copy
from teachllm.stack.nn.attention_ways import Way
from teachllm.stack.nn.fast import paged_attention as fast
from teachllm.stack.nn.fast.paged_attention import PagedRows
from teachllm.stack.nn.fast.placement import Placement, addresses, describable
from teachllm.stack.nn.kv_cache import CachedModelConfig, kv_cache_bytes
from teachllm.stack.nn.paged_attention import decode_attention, paged_attention


class PagedKV:
    """Keys and values of all blocks. keys[layer] and values[layer] are (n_blocks, block_size, kv_heads, d).

    All lie in `storage`, (n_layers, 2, n_blocks, block_size, kv_heads, d), keys before values: what a block
    holds is storage[:, :, block].
    """

    def __init__(
        self,
        n_layers: int,
        n_blocks: int,
        block_size: int,
        n_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (n_layers, 2, n_blocks, block_size, n_kv_heads, head_dim)
        if min(shape) < 1:
            raise ValueError(f"keys and values of shape {shape}: each number must be at least 1")
        # Zeros, since a slot that is hidden by a weight of 0 must not hold a NaN: 0 · NaN is NaN.
        self.storage = torch.zeros(shape, dtype=dtype, device=device)
        self.keys = [layer[0] for layer in self.storage]
        self.values = [layer[1] for layer in self.storage]
        self.n_blocks, self.block_size = n_blocks, block_size

    @classmethod
    def for_model(
        cls,
        config: CachedModelConfig,
        n_blocks: int,
        block_size: int = 16,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> PagedKV:
        """Blocks of the shape that a model with this `config` needs; dtype and device are its weights'."""
        return cls(config.n_layers, n_blocks, block_size, config.n_kv_heads, config.head_dim, dtype, device)

    @property
    def n_bytes(self) -> int:
        return self.storage.nbytes

    def copy(self, copies: Sequence[Copy]) -> None:
        """Copy blocks in every layer, one after another."""
        sources, targets = [copy.source for copy in copies], [copy.target for copy in copies]
        if len({*sources, *targets}) == len({*sources}) + len(targets):  # none waits for another
            self.storage[:, :, targets] = self.storage[:, :, sources]
        else:
            for source, target in copies:
                self.storage[:, :, target] = self.storage[:, :, source]


def block_bytes(config: CachedModelConfig, block_size: int, bytes_per_number: int) -> int:
    """Bytes of one block in all layers."""
    return kv_cache_bytes(
        config.n_layers, config.n_kv_heads, config.head_dim, block_size, bytes_per_number=bytes_per_number
    )


class PagedBatch:
    """The cache view of one step: the next tokens of several texts, flattened into one row (1, total).

    parts: tables, each with how many tokens come now, in the order of the row. The pool must have made room
    for them (`BlockPool.extend`) and its copies be done. The tables stay as they are: `BlockPool.commit` says
    that the tokens are written.

    Everything that is the same for all layers is worked out here, once. ValueError if there is no room.

    n_rows: rows that the model is given; those behind the tokens are read by nobody.
    way: of attending, where it can be gone; see `attention_choice`.
    readable: by `nn.paged_attention.paged_attention`, text by text, for lessons and tests.
    """

    def __init__(
        self,
        kv: PagedKV,
        parts: Sequence[tuple[BlockTable, int]],
        *,
        n_rows: int | None = None,
        way: Way = "numba",
        readable: bool = False,
    ) -> None:
        self._kv = kv
        self._plan = plan = _Plan(kv, parts)
        device = kv.storage.device
        self._n_tokens = n_tokens = len(plan.positions)
        self.n_rows = n_tokens if n_rows is None else n_rows
        positions = np.pad(plan.positions, (0, self.n_rows - n_tokens))
        self._positions = torch.from_numpy(positions).to(device)
        self._slots = torch.from_numpy(plan.slots).to(device)
        if way == "numba" and not readable and fast.can_run(kv.keys[0]):
            tokens = np.arange(n_tokens)
            rows = PagedRows(plan.tables, tokens, plan.texts, plan.positions + 1)
            self._attention = partial(_by_kernel, rows)
        else:
            gathered = _Gathered(plan, device, together=not readable)
            self._attention = partial(_by_gathering, gathered, decode_attention(way))

    def positions(self, n_new: int) -> Int[Tensor, " total"]:
        """Of every row in its own text. ValueError if there are not as many as were planned."""
        if n_new != self.n_rows:
            raise ValueError(f"{n_new} tokens were given, and this step was planned for {self.n_rows}")
        return self._positions

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "1 heads total d"],
        k: Float[Tensor, "1 kv_heads total d"],
        v: Float[Tensor, "1 kv_heads total d"],
    ) -> Float[Tensor, "1 heads total d"]:
        """Write the new keys and values into their slots; each query's attention over its own text."""
        keys, values = self._kv.keys[layer], self._kv.values[layer]
        if k.dtype != keys.dtype:
            raise ValueError(f"the cache holds {keys.dtype} and {k.dtype} is given: make both the same")
        n_tokens = self._n_tokens
        keys.flatten(0, 1)[self._slots] = k[0, :, :n_tokens].transpose(0, 1)
        values.flatten(0, 1)[self._slots] = v[0, :, :n_tokens].transpose(0, 1)
        # Position before head in memory, as the matrix behind the attention reads it.
        queries = q[0].transpose(0, 1)
        out = q.new_empty(queries.shape)
        if n_tokens < self.n_rows:
            out[n_tokens:] = 0
        self._attention(queries, keys, values, out)
        return out.transpose(0, 1)[None]

    def placement(self, n_new: int) -> Placement | None:
        """For kernels that do all of a step by themselves."""
        kv, plan = self._kv, self._plan
        if not n_new == self.n_rows == self._n_tokens or not describable(kv.keys[0]):
            return None
        _, block_size, n_kv_heads, head_dim = kv.keys[0].shape
        return Placement(
            layers=addresses(kv.keys, kv.values),
            tables=plan.tables[plan.texts].astype(np.int64),
            positions=plan.positions,
            block_size=block_size,
            block_stride=block_size * n_kv_heads * head_dim,
            head_stride=head_dim,
            position_stride=n_kv_heads * head_dim,
            dtype=kv.keys[0].dtype,
        )

    def advance(self, n_positions: int) -> None:
        """Nothing is left to do: lengths are the pool's, which counts the tokens when it is told which."""


def _by_kernel(rows: PagedRows, q: Tensor, keys: Tensor, values: Tensor, out: Tensor) -> None:
    fast.paged_rows_attention(q, keys, values, rows, out)


def _by_gathering(
    batch: _Gathered, decode: Callable[..., Tensor], q: Tensor, keys: Tensor, values: Tensor, out: Tensor
) -> None:
    if len(batch.rows):
        out[batch.rows] = decode(q[batch.rows], keys, values, batch.tables, batch.n_keys)
    for rows, table, n_keys in batch.pieces:
        out[rows] = paged_attention(q[rows], keys, values, table, n_keys)


class _Plan:
    """Positions and slots of a step's tokens, which text each is of, and the tables as one array."""

    def __init__(self, kv: PagedKV, parts: Sequence[tuple[BlockTable, int]]) -> None:
        size = kv.block_size
        self.n_new = np.array([n_new for _, n_new in parts], dtype=np.int64)
        starts = np.array([table.length for table, _ in parts], dtype=np.int64)
        self.n_keys = starts + self.n_new
        most = 0
        for (table, n_new), n_keys in zip(parts, self.n_keys.tolist(), strict=True):
            if n_new < 1 or n_keys > len(table.blocks) * size:
                raise ValueError(
                    f"{n_new} tokens behind {table.length} in {len(table.blocks)} blocks of {size}: at least "
                    "one must come, and `extend` must have made room for it"
                )
            most = max(most, len(table.blocks))
        self.tables = np.zeros((len(parts), most), dtype=np.int32)
        for row, (table, _) in zip(self.tables, parts, strict=True):
            row[: len(table.blocks)] = table.blocks
        self.texts = np.repeat(np.arange(len(parts)), self.n_new)
        first = np.cumsum(self.n_new) - self.n_new
        self.positions = np.arange(len(self.texts)) + (starts - first)[self.texts]
        self.slots = self.tables[self.texts, self.positions // size] * np.int64(size) + self.positions % size


class _Gathered:
    """For devices without a kernel. together: texts with one new token are computed all at once."""

    def __init__(self, plan: _Plan, device: torch.device, *, together: bool) -> None:
        tables = torch.from_numpy(plan.tables).to(device)
        ends = np.cumsum(plan.n_new)
        single = np.flatnonzero(plan.n_new == 1) if together else np.arange(0)
        self.rows = torch.from_numpy(ends[single] - 1).to(device)
        self.tables = tables[torch.from_numpy(single).to(device)]
        self.n_keys = torch.from_numpy(plan.n_keys[single]).to(device)
        self.pieces = [
            (slice(ends[text] - plan.n_new[text], ends[text]), tables[text], int(plan.n_keys[text]))
            for text in np.setdiff1d(np.arange(len(ends)), single).tolist()
        ]

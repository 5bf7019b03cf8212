"""Beginnings of texts whose keys and values leave for another engine, or come from one.

What is held belongs to the pool's books like the blocks of a text that is written: nobody is given them, and
`check_integrity` counts them. What came stays, once it is let go, as a cached prefix, so a text that begins
so finds it as it finds any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.inference.engine.blocks import BlockPool, BlockTable, OutOfBlocks
from teachllm.stack.inference.engine.paged_kv import PagedKV


class HeldPrefixes:
    """Tables of full blocks by name, owned by nobody's text. For the thread of the engine alone."""

    def __init__(self, pool: BlockPool, kv: PagedKV) -> None:
        self._pool, self._kv = pool, kv
        self._held: dict[str, BlockTable] = {}

    @property
    def shape(self) -> torch.Size:
        """Of the keys and values of all blocks, as in `PagedKV`."""
        return self._kv.storage.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._kv.storage.dtype

    @property
    def tables(self) -> list[BlockTable]:
        return list(self._held.values())

    def length(self, name: str) -> int | None:
        """Tokens that are held by this name; None if nothing is."""
        table = self._held.get(name)
        return None if table is None else table.length

    def hold(self, name: str, tokens: Sequence[int]) -> int:
        """Own what is cached of the beginning of `tokens`, until `let_go`; how many tokens that is.

        It is shorter than the text, as in `BlockPool.open`. ValueError if the name holds something.
        """
        if name in self._held:
            raise ValueError(f"a prefix is held by the name {name!r}; let it go first")
        table = self._held[name] = self._pool.open(tokens)
        return table.length

    def read(self, name: str, first: int) -> Float[Tensor, "layers 2 blocks block_size kv_heads d"]:
        """A copy, in CPU memory, of the blocks held by `name` from token `first` on, where a block begins."""
        table = self._held[name]
        blocks = table.blocks[first // self._pool.block_size :]
        return self._kv.storage[:, :, blocks].to("cpu").contiguous()

    def write(
        self,
        name: str,
        tokens: Sequence[int],
        blocks: Float[Tensor, "layers 2 blocks block_size kv_heads d"],
    ) -> bool:
        """`tokens` stand behind those held by `name`, with these keys and values: full blocks. False, and
        nothing is written, if there are not enough free ones.
        """
        table = self._held[name]
        first = len(table.blocks)
        if table.length + len(tokens) != (first + blocks.shape[2]) * self._pool.block_size:
            raise ValueError(
                f"{len(tokens)} tokens behind {table.length} and {blocks.shape[2]} blocks of "
                f"{self._pool.block_size}: only full blocks can be written"
            )
        try:
            self._pool.extend(table, len(tokens))
        except OutOfBlocks:
            return False
        with torch.inference_mode():
            self._kv.storage[:, :, table.blocks[first:]] = blocks.to(self._kv.storage.device)
        self._pool.commit(table, tokens)
        return True

    def let_go(self, name: str) -> None:
        """Own it no longer; what is full stays cached until somebody needs the blocks. Nothing if there is
        nothing of this name.
        """
        table = self._held.pop(name, None)
        if table is not None:
            self._pool.release(table)

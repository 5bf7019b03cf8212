"""Steps in which every text gets one new token, launched all at once: CUDA graphs.

Such a step of a small model is some hundred kernels that take microseconds each, and a GPU waits for Python
to launch them. A graph is recorded once and then launched as one thing, but it can only repeat itself: the
same kernels, with the same shapes, at the same addresses. So what differs from step to step lies in buffers
that stay where they are, and steps come in few sizes: texts and blocks are filled up to powers of two.

Elsewhere than on a GPU the same step runs as it is written, which is how it is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.inference.engine.blocks import BlockTable
from teachllm.stack.inference.engine.paged_kv import PagedKV
from teachllm.stack.inference.generation import CausalModel
from teachllm.stack.nn.attention_ways import Way
from teachllm.stack.nn.paged_attention import decode_attention

SPARE_BLOCKS = 1  # where rows that belong to nobody write and read
WARM = 3  # runs before a graph is recorded, in which libraries and Triton make what they need


def graphs_pay(device: torch.device) -> bool:
    return device.type == "cuda"


class DecodeSteps:
    """The steps of a model over `kv`, whose last block is spare: no text may own it.

    way: of attending; see `attention_choice`.
    """

    def __init__(self, model: CausalModel, kv: PagedKV, way: Way) -> None:
        self._model, self._kv = model, kv
        self._way: Way = way
        self._steps: dict[tuple[int, int], _Step] = {}

    def __call__(self, tokens: Sequence[int], tables: Sequence[BlockTable]) -> Float[Tensor, "texts vocab"]:
        """Logits behind one new token of each text, valid until the next call. `tables` have room for it.

        A size that comes for the first time is recorded, which takes as long as some ordinary steps.
        """
        size = _power_of_two(len(tokens)), _power_of_two(max(len(table.blocks) for table in tables))
        step = self._steps.get(size)
        if step is None:
            batch = FixedBatch(self._kv, size[0], size[1], self._way)
            batch.fill(tokens, tables)
            step = self._steps[size] = _recorded(self._model, batch)
        step.batch.fill(tokens, tables)
        return step.run()[: len(tokens)]


@dataclass(frozen=True)
class _Step:
    batch: FixedBatch
    run: Callable[[], Tensor]


def _recorded(model: CausalModel, batch: FixedBatch) -> _Step:
    """The step, recorded if it is on a GPU. What it writes meanwhile is what it will write afterwards."""

    def run() -> Tensor:
        return model.head(model.features(batch.tokens[None], batch)[0])

    device = batch.tokens.device
    if device.type != "cuda":
        return _Step(batch, run)
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            run()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = run()

    def replay() -> Tensor:
        graph.replay()
        return logits

    return _Step(batch, replay)


class FixedBatch:
    """The cache view of a step of up to `n_rows` texts with one new token each, of up to `n_blocks` blocks:
    `PagedBatch` over buffers that keep their addresses. Rows behind the texts read and write the spare block.
    """

    def __init__(self, kv: PagedKV, n_rows: int, n_blocks: int, way: Way) -> None:
        self._kv, self._n_rows, self._n_blocks = kv, n_rows, n_blocks
        device = kv.storage.device
        # All in one, so that one copy a step brings them to the device.
        self._numbers = torch.zeros((4 + n_blocks) * n_rows, dtype=torch.long, device=device)
        tokens, positions, slots, n_keys, tables = self._numbers.split([n_rows] * 4 + [n_rows * n_blocks])
        self.tokens: Int[Tensor, " n_rows"] = tokens
        self._positions, self._slots, self._n_keys = positions, slots, n_keys
        self._tables = tables.view(n_rows, n_blocks)
        self._attend = decode_attention(way)

    def fill(self, tokens: Sequence[int], tables: Sequence[BlockTable]) -> None:
        """The next step's tokens, one behind what each table holds."""
        n_texts, size, spare = len(tokens), self._kv.block_size, self._kv.n_blocks - SPARE_BLOCKS
        numbers = np.zeros((4 + self._n_blocks, self._n_rows), dtype=np.int64)
        positions = np.array([table.length for table in tables], dtype=np.int64)
        blocks = numbers[4:].reshape(self._n_rows, self._n_blocks)
        blocks[n_texts:] = spare
        for row, table in zip(blocks, tables, strict=False):
            row[: len(table.blocks)] = table.blocks
        numbers[0, :n_texts], numbers[1, :n_texts] = tokens, positions
        numbers[2] = spare * size
        own = blocks[np.arange(n_texts), positions // size]
        numbers[2, :n_texts] = own * size + positions % size
        numbers[3] = numbers[1] + 1
        self._numbers.copy_(torch.from_numpy(numbers.reshape(-1)))

    def positions(self, n_new: int) -> Int[Tensor, " n_rows"]:
        if n_new != self._n_rows:
            raise ValueError(f"{n_new} tokens were given, and this step has {self._n_rows} rows")
        return self._positions

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "1 heads n_rows d"],
        k: Float[Tensor, "1 kv_heads n_rows d"],
        v: Float[Tensor, "1 kv_heads n_rows d"],
    ) -> Float[Tensor, "1 heads n_rows d"]:
        keys, values = self._kv.keys[layer], self._kv.values[layer]
        keys.flatten(0, 1)[self._slots] = k[0].transpose(0, 1)
        values.flatten(0, 1)[self._slots] = v[0].transpose(0, 1)
        out = self._attend(q[0].transpose(0, 1), keys, values, self._tables, self._n_keys)
        return out.transpose(0, 1)[None]

    def advance(self, n_positions: int) -> None:
        """Nothing is left to do: lengths are the pool's."""


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()

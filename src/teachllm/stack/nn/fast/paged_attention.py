"""Attention over keys and values in blocks, read where they lie.

The work is cut into pieces of at most `SPLIT` keys of one token, and a token's pieces are merged afterwards:
one text with a long context keeps all threads busy too (Flash-Decoding, Dao et al. 2023). How keys are cut
depends on their number alone, so a result does not depend on what else is in the batch.

The tokens of one prompt read its keys each for itself; all but the first find them in the processor's cache.
For pieces of some hundred tokens that is as fast as gathering the keys for PyTorch's kernel, and for shorter
ones several times faster (`make bench NAME=paged_attention`).

Oracle: `nn.paged_attention`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import int64
from torch import Tensor

from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.attention_tiles import KEYS, WIDTH, prefetch, score_tile, value_tile
from teachllm.stack.nn.fast.bits import arguments_of, array, as_float, exp, narrow, take, wide

SPLIT = 256  # keys of a piece
LINE = 64  # bytes of a cache line


def can_run(keys: Float[Tensor, "n_blocks block_size kv_heads d"]) -> bool:
    """Whether the kernel can work on these keys: on the CPU, without gradients, in whole chunks and tiles."""
    return (
        keys.shape[-1] % WIDTH == 0
        and keys.shape[1] % KEYS == 0
        and SPLIT % keys.shape[1] == 0
        and not torch.is_grad_enabled()
        and threads.can_run(keys)
    )


class PagedRows:
    """Which keys each token reads, cut into pieces; the same for all layers of a step.

    tables: the blocks of each text. Token `tokens[i]` of the queries reads the first `n_keys[i]` keys of text
    `texts[i]`.
    """

    def __init__(
        self,
        tables: Int[np.ndarray, "texts most_blocks"],
        tokens: Int[np.ndarray, " rows"],
        texts: Int[np.ndarray, " rows"],
        n_keys: Int[np.ndarray, " rows"],
    ) -> None:
        n_pieces = -(-n_keys // SPLIT)
        row = np.repeat(np.arange(len(tokens)), n_pieces)
        piece = np.arange(len(row)) - (np.cumsum(n_pieces) - n_pieces)[row]
        first = piece * SPLIT
        # A token of one piece is finished by it; the sums of others wait in a place of their own.
        several = n_pieces > 1
        place = np.where(several[row], np.cumsum(several[row]) - 1, -1)
        last = np.minimum(first + SPLIT, n_keys[row])
        columns = (tokens[row], texts[row] * tables.shape[1], first, last, place)
        self.pieces = torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))
        to_merge = (tokens[several], place[(piece == 0) & several[row]], n_pieces[several])
        self.merges = torch.from_numpy(np.stack(to_merge, axis=1).astype(np.int64))
        self.tables = torch.from_numpy(np.ascontiguousarray(tables, dtype=np.int32))
        self.n_places = int(several[row].sum())


def paged_rows_attention(
    q: Float[Tensor, "tokens heads d"],
    keys: Float[Tensor, "n_blocks block_size kv_heads d"],
    values: Float[Tensor, "n_blocks block_size kv_heads d"],
    rows: PagedRows,
    out: Float[Tensor, "tokens heads d"],
) -> None:
    """The attention of every token that `rows` names, written into its place in `out`.

    q may be a view; the numbers of a head must be neighbours.
    """
    if q.stride(-1) != 1 or not out.is_contiguous():
        raise ValueError(
            f"q has strides {q.stride()}, out {out.stride()}: heads must be in one piece, and out"
        )
    n_heads, d = q.shape[1:]
    block_size, n_kv_heads = keys.shape[1:3]
    sums = torch.empty(rows.n_places, n_heads, d)
    maxima, totals = torch.empty(2, rows.n_places, n_heads)
    attend = threads.compiled_for(q.dtype, _pieces(n_heads // n_kv_heads, d // WIDTH))
    threads.run(
        attend, len(rows.pieces), n_kv_heads, block_size, q, q.stride(0), q.stride(1), keys, values,
        rows.tables, rows.tables.numel(), rows.pieces, 1 / math.sqrt(d), out, len(out), sums, maxima, totals,
        rows.n_places,
    )  # fmt: skip
    if len(rows.merges):
        merge = threads.compiled_for(q.dtype, _merge)
        threads.run(
            merge, len(rows.merges), rows.merges, n_heads, d, out, len(out), sums, maxima, totals,
            rows.n_places,
        )  # fmt: skip


@functools.cache
def _pieces(group: int, chunks: int) -> Callable[[Any], Callable[..., None]]:
    """The kernel for groups of so many heads of so many chunks: tiles are straight code."""
    d = chunks * WIDTH

    def make(numbers: Any) -> Any:
        size = np.dtype(numbers).itemsize

        def kernel(block):  # type: ignore[no-untyped-def]
            pieces, n_kv_heads, block_size, q, q_token, q_head, keys, values = arguments_of(block)[:8]
            tables_, n_tables, plan_, scale_, out_, n_out = arguments_of(block)[8:14]
            sums_, maxima_, totals_, n_places = arguments_of(block)[14:18]
            n_heads, row_bytes = n_kv_heads * group, n_kv_heads * d * size
            block_bytes = block_size * row_bytes
            tables = array(tables_, (n_tables,), np.int32)
            plan = array(plan_, (pieces, 5), np.int64)
            out = array(out_, (n_out, n_heads, d), numbers)
            all_sums = array(sums_, (n_places, n_heads, d), np.float32)
            maxima = array(maxima_, (n_places, n_heads), np.float32)
            totals = array(totals_, (n_places, n_heads), np.float32)
            scale = as_float(scale_)
            query, sums = np.empty((n_heads, d), np.float32), np.empty((n_heads, d), np.float32)
            weights = np.empty((n_heads, SPLIT), np.float32)
            while True:
                piece = take(block)
                if piece >= pieces:
                    return
                token, table, first, last, place = plan[piece]
                for h in range(n_heads):
                    given = array(q + (token * q_token + h * q_head) * size, (d,), numbers)
                    for j in range(d):
                        query[h, j] = wide(given[j]) * scale
                        sums[h, j] = 0
                n_blocks = (last - first + block_size - 1) // block_size
                own_blocks = tables[table + first // block_size : table + first // block_size + n_blocks]
                # Scores of all keys. The next block is asked for while this one is read.
                for b in range(n_blocks):
                    own = keys + int64(own_blocks[b]) * block_bytes
                    following = keys if b + 1 < n_blocks else values
                    following += int64(own_blocks[(b + 1) % n_blocks]) * block_bytes
                    n = min(block_size, last - first - b * block_size)
                    for i in range(0, n, KEYS):
                        for line in range(i * row_bytes, (i + KEYS) * row_bytes, LINE):
                            prefetch(following + line)
                        column = weights.ctypes.data + (b * block_size + i) * 4
                        for kv in range(n_kv_heads):
                            score_tile(
                                query.ctypes.data + kv * group * d * 4, own + i * row_bytes + kv * d * size,
                                row_bytes, column + kv * group * SPLIT * 4, SPLIT * 4, group, chunks, size,
                            )  # fmt: skip
                # Weights, relative to the largest of this piece; their sum; the sum of the weighted values.
                for h in range(n_heads):
                    own_weights = weights[h, : last - first]
                    highest, total = np.float32(-np.inf), np.float32(0)
                    for i in range(len(own_weights)):
                        highest = max(highest, own_weights[i])
                    for i in range(len(own_weights)):
                        weight = exp(own_weights[i] - highest)
                        own_weights[i] = weight
                        total += weight
                    query[h, 0], query[h, 1] = highest, total  # the queries have done their work
                for b in range(n_blocks):
                    own = values + int64(own_blocks[b]) * block_bytes
                    following = values + int64(own_blocks[(b + 1) % n_blocks]) * block_bytes
                    n, share = min(block_size, last - first - b * block_size), block_bytes // n_kv_heads
                    for kv in range(n_kv_heads):
                        for line in range(kv * share, (kv + 1) * share, LINE):
                            prefetch(following + line)
                        value_tile(
                            weights.ctypes.data + (kv * group * SPLIT + b * block_size) * 4, SPLIT * 4,
                            own + kv * d * size, row_bytes, n, sums.ctypes.data + kv * group * d * 4,
                            group, chunks, size,
                        )  # fmt: skip
                if place < 0:
                    for h in range(n_heads):
                        own_out, factor = out[token, h], np.float32(1) / query[h, 1]
                        for j in range(d):
                            own_out[j] = narrow(sums[h, j] * factor, own_out)
                else:
                    for h in range(n_heads):
                        maxima[place, h], totals[place, h] = query[h, 0], query[h, 1]
                        all_sums[place, h] = sums[h]

        return kernel

    return make


def _merge(numbers: Any) -> Any:
    """Pieces of one token brought together: Σ e^(m_i - m) sums_i / Σ e^(m_i - m) totals_i, m = max m_i."""

    def kernel(block):  # type: ignore[no-untyped-def]
        merges, plan_, n_heads, d, out_, n_out, sums_, maxima_, totals_, n_places = arguments_of(block)[:10]
        plan = array(plan_, (merges, 3), np.int64)
        out = array(out_, (n_out, n_heads, d), numbers)
        sums = array(sums_, (n_places, n_heads, d), np.float32)
        maxima = array(maxima_, (n_places, n_heads), np.float32)
        totals = array(totals_, (n_places, n_heads), np.float32)
        while True:
            piece = take(block)
            if piece >= merges:
                return
            token, first, count = plan[piece]
            for h in range(n_heads):
                highest, total = np.float32(-np.inf), np.float32(0)
                for i in range(first, first + count):
                    highest = max(highest, maxima[i, h])
                for i in range(first, first + count):
                    maxima[i, h] = exp(maxima[i, h] - highest)
                    total += maxima[i, h] * totals[i, h]
                together, own_out = sums[first, h], out[token, h]
                for j in range(d):
                    together[j] *= maxima[first, h]
                for i in range(first + 1, first + count):
                    own, share = sums[i, h], maxima[i, h]
                    for j in range(d):
                        together[j] += own[j] * share
                for j in range(d):
                    own_out[j] = narrow(together[j] / total, own_out)

    return kernel

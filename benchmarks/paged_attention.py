"""Attention of a step of serving, over blocks, beside PyTorch's over one piece.

`make bench NAME=paged_attention`.

A step attends once in every layer. Ours writes the new keys and values into their blocks and reads all of a
text's where they lie, in an order that a pool in use has dealt. PyTorch's fused kernel gets all texts in one
tensor, with the query heads of a group in line as queries, which is its fastest way here; nothing is written
and nothing is padded, so texts are of one length. The limit is reading keys and values once.

Bookkeeping is what a step does once for all layers: room for the new tokens, where everything lies, and the
books afterwards.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.harness import Row, alternate, compare, report, seconds, without_peer
from teachllm.stack.inference.engine.blocks import BlockPool, BlockTable
from teachllm.stack.inference.engine.paged_kv import PagedBatch, PagedKV
from teachllm.stack.inference.roofline import measure_read_bandwidth

THREADS, DTYPE = 2, torch.bfloat16
PACKAGES = ("torch", "numba")
CASES = ((1, 300), (1, 4096), (64, 300), (256, 300))  # texts, tokens of each
CHUNKS = ((128, 0), (512, 0), (512, 1536))  # new tokens of one prompt, tokens before them


@dataclass(frozen=True)
class Sizes:
    """Those of SmolLM2-135M."""

    n_layers: int = 30
    n_heads: int = 9
    n_kv_heads: int = 3
    head_dim: int = 64


SIZES = Sizes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    bandwidth = measure_read_bandwidth("cpu")
    rows: list[Row] = []
    with torch.inference_mode():
        for n_texts, length in CASES:
            rows += step(n_texts, length, bandwidth, arguments.times)
        rows += [chunk(n_new, before, arguments.times) for n_new, before in CHUNKS]
    report("paged_attention", rows, notes=[f"limit: {bandwidth / 1e9:.0f} GB/s", f"{SIZES}, {DTYPE}"])


def step(n_texts: int, length: int, bandwidth: float, times: int) -> list[Row]:
    pool, kv, tables = served(n_texts, length - 1)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, n, n_texts, SIZES.head_dim, generator=generator).to(DTYPE)
        for n in (SIZES.n_heads, SIZES.n_kv_heads, SIZES.n_kv_heads)
    )
    kept: list[PagedBatch] = []
    books = [seconds(lambda: kept.append(plan(pool, kv, tables))) for _ in range(times)]
    view = kept[-1]
    shape = (SIZES.n_layers, n_texts, SIZES.n_kv_heads, length, SIZES.head_dim)
    keys, values = torch.zeros(shape, dtype=DTYPE), torch.zeros(shape, dtype=DTYPE)
    folded = q[0].transpose(0, 1).reshape(n_texts, SIZES.n_kv_heads, -1, SIZES.head_dim)

    def ours() -> None:
        for layer in range(SIZES.n_layers):
            view.attend(layer, q, k, v)

    def pytorch() -> None:
        for layer in range(SIZES.n_layers):
            F.scaled_dot_product_attention(folded, keys[layer], values[layer])

    taken = alternate(ours, pytorch, times=times)
    read = 2 * keys.nbytes / bandwidth
    what = f"{n_texts} × {length:,} tokens"
    return [
        compare(
            f"attention, {what}",
            *(1e3 * t for t in taken),
            "PyTorch, one piece",
            "ms a step",
            lower_is_better=True,
            limit=1e3 * read,
            threads=THREADS,
            packages=PACKAGES,
        ),
        without_peer(f"bookkeeping, {what}", 1e3 * sorted(books)[times // 2], "", "ms a step", "no peer"),
    ]


def chunk(n_new: int, before: int, times: int) -> Row:
    """A piece of a prompt: the kernel beside gathering the keys for PyTorch's."""
    pool, kv, [table] = served(1, before)
    pool.extend(table, n_new)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, n, n_new, SIZES.head_dim, generator=generator).to(DTYPE)
        for n in (SIZES.n_heads, SIZES.n_kv_heads, SIZES.n_kv_heads)
    )
    views = [PagedBatch(kv, [(table, n_new)], readable=readable) for readable in (False, True)]
    taken = alternate(*(lambda view=view: view.attend(0, q, k, v) for view in views), times=times)
    return compare(
        f"attention, {n_new} new tokens behind {before:,}",
        *(1e3 * t for t in taken),
        "PyTorch, gathered",
        "ms a layer",
        lower_is_better=True,
        threads=THREADS,
        packages=PACKAGES,
    )


def served(n_texts: int, length: int) -> tuple[BlockPool, PagedKV, list[BlockTable]]:
    """Texts that have grown side by side, so that their blocks lie between each other's."""
    n_blocks = n_texts * (-(-length // 16) + 33)
    pool, kv = BlockPool(n_blocks), PagedKV.for_model(SIZES, n_blocks, dtype=DTYPE)
    tables = [pool.open([]) for _ in range(n_texts)]
    for first in range(0, length, 20):
        for text, table in enumerate(tables):
            tokens = range(first, min(length, first + 20))
            pool.extend(table, len(tokens))
            pool.commit(table, (text * length + token for token in tokens))
    return pool, kv, tables


def plan(pool: BlockPool, kv: PagedKV, tables: list[BlockTable]) -> PagedBatch:
    """All the bookkeeping of a step that gives every text a token, which is then taken back."""
    for table in tables:
        pool.extend(table, 1)
    view = PagedBatch(kv, [(table, 1) for table in tables])
    for table in tables:
        pool.commit(table, [0])
        pool.truncate(table, table.length - 1)
    return view


if __name__ == "__main__":
    main()

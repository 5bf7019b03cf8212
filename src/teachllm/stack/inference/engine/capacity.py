"""How many blocks of keys and values a memory has room for, and how many requests at once that means.

The weights take a part of the memory that never changes, the activations of a step need some, and what is
left can be the cache. How much that is decides how many requests run side by side, and so the throughput.
Kwon et al. 2023, arXiv:2309.06180, figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch

KV_BYTES = 1 << 29  # of keys and values, where nobody says how many


def max_concurrent(
    lengths: Sequence[int],
    memory: int,
    taken: int,
    token_bytes: int,
    *,
    share: float = 0.9,
    block_size: int = 16,
    max_running: int = 256,
) -> int:
    """How many requests hold all of their keys and values at the same time, first come first served.

    lengths: tokens of each request, prompt and answer together, in the order in which they come.
    memory: bytes of the device; taken: those that are in use already, by the weights above all; share: how
    much of `memory` may be in use with the cache. So there are
    ⌊(share · memory − taken) / (block_size · token_bytes)⌋ blocks, or none if that is negative.
    token_bytes: keys and values of one token in all layers.
    A request takes whole blocks, and at most `max_running` run. Nobody overtakes: behind the first that does
    not fit, everybody waits.

    Reserving room for M tokens whatever a request needs is a block size of M.

    >>> max_concurrent([500] * 100, memory=40 * 2**30, taken=26 * 10**9, token_bytes=819_200)
    30
    """
    # region: count
    free = blocks_that_fit(memory, taken, block_size * token_bytes, share)
    running = 0
    for length in lengths[:max_running]:
        free -= -(-length // block_size)
        if free < 0:
            break
        running += 1
    return running
    # endregion: count


def blocks_that_fit(memory: int, taken: int, block_bytes: int, share: float) -> int:
    """⌊(share · memory − taken) / block_bytes⌋, and 0 where that is negative; all but `share` in bytes."""
    return max(0, int((share * memory - taken) // block_bytes))


def blocks_on(device: torch.device, block_bytes: int, share: float | None) -> int:
    """How many blocks an engine makes on `device`, as it stands now.

    share: of the device's memory, may be in use when the blocks are there, by whomever. None: as many as take
    512 MiB, on a computer that does other things too. ValueError if not even one fits.
    """
    if share is None:
        return max(1, KV_BYTES // block_bytes)
    memory, taken = device_memory(device)
    n_blocks = blocks_that_fit(memory, taken, block_bytes, share)
    if n_blocks < 1:
        raise ValueError(
            f"memory_share is {share}: of {memory / 2**30:.1f} GiB of memory, {taken / 2**30:.1f} GiB are in "
            f"use already, so no block of {block_bytes:,} bytes fits. Give a larger share, end other "
            "programs, or take a smaller model."
        )
    return n_blocks


def device_memory(device: torch.device) -> tuple[int, int]:
    """Bytes of the device's memory, and how many of them are in use now, by whomever."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        # What the allocator keeps for later is as good as free.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return total, total - free - kept
    memory = psutil.virtual_memory()
    return memory.total, memory.total - memory.available

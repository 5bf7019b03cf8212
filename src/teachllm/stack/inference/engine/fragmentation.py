"""Where the memory for keys and values goes when texts get it in one piece, and when they get it in blocks.

A slot has room for the keys and values of one token. At any moment it is used, or lost in one of three ways
(Kwon et al. 2023, arXiv:2309.06180, section 3.1): reserved for a token that its text will write later; inside
what a text was given, but never to be written (internal fragmentation); between what texts were given, and
too small for the one that waits (external fragmentation). Or it is free, and nobody waits.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from teachllm.stack.inference.engine.blocks import BlockPool, BlockTable


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a request's prompt and of the answer that it will get, which nobody knows beforehand."""

    prompt: int
    answer: int

    @property
    def total(self) -> int:
        return self.prompt + self.answer


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Slots of each kind at one moment, and how many texts are being written and wait."""

    running: int
    waiting: int
    used: int
    reserved: int
    internal: int
    external: int
    free: int


class Allocator(Protocol):
    """Hands out pieces of a memory."""

    n_free: int

    def take(self, size: int) -> tuple[int, int] | None:
        """Where a piece of at least this size begins, and how large it is; None if there is none."""
        ...

    def give_back(self, piece: tuple[int, int]) -> None: ...


class FirstFit:
    """Pieces of any size: the first hole that is large enough. Neighbouring holes become one."""

    def __init__(self, n_slots: int) -> None:
        self.n_free = n_slots
        self._holes = [(0, n_slots)]  # (begin, size), sorted

    def take(self, size: int) -> tuple[int, int] | None:
        for i, (begin, hole) in enumerate(self._holes):
            if hole >= size:
                self._holes[i : i + 1] = [(begin + size, hole - size)] if hole > size else []
                self.n_free -= size
                return begin, size
        return None

    def give_back(self, piece: tuple[int, int]) -> None:
        insort(self._holes, piece)
        self.n_free += piece[1]
        joined = [self._holes[0]]
        for begin, size in self._holes[1:]:
            last, last_size = joined[-1]
            if last + last_size == begin:
                joined[-1] = (last, last_size + size)
            else:
                joined.append((begin, size))
        self._holes = joined


class Buddy:
    """Pieces whose sizes are powers of two, made by halving larger ones; two halves become whole again.

    Knowlton 1965, "A fast storage allocator". What the memory has beyond powers of two is split likewise.
    """

    def __init__(self, n_slots: int) -> None:
        self.n_free = n_slots
        self._free: dict[int, set[int]] = {1 << level: set() for level in range(n_slots.bit_length())}
        begin = 0
        for size in sorted(self._free, reverse=True):
            if n_slots & size:
                self._free[size].add(begin)
                begin += size

    def take(self, size: int) -> tuple[int, int] | None:
        own = power_of_two(size)
        larger = next((s for s in sorted(self._free) if s >= own and self._free[s]), None)
        if larger is None:
            return None
        begin = min(self._free[larger])
        self._free[larger].remove(begin)
        while larger > own:
            larger //= 2
            self._free[larger].add(begin + larger)
        self.n_free -= own
        return begin, own

    def give_back(self, piece: tuple[int, int]) -> None:
        begin, size = piece
        self.n_free += size
        while begin ^ size in self._free[size]:
            self._free[size].remove(begin ^ size)
            begin, size = begin & ~size, 2 * size
        self._free[size].add(begin)


def power_of_two(n: int) -> int:
    """The smallest power of two that is not below n."""
    return 1 << (n - 1).bit_length()


# region: waste
def waste_inside(given: int, written: int, total: int) -> tuple[int, int]:
    """Slots of a text that are (reserved, internal): not written yet, and never to be written.

    given: slots that it has. total: how many it will have written when it ends.
    """
    return min(given, total) - written, max(0, given - total)


# endregion: waste


@dataclass
class _Running:
    lengths: Lengths
    written: int
    piece: tuple[int, int]


def serve_in_pieces(
    requests: Sequence[Lengths],
    n_slots: int,
    make: Callable[[int], Allocator],
    size_of: Callable[[Lengths], int],
) -> list[MemoryUse]:
    """Memory in each step while all requests are served, first come first served, each in one piece.

    size_of: how large a piece a request asks for when it begins. A step writes one token of every running
    text, and the whole prompt of one that has just begun.
    """
    _check(requests, n_slots)
    waiting, running, uses = deque(requests), list[_Running](), list[MemoryUse]()
    memory = make(n_slots)
    while waiting or running:
        while waiting and (piece := memory.take(size_of(waiting[0]))) is not None:
            running.append(_Running(waiting[0], waiting.popleft().prompt, piece))
        inside = [waste_inside(text.piece[1], text.written, text.lengths.total) for text in running]
        uses.append(
            MemoryUse(
                running=len(running),
                waiting=len(waiting),
                used=sum(text.written for text in running),
                reserved=sum(reserved for reserved, _ in inside),
                internal=sum(internal for _, internal in inside),
                external=memory.n_free if waiting else 0,
                free=0 if waiting else memory.n_free,
            )
        )
        if not running:
            raise ValueError(f"a piece of {size_of(waiting[0])} slots never fits in {n_slots}")
        for text in running:
            text.written += 1
            if text.written > text.lengths.total:
                memory.give_back(text.piece)
        running = [text for text in running if text.written <= text.lengths.total]
    return uses


def serve_in_blocks(requests: Sequence[Lengths], n_slots: int, block_size: int) -> list[MemoryUse]:
    """The same with the blocks of a `BlockPool`, each taken when a text needs it.

    When none is free, the text that came last goes back to the head of the queue with what it has written; it
    begins again as soon as there is room for that.
    """
    _check(requests, n_slots - n_slots % block_size)
    pool = BlockPool(n_slots // block_size, block_size, prefix_caching=False)
    waiting = deque((lengths, lengths.prompt) for lengths in requests)
    running, uses = list[tuple[Lengths, BlockTable]](), list[MemoryUse]()
    while waiting or running:
        for _, table in running.copy():
            while table.blocks and pool.blocks_needed(table, 1) > pool.n_free:
                lengths, last = running.pop()
                waiting.appendleft((lengths, last.length))
                pool.release(last)
            if table.blocks:
                pool.extend(table, 1)
                pool.commit(table, [0])
        # A block for each running text is kept back: to begin one and drop it in the next step is waste.
        while waiting and -(-waiting[0][1] // block_size) + len(running) <= pool.n_free:
            lengths, written = waiting.popleft()
            table = pool.open([])
            pool.extend(table, written)
            pool.commit(table, [0] * written)
            running.append((lengths, table))
        inside = [
            waste_inside(len(table.blocks) * block_size, table.length, lengths.total)
            for lengths, table in running
        ]
        uses.append(
            MemoryUse(
                running=len(running),
                waiting=len(waiting),
                used=sum(table.length for _, table in running),
                reserved=sum(reserved for reserved, _ in inside),
                internal=sum(internal for _, internal in inside),
                external=0,  # any free block is good for any text
                free=n_slots - block_size * (pool.n_blocks - pool.n_free),
            )
        )
        for lengths, table in running:
            if table.length >= lengths.total:
                pool.release(table)
        running = [(lengths, table) for lengths, table in running if table.blocks]
    return uses


def _check(requests: Sequence[Lengths], n_slots: int) -> None:
    longest = max((lengths.total for lengths in requests), default=0)
    if longest > n_slots:
        raise ValueError(f"a request of {longest} tokens never fits in {n_slots} slots")

"""Number the distinct pieces of a text: a hash table over arrays, filled by a kernel.

Numbers are given in the order of first appearance. Both halves of the fast path stand on them: the encoder
replays the merges once a number, the trainer counts how often each occurs.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from teachllm.stack.tokenizer.fast.compiled import compiled, inlined

SLOTS_PER_PIECE = 2  # the table is at most half full
MIX = -7046029254386353131  # 2⁶⁴ / golden ratio, as a signed integer


class PieceTable:
    """Distinct pieces and their numbers.

    Piece k is the bytes arena[ends[k - 1] : ends[k]] (ends[-1] is 0: one more entry than pieces stands at
    the end). A slot is two int64: the key of a piece, and its length << 32 | (number + 1); 0 is an empty
    slot.
    """

    def __init__(self, n_pieces: int = 1 << 14, n_bytes: int = 1 << 17) -> None:
        self._allocate(n_pieces, n_bytes)
        self.count = 0

    def _allocate(self, n_pieces: int, n_bytes: int) -> None:
        n_slots = 1 << (SLOTS_PER_PIECE * n_pieces - 1).bit_length()
        self.slots = np.zeros(2 * n_slots, dtype=np.int64)
        self.ends = np.zeros(n_slots // SLOTS_PER_PIECE + 1, dtype=np.int64)
        self.arena = np.empty(n_bytes, dtype=np.uint8)

    @property
    def capacity(self) -> tuple[int, int]:
        """How many pieces and how many bytes of pieces fit."""
        return len(self.ends) - 1, len(self.arena)

    @property
    def n_bytes(self) -> int:
        return int(self.ends[self.count - 1]) if self.count else 0

    def has_room(self, n_pieces: int, n_bytes: int) -> bool:
        """Whether that many more pieces of that many bytes fit, all of them new."""
        pieces, size = self.capacity
        return self.count + n_pieces <= pieces and self.n_bytes + n_bytes <= size

    def clear(self) -> None:
        self.slots[:] = 0
        self.count = 0

    def grow(self, n_pieces: int, n_bytes: int) -> None:
        """Make room for that many more, at least doubling what is too small. Numbers stay as they are."""
        arena, ends, count = self.arena[: self.n_bytes], self.ends[: self.count], self.count
        pieces, size = self.capacity
        if count + n_pieces > pieces:
            pieces = max(2 * pieces, count + n_pieces)
        if len(arena) + n_bytes > size:
            size = max(2 * size, len(arena) + n_bytes)
        self._allocate(pieces, size)
        self.count = 0
        arena.setflags(write=False)  # the kernel is compiled for text that is read only
        self.number(arena, 0, ends, np.empty(count, dtype=np.int32))

    def number(self, data: np.ndarray, start: int, ends: np.ndarray, numbers: np.ndarray) -> None:
        """Write the number of each piece of data[start:], which end at `ends`, into `numbers`; new ones are
        added.

        The caller has seen to it that they fit.
        """
        self.count = number_pieces(data, start, ends, self.slots, self.arena, self.ends, self.count, numbers)

    def pieces(self) -> list[bytes]:
        starts = [0, *self.ends[: self.count].tolist()]
        arena = self.arena.tobytes()
        return [arena[start:end] for start, end in pairwise(starts)]


@compiled
def number_pieces(data, start, ends, slots, arena, arena_ends, count, numbers):
    mask = len(slots) // 2 - 1
    for k in range(len(ends)):
        end = ends[k]
        length = end - start
        key = piece_key(data, start, end)
        slot = (key ^ length) * MIX >> 32 & mask
        while True:
            entry = slots[2 * slot + 1]
            if entry == 0:
                arena_start = arena_ends[count - 1] if count > 0 else 0
                for i in range(length):
                    arena[arena_start + i] = data[start + i]
                arena_ends[count] = arena_start + length
                count += 1
                slots[2 * slot] = key
                slots[2 * slot + 1] = length << 32 | count
                numbers[k] = count - 1
                break
            if slots[2 * slot] == key and entry >> 32 == length:
                number = (entry & 0xFFFFFFFF) - 1
                if length <= 8 or same_bytes(data, start, arena, arena_ends[number] - length, length):
                    numbers[k] = number
                    break
            slot = slot + 1 & mask
        start = end
    return count


@inlined
def piece_key(data, start, end):
    """Up to 8 bytes are their own key; longer pieces have a hash, and their bytes are compared."""
    key = word = 0
    if end - start <= 8:
        for i in range(start, end):
            word = word << 8 | data[i]
        return word
    for i in range(start, end):
        word = word << 8 | data[i]
        if (i - start) & 7 == 7 or i == end - 1:
            key = (key ^ word) * MIX
            key ^= key >> 29
            word = 0
    return key


@inlined
def same_bytes(a, a_start, b, b_start, length):
    for i in range(length):  # noqa: SIM110  (a kernel)
        if a[a_start + i] != b[b_start + i]:
            return False
    return True

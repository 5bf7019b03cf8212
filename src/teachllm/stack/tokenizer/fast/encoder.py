"""Replay the merges on pieces, compiled: `bpe_encode` for many pieces at once."""

from __future__ import annotations

import numpy as np

from teachllm.stack.tokenizer.fast.compiled import compiled, inlined
from teachllm.stack.tokenizer.fast.piece_table import PieceTable
from teachllm.stack.tokenizer.fast.pieces import STYLES, piece_ends
from teachllm.stack.tokenizer.fast.unicode_classes import unicode_classes
from teachllm.stack.tokenizer.merge_table import MergeTable
from teachllm.stack.tokenizer.vocabulary import Vocabulary

SYMBOL_BITS = 21  # a pair and what it becomes share one 64-bit slot: at most two million symbols
BLOCK_PIECES = 1 << 16
MAX_PIECES, MAX_BYTES = 1 << 19, 1 << 23  # what the memory of pieces holds before it starts anew
SHORT_PIECE = 256  # bytes: beyond, a heap replaces the rescanning
NONE = 0  # no merge makes symbol 0: it is a byte
GONE = -1  # a symbol that became part of its left neighbour
PLACE_BITS = 40


def can_encode(vocabulary: Vocabulary, table: MergeTable) -> bool:
    """Whether the fast path knows this pattern and the vocabulary fits into its tables."""
    return vocabulary.pattern in STYLES and len(table.ids) < 1 << SYMBOL_BITS


class Encoder:
    """Encodes UTF-8 bytes with one vocabulary. Remembers the ids of the pieces that it met, so that each
    distinct piece is merged once. Not safe to share between threads.
    """

    def __init__(self, vocabulary: Vocabulary, table: MergeTable) -> None:
        self._style = STYLES[vocabulary.pattern]
        self._classes = unicode_classes()
        pairs = np.array(list(table.ranks), dtype=np.int64).reshape(-1, 2)
        made = np.fromiter(table.ranks.values(), dtype=np.int64, count=len(pairs))
        self._merges = np.zeros(1 << (2 * len(pairs) + 1).bit_length(), dtype=np.int64)
        self._byte_merges = np.zeros(1 << 16, dtype=np.int32)
        add_merges(pairs, made, self._merges, self._byte_merges)
        self._symbol_ids = np.array(table.ids, dtype=np.int32)
        self._has_token = self._symbol_ids[:256] >= 0
        self._scratch = np.empty((3, SHORT_PIECE), dtype=np.int64)
        self._heap = np.empty(2 * SHORT_PIECE, dtype=np.int64)
        whole = vocabulary.tokens if vocabulary.whole_pieces else {}
        self._whole_ids = np.fromiter(whole, dtype=np.int32, count=len(whole))
        self._whole_bytes = np.frombuffer(b"".join(whole.values()), dtype=np.uint8)
        self._whole_ends = np.cumsum(list(map(len, whole.values())), dtype=np.int64)
        self._block_ends = np.empty(BLOCK_PIECES, dtype=np.int64)
        self._numbers = np.empty(max(BLOCK_PIECES, len(whole)), dtype=np.int32)
        self._forget(MAX_PIECES >> 4, MAX_BYTES >> 4)

    def encode(self, data: bytes) -> np.ndarray:
        """Ids of `data`, as int32."""
        text = np.frombuffer(data, dtype=np.uint8)
        out = np.empty(len(text), dtype=np.int32)  # a token has at least one byte
        start = size = 0
        while start < len(text):
            n_pieces = piece_ends(text, start, len(text), self._style, self._classes, self._block_ends)
            ends = self._block_ends[:n_pieces]
            end = int(ends[-1])
            self._make_room(n_pieces, end - start)
            known = self._pieces.count
            self._pieces.number(text, start, ends, self._numbers)
            self._merge_pieces(known, end - start)
            size = write_ids(self._numbers[:n_pieces], self._ids, self._ids_ends, out, size)
            start = end
        return out[:size].copy()

    def _merge_pieces(self, first: int, n_bytes: int) -> None:
        """The ids of the pieces from number `first` on, none of which is longer than `n_bytes`."""
        pieces = self._pieces
        if first == pieces.count:
            return
        if self._scratch.shape[1] < n_bytes:
            self._scratch = np.empty((3, n_bytes), dtype=np.int64)
            self._heap = np.empty(2 * n_bytes, dtype=np.int64)
        encode_pieces(
            pieces.arena, pieces.ends, first, pieces.count, self._merges, self._byte_merges, self._has_token,
            self._symbol_ids, self._scratch, self._heap, self._ids, self._ids_ends,
        )  # fmt: skip

    def _make_room(self, n_pieces: int, n_bytes: int) -> None:
        if self._pieces.has_room(n_pieces, n_bytes):
            return
        pieces, size = self._pieces.capacity
        if pieces < MAX_PIECES or size < MAX_BYTES:
            self._pieces.grow(max(n_pieces, 3 * pieces), max(n_bytes, 3 * size))
            self._ids = np.concatenate(
                [self._ids, np.empty(len(self._pieces.arena) - len(self._ids), np.int32)]
            )
            self._ids_ends = np.concatenate(
                [self._ids_ends, np.empty(len(self._pieces.ends) - len(self._ids_ends), np.int64)]
            )
        else:
            self._forget(max(MAX_PIECES, n_pieces), max(MAX_BYTES, n_bytes))

    def _forget(self, n_pieces: int, n_bytes: int) -> None:
        """Start with a memory that holds only the tokens that are whole pieces, and room for the given
        number more.
        """
        n_whole = len(self._whole_ids)
        self._pieces = PieceTable(n_pieces + n_whole, n_bytes + len(self._whole_bytes))
        self._ids = np.empty(len(self._pieces.arena), dtype=np.int32)
        self._ids_ends = np.empty(len(self._pieces.ends), dtype=np.int64)
        self._pieces.number(self._whole_bytes, 0, self._whole_ends, self._numbers)
        self._ids[:n_whole] = self._whole_ids
        self._ids_ends[:n_whole] = np.arange(1, n_whole + 1)


@compiled
def add_merges(pairs, made, merges, byte_merges):
    """Fill the table of merges: a slot is left, right and the symbol made, 21 bits each; pairs of bytes
    also lie in an array of their own.
    """
    mask = len(merges) - 1
    for k in range(len(made)):
        left, right = pairs[k, 0], pairs[k, 1]
        if left < 256 and right < 256:
            byte_merges[left << 8 | right] = made[k]
        pair = left << SYMBOL_BITS | right
        slot = hash_pair(pair) & mask
        while merges[slot] != 0:
            slot = slot + 1 & mask
        merges[slot] = pair << SYMBOL_BITS | made[k]


@inlined
def hash_pair(pair):
    return (pair * -7046029254386353131) >> 30


@inlined
def merged(merges, left, right):
    """The symbol that the pair becomes, or NONE."""
    pair = left << SYMBOL_BITS | right
    mask = len(merges) - 1
    slot = hash_pair(pair) & mask
    while merges[slot] != 0:
        if merges[slot] >> SYMBOL_BITS == pair:
            return merges[slot] & (1 << SYMBOL_BITS) - 1
        slot = slot + 1 & mask
    return NONE


@compiled
def encode_pieces(
    arena, arena_ends, first, last, merges, byte_merges, has_token, symbol_ids, scratch, heap, ids, ids_ends
):
    """Ids of the pieces numbered first … last - 1, behind those of the earlier ones. Bytes without a token
    are left out before merging.
    """
    symbols = scratch[0]
    size = ids_ends[first - 1] if first > 0 else 0
    start = arena_ends[first - 1] if first > 0 else 0
    for number in range(first, last):
        n = 0
        for i in range(start, arena_ends[number]):
            if has_token[arena[i]]:
                symbols[n] = arena[i]
                n += 1
        start = arena_ends[number]
        if n <= SHORT_PIECE:
            n = merge_short(symbols, n, merges, byte_merges, scratch[1])
        else:
            n = merge_long(symbols, n, merges, scratch[1], scratch[2], heap)
        for i in range(n):
            ids[size + i] = symbol_ids[symbols[i]]
        size += n
        ids_ends[number] = size


@inlined
def merge_short(symbols, n, merges, byte_merges, made):
    """`bpe_encode`: made[i] is what symbols i and i + 1 become; the smallest merges first, the leftmost of
    equals.
    """
    for i in range(n - 1):
        made[i] = byte_merges[symbols[i] << 8 | symbols[i + 1]]
    while n > 1:
        at = -1
        earliest = 1 << SYMBOL_BITS
        for i in range(n - 1):
            if made[i] != NONE and made[i] < earliest:
                earliest = made[i]
                at = i
        if at < 0:
            break
        symbols[at] = earliest
        n -= 1
        for i in range(at + 1, n):
            symbols[i] = symbols[i + 1]
            made[i] = made[i + 1]
        if at + 1 < n:
            made[at] = merged(merges, earliest, symbols[at + 1])
        if at > 0:
            made[at - 1] = merged(merges, symbols[at - 1], earliest)
    return n


@compiled
def merge_long(symbols, n, merges, before, after, heap):
    """`bpe_encode_long`: a linked list of symbols and a heap of (symbol made, place), packed into one
    integer each.

    The heap starts with fewer than n entries, and a merge takes one and adds at most two: 2 n always suffice.
    """
    size = 0
    for i in range(n):
        before[i] = i - 1
        after[i] = i + 1
        if i + 1 < n:
            size = push(heap, size, merged(merges, symbols[i], symbols[i + 1]), i)
    while size > 0:
        made, at = heap[0] >> PLACE_BITS, heap[0] & (1 << PLACE_BITS) - 1
        size = pop(heap, size)
        right = after[at]
        if symbols[at] == GONE or right == n or merged(merges, symbols[at], symbols[right]) != made:
            continue
        symbols[at] = made
        symbols[right] = GONE
        after[at] = after[right]
        if after[at] < n:
            before[after[at]] = at
            size = push(heap, size, merged(merges, made, symbols[after[at]]), at)
        if before[at] >= 0:
            size = push(heap, size, merged(merges, symbols[before[at]], made), before[at])
    kept = 0
    for i in range(n):
        if symbols[i] != GONE:
            symbols[kept] = symbols[i]
            kept += 1
    return kept


@inlined
def push(heap, size, made, at):
    if made == NONE:
        return size
    entry = made << PLACE_BITS | at
    child = size
    while child > 0:
        parent = child - 1 >> 1
        if heap[parent] <= entry:
            break
        heap[child] = heap[parent]
        child = parent
    heap[child] = entry
    return size + 1


@inlined
def pop(heap, size):
    size -= 1
    entry = heap[size]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if entry <= heap[child]:
            break
        heap[hole] = heap[child]
        hole = child
    heap[hole] = entry
    return size


@compiled
def write_ids(numbers, ids, ids_ends, out, size):
    """Append the ids of each numbered piece to `out`; returns its new size."""
    for k in range(len(numbers)):
        number = numbers[k]
        start = ids_ends[number - 1] if number > 0 else 0
        for i in range(start, ids_ends[number]):
            out[size] = ids[i]
            size += 1
    return size

"""Learn merges, compiled: the merges of `train_bpe`, found as `iter_merges` finds them.

All pieces lie in one array of symbols. A hash table keeps for every pair its count and the list of words
that held it when it came up. A pair comes up in one step only, when the younger of its two symbols is made:
its list is written once, in one stretch, and never changes. Later a listed word may have lost the pair; it
is then passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, islice

import numpy as np

from teachllm.stack.tokenizer.bpe import Merge
from teachllm.stack.tokenizer.fast.compiled import compiled, inlined
from teachllm.stack.tokenizer.fast.piece_table import PieceTable
from teachllm.stack.tokenizer.fast.pieces import STYLES, piece_ends
from teachllm.stack.tokenizer.fast.unicode_classes import unicode_classes
from teachllm.stack.tokenizer.pretokenize import Pattern

SYMBOL_BITS = 21  # two symbols make a key of 42 bits
MAX_MERGES = (1 << SYMBOL_BITS) - 1024
BLOCK_PIECES = 1 << 16
FIRST_SLOTS = 1 << 17  # twice the pairs of bytes
STEPS = 64  # merges in one call of the kernel: between two calls a caller may stop
KEY, COUNT, LIST_START, LIST_SIZE = range(4)  # the fields of a slot; KEY holds key + 1, so that 0 is empty
START, SIZE, TIMES = range(3)  # the fields of a word
N_PAIRS, N_LISTED, HEAP_SIZE = range(3)  # the fields of the state


def count_pieces_fast(texts: Iterable[bytes], pattern: Pattern) -> tuple[PieceTable, np.ndarray]:
    """Distinct pieces of UTF-8 texts, and how often each occurs (int64): `count_pieces` as arrays."""
    table = PieceTable()
    counts = np.zeros(len(table.ends), dtype=np.int64)
    ends = np.empty(BLOCK_PIECES, dtype=np.int64)
    numbers = np.empty(BLOCK_PIECES, dtype=np.int32)
    style, classes = STYLES[pattern], unicode_classes()
    for batch in _batches(texts):
        data = np.frombuffer(b"".join(batch), dtype=np.uint8)
        start = filled = 0
        for stop in accumulate(map(len, batch)):
            text_start = start if filled == 0 else int(ends[filled - 1])
            while text_start < stop:
                filled += piece_ends(data, text_start, stop, style, classes, ends[filled:])
                text_start = int(ends[filled - 1])
                if filled == BLOCK_PIECES or text_start == len(data):
                    if not table.has_room(filled, text_start - start):
                        table.grow(filled, text_start - start)
                        counts = np.concatenate([counts, np.zeros(len(table.ends) - len(counts), np.int64)])
                    table.number(data, start, ends[:filled], numbers)
                    add_counts(numbers[:filled], counts)
                    start, filled = text_start, 0
    return table, counts[: table.count]


def _batches(texts: Iterable[bytes], size: int = 1 << 20) -> Iterator[list[bytes]]:
    """The texts in groups of about `size` bytes: a call of a kernel costs as much as a hundred bytes of
    text.
    """
    batch: list[bytes] = []
    n_bytes = 0
    for text in texts:
        batch.append(text)
        n_bytes += len(text)
        if n_bytes >= size:
            yield batch
            batch, n_bytes = [], 0
    if n_bytes:
        yield batch


def iter_merges_fast(table: PieceTable, counts: np.ndarray) -> Iterator[Merge]:
    """The merges of `iter_merges`, at most MAX_MERGES of them."""
    spelling = [bytes([byte]) for byte in range(256)]
    for left, right, count in islice(_steps(table, counts), MAX_MERGES):
        spelling.append(spelling[left] + spelling[right])
        yield Merge((left, right), len(spelling) - 1, count, spelling[-1])


def _steps(table: PieceTable, counts: np.ndarray) -> Iterator[tuple[int, int, int]]:
    ends = table.ends[: table.count]
    sizes = np.diff(ends, prepend=0)
    words = np.stack([ends - sizes, sizes, counts], axis=1)
    symbols = table.arena[: table.n_bytes].astype(np.int32)
    slots = np.zeros(4 * FIRST_SLOTS, dtype=np.int64)
    # Every merge shortens the symbols by one and lists a word at most twice; the first lists hold each
    # symbol once.
    lists = np.empty(3 * len(symbols), dtype=np.int32)
    events = np.empty(2 * len(symbols), dtype=np.int64)
    heap = np.empty(len(slots) // 4, dtype=np.int64)  # two integers a pair; half the slots stay empty
    state = np.zeros(3, dtype=np.int64)
    byte_pairs = np.zeros((1 << 16, 4), dtype=np.int64)
    count_byte_pairs(symbols, words, byte_pairs, slots, lists, heap, state)
    done = np.empty((STEPS, 3), dtype=np.int64)
    n_symbols = 256
    while True:
        n_done = merge_steps(symbols, words, slots, lists, events, heap, state, n_symbols, done)
        yield from map(tuple, done[:n_done].tolist())
        n_symbols += n_done
        if n_done < STEPS:
            if state[HEAP_SIZE] == 0:
                return
            larger = np.zeros(2 * len(slots), dtype=np.int64)
            move_slots(slots, larger)
            slots = larger
            heap = np.concatenate([heap, np.empty(len(slots) // 4 - len(heap), dtype=np.int64)])


@compiled
def add_counts(numbers, counts):
    for k in range(len(numbers)):
        counts[numbers[k]] += 1


@compiled
def count_byte_pairs(symbols, words, byte_pairs, slots, lists, heap, state):
    """The first counts, lists and heap. `byte_pairs` has a row for each two bytes, with the fields of a
    slot; KEY holds the last word seen, plus one.
    """
    for word in range(len(words)):
        start = words[word, START]
        for i in range(start, start + words[word, SIZE] - 1):
            row = byte_pairs[symbols[i] << 8 | symbols[i + 1]]
            row[COUNT] += words[word, TIMES]
            if row[KEY] != word + 1:
                row[KEY] = word + 1
                row[LIST_SIZE] += 1
    listed = 0
    for pair in range(len(byte_pairs)):
        byte_pairs[pair, KEY] = 0
        byte_pairs[pair, LIST_START] = listed
        listed += byte_pairs[pair, LIST_SIZE]
        byte_pairs[pair, LIST_SIZE] = 0
    for word in range(len(words)):
        start = words[word, START]
        for i in range(start, start + words[word, SIZE] - 1):
            row = byte_pairs[symbols[i] << 8 | symbols[i + 1]]
            if row[KEY] != word + 1:
                row[KEY] = word + 1
                lists[row[LIST_START] + row[LIST_SIZE]] = word
                row[LIST_SIZE] += 1
    for pair in range(len(byte_pairs)):
        if byte_pairs[pair, COUNT] > 0:
            key = (pair >> 8) << SYMBOL_BITS | (pair & 0xFF)
            slot = find_slot(slots, key)
            slots[slot + KEY] = key + 1
            for field in range(COUNT, LIST_SIZE + 1):
                slots[slot + field] = byte_pairs[pair, field]
            state[N_PAIRS] += 1
            state[HEAP_SIZE] = push(heap, state[HEAP_SIZE], byte_pairs[pair, COUNT], key)
    state[N_LISTED] = listed


@compiled
def merge_steps(symbols, words, slots, lists, events, heap, state, n_symbols, done):
    """Merge until `done` (rows left, right, count) is full, no pair is left, or the slots are too few."""
    steps = 0
    while steps < len(done) and state[HEAP_SIZE] > 0:
        if 2 * (state[N_PAIRS] + 2 * (n_symbols + steps) + 2) > len(slots) // 4:
            break  # a step makes at most 2 n + 1 new pairs
        count, key = heap[0], heap[1]
        slot = find_slot(slots, key)
        if slots[slot + COUNT] != count:  # out of date
            state[HEAP_SIZE] = pop(heap, state[HEAP_SIZE])
            if slots[slot + COUNT] > 0:
                state[HEAP_SIZE] = push(heap, state[HEAP_SIZE], slots[slot + COUNT], key)
            continue
        state[HEAP_SIZE] = pop(heap, state[HEAP_SIZE])
        n_events = merge_in_words(symbols, words, slots, lists, events, state, slot, n_symbols + steps)
        list_new_pairs(slots, lists, events, n_events, heap, state)
        done[steps, 0] = key >> SYMBOL_BITS
        done[steps, 1] = key & (1 << SYMBOL_BITS) - 1
        done[steps, 2] = count
        steps += 1
    return steps


@inlined
def merge_in_words(symbols, words, slots, lists, events, state, slot, new):
    """`merge_pair` in every listed word, in place, with the counts of the neighbouring pairs kept true.

    Each time a word gets a pair that it did not have, `events` gets slot << 32 | word.
    """
    left = slots[slot + KEY] - 1 >> SYMBOL_BITS
    right = slots[slot + KEY] - 1 & (1 << SYMBOL_BITS) - 1
    list_start = slots[slot + LIST_START]
    n_events = 0
    for listed in range(list_start, list_start + slots[slot + LIST_SIZE]):
        word = lists[listed]
        start, times = words[word, START], words[word, TIMES]
        end = start + words[word, SIZE]
        read = write = start
        while read < end:
            if symbols[read] == left and read + 1 < end and symbols[read + 1] == right:
                if write > start:
                    before = symbols[write - 1]
                    lose_pair(slots, before, left, times)
                    n_events = gain_pair(slots, before, new, times, word, events, n_events, state)
                if read + 2 < end:
                    after = symbols[read + 2]
                    lose_pair(slots, right, after, times)
                    n_events = gain_pair(slots, new, after, times, word, events, n_events, state)
                symbols[write] = new
                read += 2
            else:
                symbols[write] = symbols[read]
                read += 1
            write += 1
        words[word, SIZE] = write - start
    slots[slot + COUNT] = 0
    return n_events


@inlined
def lose_pair(slots, left, right, times):
    slots[find_slot(slots, np.int64(left) << SYMBOL_BITS | right) + COUNT] -= times


@inlined
def gain_pair(slots, left, right, times, word, events, n_events, state):
    """While a pair's list is not yet written, its LIST_START holds -1 - the last word that gained it."""
    key = np.int64(left) << SYMBOL_BITS | right
    slot = find_slot(slots, key)
    if slots[slot + KEY] == 0:
        slots[slot + KEY] = key + 1
        state[N_PAIRS] += 1
    slots[slot + COUNT] += times
    if slots[slot + LIST_START] != -1 - word:
        slots[slot + LIST_START] = -1 - word
        slots[slot + LIST_SIZE] += 1
        events[n_events] = slot << 32 | word
        n_events += 1
    return n_events


@inlined
def list_new_pairs(slots, lists, events, n_events, heap, state):
    """Turn the events of one step into a list for each new pair, and put the pairs on the heap."""
    listed = state[N_LISTED]
    for k in range(n_events):
        slot = events[k] >> 32
        if slots[slot + LIST_START] < 0:
            slots[slot + LIST_START] = listed
            listed += slots[slot + LIST_SIZE]
            slots[slot + LIST_SIZE] = 0
            if slots[slot + COUNT] > 0:
                state[HEAP_SIZE] = push(heap, state[HEAP_SIZE], slots[slot + COUNT], slots[slot + KEY] - 1)
        lists[slots[slot + LIST_START] + slots[slot + LIST_SIZE]] = events[k] & 0xFFFFFFFF
        slots[slot + LIST_SIZE] += 1
    state[N_LISTED] = listed


@inlined
def find_slot(slots, key):
    """Index of the first field of the slot that holds `key`, or of the empty slot where it belongs."""
    mask = len(slots) // 4 - 1
    slot = (key * -7046029254386353131 >> 32) & mask
    while slots[4 * slot] != 0 and slots[4 * slot] != key + 1:
        slot = slot + 1 & mask
    return 4 * slot


@compiled
def move_slots(slots, larger):
    for slot in range(0, len(slots), 4):
        if slots[slot] != 0:
            target = find_slot(larger, slots[slot] - 1)
            for field in range(4):
                larger[target + field] = slots[slot + field]


@inlined
def comes_first(heap, entry, count, key):
    """Whether a heap entry is merged before (count, key): higher count, then smaller pair."""
    return heap[2 * entry] > count or (heap[2 * entry] == count and heap[2 * entry + 1] <= key)


@inlined
def push(heap, size, count, key):
    child = size
    while child > 0:
        parent = child - 1 >> 1
        if comes_first(heap, parent, count, key):
            break
        heap[2 * child] = heap[2 * parent]
        heap[2 * child + 1] = heap[2 * parent + 1]
        child = parent
    heap[2 * child] = count
    heap[2 * child + 1] = key
    return size + 1


@inlined
def pop(heap, size):
    size -= 1
    count, key = heap[2 * size], heap[2 * size + 1]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and comes_first(heap, child + 1, heap[2 * child], heap[2 * child + 1]):
            child += 1
        if not comes_first(heap, child, count, key):
            break
        heap[2 * hole] = heap[2 * child]
        heap[2 * hole + 1] = heap[2 * child + 1]
        hole = child
    heap[2 * hole] = count
    heap[2 * hole + 1] = key
    return size

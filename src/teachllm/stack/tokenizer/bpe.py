"""Byte-pair encoding, the readable version: how merges are learned, and how they are replayed.

Ids 0…255 are the bytes; the k-th merge makes id 256 + k. Everything here works on ids, and `count_pairs` and
`merge_pair` on any other symbols just as well (letters, for a small example).

Sennrich et al. 2015, arXiv:1508.07909 (BPE on characters); Radford et al. 2019 (GPT-2, BPE on bytes).
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

Pair = tuple[int, int]
Symbol = TypeVar("Symbol")


def count_pairs(words: Mapping[tuple[Symbol, ...], int]) -> Counter[tuple[Symbol, Symbol]]:
    """How often two symbols stand next to each other, over all words; `words` maps a word to its count.

    Overlapping places all count: "aaa" holds the pair (a, a) twice.

    >>> count_pairs({("h", "u", "g"): 10, ("p", "u", "g"): 5})[("u", "g")]
    15
    """
    pairs = Counter()
    for word, count in words.items():
        for left, right in pairwise(word):
            pairs[left, right] += count
    return pairs


def merge_pair(ids: Sequence[Symbol], pair: tuple[Symbol, Symbol], new_id: Symbol) -> list[Symbol]:
    """`ids` with `pair` replaced by `new_id`, left to right; a symbol is never used twice.

    >>> merge_pair([97, 97, 97], (97, 97), 256)
    [256, 97]
    """
    merged = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def train_bpe(word_counts: Mapping[bytes, int], num_merges: int) -> list[Pair]:
    """Learn merges: count adjacent pairs, merge the most frequent, repeat.

    word_counts: the pieces of the text and how often each occurs; no pair
    spans two pieces. Ids 0…255 are the bytes, and merge k (from 0) makes
    the id 256 + k, which later merges can use. Returns the merged pairs of
    ids in the order of learning: `num_merges` of them, or fewer when no
    pair is left.

    Counting: every place counts, also overlapping ones, so "aaa" holds
    (97, 97) twice, times the count of the piece. Choosing: the highest
    count, among equals the smallest pair. Merging: from left to right, no
    id used twice, so "aaa" becomes [256, 97].

    >>> train_bpe({b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5}, 3)   # ug, un, hug
    [(117, 103), (117, 110), (104, 256)]
    """
    words = [(list(word), count) for word, count in word_counts.items()]
    merges = []
    for new_id in range(256, 256 + num_merges):
        pairs = Counter()
        for ids, count in words:
            for pair in pairwise(ids):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for index, (ids, count) in enumerate(words):
            merged = []
            i = 0
            while i < len(ids):
                if tuple(ids[i : i + 2]) == best:
                    merged.append(new_id)
                    i += 2
                else:
                    merged.append(ids[i])
                    i += 1
            words[index] = (merged, count)
    return merges


def bpe_encode(piece: bytes, ranks: Mapping[Pair, int]) -> list[int]:
    """Replay the merges on one piece: the earliest-learned pair that is present merges first.

    `ranks` maps a pair to the id that it merges into. Ids are given in the order of learning, so the
    smallest id is the earliest merge; of equal pairs the leftmost goes first.

    >>> bpe_encode(b"hugs", {(117, 103): 256, (117, 110): 257, (104, 256): 258})   # hug, s
    [258, 115]
    """
    ids = list(piece)
    while len(ids) > 1:
        new_ids = [ranks.get(pair, math.inf) for pair in pairwise(ids)]
        earliest = min(new_ids)
        if earliest == math.inf:
            break
        at = new_ids.index(earliest)
        ids[at : at + 2] = [int(earliest)]
    return ids


@dataclass(frozen=True, slots=True)
class Merge:
    """One step of training: `pair` stood `count` times in the corpus and became `new_id`, spelt `token`."""

    pair: Pair
    new_id: int
    count: int
    token: bytes


def iter_merges(word_counts: Mapping[bytes, int]) -> Iterator[Merge]:
    """The merges of `train_bpe`, one by one as they are learned, until no pair is left.

    `train_bpe` recounts every pair for every merge; it is the definition, and shares no code with this.
    A merge changes only the words that hold its pair, so only their pairs are counted again; a heap keeps the
    most frequent pair on top. An entry of the heap may be out of date: it is then put back with its present
    count.
    """
    words = [list(word) for word in word_counts]
    counts = list(word_counts.values())
    spelling = {byte: bytes([byte]) for byte in range(256)}
    pairs: Counter[Pair] = Counter()
    words_with: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += counts[index]
            words_with[pair].add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)

    while heap:
        negative_count, pair = heapq.heappop(heap)
        count = pairs[pair]
        if count != -negative_count:
            if count > 0:
                heapq.heappush(heap, (-count, pair))
            continue
        new_id = len(spelling)
        spelling[new_id] = spelling[pair[0]] + spelling[pair[1]]
        created = set()
        for index in words_with.pop(pair):
            word = words[index]
            merged = merge_pair(word, pair, new_id)
            for old in pairwise(word):
                pairs[old] -= counts[index]
            for new in pairwise(merged):
                pairs[new] += counts[index]
                if new_id in new:
                    created.add(new)
                    words_with[new].add(index)
            words[index] = merged
        del pairs[pair]
        for new in created:
            heapq.heappush(heap, (-pairs[new], new))
        yield Merge(pair, new_id, count, spelling[new_id])


def bpe_encode_long(piece: bytes, ranks: Mapping[Pair, int]) -> list[int]:
    """`bpe_encode` for pieces of any length: O(n log n) where the short version is quadratic.

    Symbols form a linked list (`before`, `after`); a heap holds the pairs that can merge, earliest rank
    first, then leftmost. A heap entry whose two symbols have changed since is skipped.
    """
    ids = list(piece)
    n = len(ids)
    before = list(range(-1, n - 1))
    after = list(range(1, n + 1))
    heap = [(ranks[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapq.heapify(heap)
    gone = -1
    while heap:
        new_id, at = heapq.heappop(heap)
        right = after[at]
        if ids[at] == gone or right == n or ranks.get((ids[at], ids[right])) != new_id:
            continue
        ids[at], ids[right] = new_id, gone
        after[at] = after[right]
        if after[at] < n:
            before[after[at]] = at
            if (rank := ranks.get((new_id, ids[after[at]]))) is not None:
                heapq.heappush(heap, (rank, at))
        if before[at] >= 0 and (rank := ranks.get((ids[before[at]], new_id))) is not None:
            heapq.heappush(heap, (rank, before[at]))
    return [symbol for symbol in ids if symbol != gone]

"""How a Unigram vocabulary is learned: start too large, then prune what costs least. Kudo 2018,
arXiv:1804.10959.

Differences from SentencePiece: seeds are counted substrings rather than found by a suffix array; the M-step
is the plain maximum-likelihood one, without its digamma smoothing; and the cost of a removal leaves out the
small change of the normaliser.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from heapq import nlargest

from teachllm.stack.tokenizer.unigram import unigram_nbest, unigram_viterbi


def train_unigram(
    word_counts: Mapping[str, int],
    vocab_size: int,
    *,
    seed_size: int | None = None,
    shrink: float = 0.75,
    em_steps: int = 2,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, float]:
    """Learn log-probabilities (natural logarithm) of `vocab_size` pieces, most likely first.

    Seed with `seed_size` frequent substrings (10 × vocab_size when None); then, until small enough: a few
    EM steps, and keep the `shrink` share of pieces that would cost most to lose. Single characters are
    never pruned, so every training text stays writable. `progress` gets the vocabulary's size and the loss
    (nats) after each EM step.
    """
    characters = {char for word in word_counts for char in word}
    if vocab_size < len(characters):
        raise ValueError(
            f"vocab_size is {vocab_size}, but the text has {len(characters)} different characters"
        )
    if not 0 < shrink < 1:
        raise ValueError(f"shrink is {shrink}: the share of pieces to keep lies between 0 and 1")
    logprobs = seed_vocabulary(word_counts, seed_size or 10 * vocab_size)
    while True:
        for _ in range(em_steps):
            counts, loss = expected_counts(word_counts, logprobs)
            logprobs = maximum_likelihood(counts, characters)
            if progress is not None:
                progress(len(logprobs), loss)
        if len(logprobs) <= vocab_size:
            return dict(sorted(logprobs.items(), key=lambda item: (-item[1], item[0])))
        costs = removal_costs(word_counts, logprobs)
        n_kept = max(vocab_size, int(shrink * len(logprobs))) - len(characters)
        kept = nlargest(n_kept, costs, key=lambda piece: (costs[piece], piece))
        logprobs = {piece: logprobs[piece] for piece in [*sorted(characters), *kept]}


def seed_vocabulary(word_counts: Mapping[str, int], size: int, max_length: int = 16) -> dict[str, float]:
    """All characters, then the substrings with the highest count × length that occur at least twice.

    >>> sorted(seed_vocabulary({"hug": 10, "pug": 5}, 5))
    ['g', 'h', 'p', 'u', 'ug']
    """
    counts = Counter[str]()
    for word, count in word_counts.items():
        for start in range(len(word)):
            for end in range(start + 1, min(start + max_length, len(word)) + 1):
                counts[word[start:end]] += count
    characters = {piece for piece in counts if len(piece) == 1}
    longer = [piece for piece, count in counts.items() if len(piece) > 1 and count > 1]
    n_longer = max(0, size - len(characters))
    best = nlargest(n_longer, longer, key=lambda piece: (counts[piece] * len(piece), piece))
    return maximum_likelihood({piece: counts[piece] for piece in [*sorted(characters), *best]}, characters)


def expected_counts(
    word_counts: Mapping[str, int], logprobs: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """E-step: how often each piece is expected over all segmentations, and the loss −Σ count · log P(word).

    P(word) sums over every segmentation. forward[i] is log P(word[:i]) and backward[i] is log P(word[i:]),
    so a piece from start to end has the posterior exp(forward[start] + log P(piece) + backward[end] − log
    P(word)).
    """
    longest = max(map(len, logprobs))
    expected = dict.fromkeys(logprobs, 0.0)
    loss = 0.0
    for word, count in word_counts.items():
        n = len(word)
        arcs = [
            (start, end, piece, logprobs[piece])
            for end in range(1, n + 1)
            for start in range(max(0, end - longest), end)
            if (piece := word[start:end]) in logprobs
        ]
        forward = [0.0] + [-math.inf] * n
        for start, end, _, logprob in arcs:
            forward[end] = log_add(forward[end], forward[start] + logprob)
        backward = [-math.inf] * n + [0.0]
        for start, end, _, logprob in sorted(arcs, reverse=True):
            backward[start] = log_add(backward[start], logprob + backward[end])
        loss -= count * forward[n]
        for start, end, piece, logprob in arcs:
            expected[piece] += count * math.exp(forward[start] + logprob + backward[end] - forward[n])
    return expected, loss


def maximum_likelihood(counts: Mapping[str, float], characters: set[str]) -> dict[str, float]:
    """M-step: log-probabilities in proportion to the counts. Pieces expected less than half a time are
    dropped; characters are kept, with at least that half.
    """
    kept = {piece: max(count, 0.5) for piece, count in counts.items() if count >= 0.5 or piece in characters}
    log_total = math.log(sum(kept.values()))
    return {piece: math.log(count) - log_total for piece, count in kept.items()}


def removal_costs(word_counts: Mapping[str, int], logprobs: Mapping[str, float]) -> dict[str, float]:
    """For each piece longer than a character: how many nats the corpus would cost more without it.

    Without the piece, each of its uses is cut in the next-best way: uses × (log P(piece) − log P(next best
    cut)).
    """
    uses = Counter[str]()
    for word, count in word_counts.items():
        for piece in unigram_viterbi(word, logprobs):
            uses[piece] += count
    costs = {}
    for piece, logprob in logprobs.items():
        if len(piece) > 1:
            without = next(score for score, cut in unigram_nbest(piece, logprobs, 2) if cut != [piece])
            costs[piece] = uses[piece] * (logprob - without)
    return costs


def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b)) without overflow."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))

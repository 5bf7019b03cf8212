"""Unigram: a vocabulary in which every piece has a probability, and text is cut in the likeliest way.

P(pieces) = Π P(piece). Kudo 2018, "Subword Regularization", arXiv:1804.10959. Training is in
`unigram_training`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from heapq import nlargest

from teachllm.stack.tokenizer.sentencepiece_text import byte_pieces

UNKNOWN_PENALTY = 10.0  # nats below the least likely piece, as in SentencePiece


def unigram_viterbi(text: str, logprobs: Mapping[str, float]) -> list[str]:
    """The segmentation of `text` with the highest sum of log-probabilities (natural logarithm).

    best[end] is the best score of text[:end]; it is reached by one last piece text[start:end]. A character
    without a piece of its own stands alone, at a low score. Among equals the longer last piece wins.

    >>> unigram_viterbi("hugs", {"h": -3, "u": -3, "g": -3, "s": -2, "hug": -4, "ug": -2, "gs": -3.5})
    ['hug', 's']
    """
    longest = max(map(len, logprobs), default=1)
    unknown = min(logprobs.values(), default=0.0) - UNKNOWN_PENALTY
    best = [0.0] + [-math.inf] * len(text)
    last_start = [0] * (len(text) + 1)
    for end in range(1, len(text) + 1):
        for start in range(max(0, end - longest), end):
            score = logprobs.get(text[start:end])
            if score is None:
                if end - start > 1:
                    continue
                score = unknown
            if best[start] + score > best[end]:
                best[end] = best[start] + score
                last_start[end] = start
    pieces = []
    end = len(text)
    while end > 0:
        pieces.append(text[last_start[end] : end])
        end = last_start[end]
    return pieces[::-1]


def unigram_nbest(text: str, logprobs: Mapping[str, float], n: int) -> list[tuple[float, list[str]]]:
    """The `n` best segmentations with their log-probabilities, best first: Viterbi that keeps n instead of
    one.

    Fewer when there are fewer; a character without a piece stands alone at a low score.

    >>> unigram_nbest("ab", {"a": -1.0, "b": -1.0, "ab": -1.5}, 2)
    [(-1.5, ['ab']), (-2.0, ['a', 'b'])]
    """
    longest = max(map(len, logprobs), default=1)
    unknown = min(logprobs.values(), default=0.0) - UNKNOWN_PENALTY
    best: list[list[tuple[float, list[str]]]] = [[(0.0, [])]]
    for end in range(1, len(text) + 1):
        candidates = []
        for start in range(max(0, end - longest), end):
            piece = text[start:end]
            if piece in logprobs or len(piece) == 1:
                score = logprobs.get(piece, unknown)
                candidates += [(before + score, [*pieces, piece]) for before, pieces in best[start]]
        best.append(nlargest(n, candidates, key=lambda candidate: candidate[0]))
    return best[len(text)]


def unigram_encode(
    text: str, logprobs: Mapping[str, float], *, unk: str = "<unk>", byte_fallback: bool = False
) -> list[str]:
    """Pieces of `text`, all of them in the vocabulary, or `unk` for a stretch of unknown characters.

    With `byte_fallback` an unknown character becomes its UTF-8 bytes instead ("<0xE4>", …), if the
    vocabulary has pieces for all of them. Llama-2 and T5 use such vocabularies.

    >>> unigram_encode("a你b", {"a": -1, "b": -1})
    ['a', '<unk>', 'b']
    """
    pieces: list[str] = []
    unknown = ""
    for piece in [*unigram_viterbi(text, logprobs), ""]:
        if piece and piece not in logprobs:
            unknown += piece
            continue
        if unknown:
            spelt = byte_pieces(unknown)
            pieces += spelt if byte_fallback and all(byte in logprobs for byte in spelt) else [unk]
            unknown = ""
        pieces.append(piece)
    return pieces[:-1]

"""Long documents are searched by their pieces: an encoder reads only so much of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import regex
from jaxtyping import Int64

from teachllm.stack.retrieval.hits import NO_DOCUMENT, Hits, empty_hits

_WORD = regex.compile(r"\p{Han}|[^\s\p{Han}]+")
_SENTENCE_END = regex.compile(r"\n+|(?<=[.!?:;])\s+|(?<=[。！？；：])")


def cut_into_pieces(text: str, n_words: int) -> list[str]:
    """Pieces of at most `n_words` words, one after another, each as it stands in the text.

    A word is what stands between spaces; as Chinese has none, each of its characters counts as one.
    ValueError for n_words below 1.
    """
    if n_words < 1:
        raise ValueError(f"a piece has at least one word; {n_words} were asked for")
    words = [word.span() for word in _WORD.finditer(text)]
    groups = (words[i : i + n_words] for i in range(0, len(words), n_words))
    return [text[group[0][0] : group[-1][1]] for group in groups] or [""]


def cut_between_sentences(text: str, n_words: int) -> list[str]:
    """Pieces of whole sentences, each of at most `n_words` words unless one sentence has more.

    A piece begins with the last sentence of the one before it if that is short (at most half): what
    stands across a border is then whole in one of the two. Words are counted as in `cut_into_pieces`.
    """
    if n_words < 1:
        raise ValueError(f"a piece has at least one word; {n_words} were asked for")
    pieces: list[str] = []
    piece: list[tuple[str, int]] = []
    for sentence in filter(str.strip, _SENTENCE_END.split(text)):
        n = len(_WORD.findall(sentence))
        if piece and sum(length for _, length in piece) + n > n_words:
            pieces.append(" ".join(one for one, _ in piece))
            piece = piece[-1:] if piece[-1][1] + n <= n_words and piece[-1][1] <= n_words // 2 else []
        piece.append((sentence.strip(), n))
    return [*pieces, " ".join(one for one, _ in piece)]


def best_piece(hits: Hits, owners: Sequence[int] | Int64[np.ndarray, " pieces"], k: int) -> Hits:
    """Documents instead of pieces: each by the best of its pieces that were found (MaxP, Dai and Callan
    2019).

    owners: the document of piece 0, 1, …, which are the ids in `hits`. A query has fewer than k documents if
    its pieces belong to fewer: ask for more pieces than documents.
    """
    documents = empty_hits(len(hits), k)
    for query in range(len(hits)):
        best: dict[int, float] = {}
        for piece, score in zip(hits.ids[query].tolist(), hits.scores[query].tolist(), strict=True):
            if piece != NO_DOCUMENT:
                best.setdefault(int(owners[piece]), score)  # hits come best first
        ordered = sorted(best.items(), key=lambda found: (-found[1], found[0]))[:k]
        for rank, (document, score) in enumerate(ordered):
            documents.ids[query, rank], documents.scores[query, rank] = document, score
    return documents

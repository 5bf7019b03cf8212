"""A vocabulary's merges renumbered for `bpe_encode`: by order of learning, whatever the ids are."""

from __future__ import annotations

from dataclasses import dataclass

from teachllm.stack.tokenizer.bpe import Pair
from teachllm.stack.tokenizer.vocabulary import Vocabulary

NO_TOKEN = -1


@dataclass(frozen=True, slots=True)
class MergeTable:
    """ranks: pair of symbols → symbol, as `bpe_encode` takes it; ids: symbol → token id, or NO_TOKEN for a
    byte that the vocabulary lacks. Symbols 0…255 are bytes, later ones follow the order of the merges.
    """

    ranks: dict[Pair, int]
    ids: list[int]


def merge_table(vocabulary: Vocabulary) -> MergeTable:
    """Number the symbols of `vocabulary`.

    A file may list several pairs for one token (every way to cut it, as Llama-3 does). They share its
    number, which is the same as ranking them in order when they stand together; ValueError when they do
    not.
    """
    tokens = vocabulary.tokens
    ids = {bytes([byte]): NO_TOKEN for byte in range(256)}
    ids |= {token: token_id for token_id, token in tokens.items() if len(token) == 1}
    symbols = {bytes([byte]): byte for byte in range(256)}
    id_of = {token: token_id for token_id, token in tokens.items()}
    previous = b""
    for rank, (left, right) in enumerate(vocabulary.merges):
        joined = tokens[left] + tokens[right]
        if joined not in symbols:
            symbols[joined] = len(symbols)
            ids[joined] = id_of[joined]
        elif joined != previous:
            raise ValueError(
                f"merge {rank} makes {joined!r} a second time, away from the first: "
                "vocabularies that rank several ways to make one token apart are not supported"
            )
        previous = joined
    ranks = {
        (symbols[tokens[left]], symbols[tokens[right]]): symbols[tokens[left] + tokens[right]]
        for left, right in vocabulary.merges
        if tokens[left] in symbols and tokens[right] in symbols  # a part that nothing makes never appears
    }
    return MergeTable(ranks, list(ids.values()))

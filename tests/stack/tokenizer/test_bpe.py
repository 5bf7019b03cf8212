"""The readable algorithms, against worked examples and against each other."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachllm.stack.tokenizer import (
    bpe_encode,
    byte_alphabet,
    bytes_to_printable,
    count_pairs,
    iter_merges,
    merge_pair,
    printable_to_bytes,
    train_bpe,
)
from teachllm.stack.tokenizer.bpe import bpe_encode_long

HUG = {b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5}
word_counts = st.dictionaries(
    st.text("abc", min_size=1, max_size=9).map(str.encode), st.integers(1, 9), max_size=12
)


def test_the_hug_example_merges_ug_un_hug() -> None:
    merges = list(islice(iter_merges(HUG), 3))
    assert [(merge.token, merge.count, merge.new_id) for merge in merges] == [
        (b"ug", 20, 256),
        (b"un", 16, 257),
        (b"hug", 15, 258),
    ]
    assert train_bpe(HUG, 3) == [merge.pair for merge in merges]


def test_pairs_overlap_when_counted_and_not_when_merged() -> None:
    assert count_pairs({("a", "a", "a"): 2}) == {("a", "a"): 4}
    assert merge_pair([1, 1, 1, 1, 1], (1, 1), 9) == [9, 9, 1]
    assert merge_pair([], (1, 1), 9) == []
    assert merge_pair([1, 2, 1, 2, 3], (1, 2), 9) == [9, 9, 3]


def test_equal_counts_go_to_the_smallest_pair() -> None:
    assert train_bpe({b"\x05\x01": 3, b"\x02\x09": 3, b"\x02\x03": 3, b"\x01\x01": 2}, 1) == [(2, 3)]
    assert train_bpe({b"zy": 1, b"ab": 1}, 9) == [(97, 98), (122, 121)]


def test_training_stops_when_no_pair_is_left() -> None:
    assert train_bpe({b"ab": 1}, 50) == [(97, 98)]
    assert train_bpe({}, 5) == []
    assert train_bpe({b"a": 7}, 5) == []
    assert train_bpe(HUG, 0) == []


@given(word_counts)
@settings(max_examples=150, deadline=None)
def test_the_generator_learns_the_merges_of_the_definition(words: dict[bytes, int]) -> None:
    steps = list(islice(iter_merges(words), 30))
    assert [step.pair for step in steps] == train_bpe(words, 30)
    counted = {tuple(word): count for word, count in words.items()}
    for step in steps:
        assert count_pairs(counted)[step.pair] == step.count
        counted = {tuple(merge_pair(word, step.pair, step.new_id)): n for word, n in counted.items()}


@given(word_counts, st.text("abc", max_size=40))
@settings(max_examples=150, deadline=None)
def test_encoding_a_training_word_gives_what_training_made_of_it(words: dict[bytes, int], text: str) -> None:
    merges = train_bpe(words, 20)
    ranks = {pair: 256 + rank for rank, pair in enumerate(merges)}
    for word in words:
        replayed = list(word)
        for rank, pair in enumerate(merges):
            replayed = merge_pair(replayed, pair, 256 + rank)
        assert bpe_encode(word, ranks) == replayed
    assert bpe_encode_long(text.encode(), ranks) == bpe_encode(text.encode(), ranks)


def test_a_long_piece_takes_time_in_proportion() -> None:
    """200,000 letters: the quadratic way would need 10¹⁰ steps."""
    ranks = {(97, 97): 256, (256, 256): 257, (257, 257): 258}
    assert Counter(bpe_encode_long(b"a" * 200_003, ranks)) == {258: 25_000, 256: 1, 97: 1}


def test_the_printable_alphabet_is_reversible() -> None:
    alphabet = byte_alphabet()
    assert len(set(alphabet.values())) == 256
    assert all(char.isprintable() and not char.isspace() for char in alphabet.values())
    every_byte = bytes(range(256))
    assert printable_to_bytes(bytes_to_printable(every_byte)) == every_byte
    assert bytes_to_printable(b" the\n") == "ĠtheĊ"
    with pytest.raises(ValueError, match="not in the byte-level alphabet"):
        printable_to_bytes("▁the")

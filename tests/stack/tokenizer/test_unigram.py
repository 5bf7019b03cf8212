"""Unigram: Viterbi against brute force, EM against enumeration, pruning, and SentencePiece's treatment of
text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachllm.stack.tokenizer import (
    byte_pieces,
    count_space_words,
    sentencepiece_normalize,
    sentencepiece_restore,
    train_unigram,
    unigram_encode,
    unigram_nbest,
    unigram_viterbi,
)
from teachllm.stack.tokenizer.unigram_training import (
    expected_counts,
    maximum_likelihood,
    removal_costs,
    seed_vocabulary,
)

pieces_of_abc = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.floats(-9, -0.1), max_size=12)
WORDS = {"▁hug": 10, "▁pug": 5, "▁pun": 12, "▁bun": 4, "▁hugs": 5}


def every_cut(text: str) -> Iterator[list[str]]:
    if not text:
        yield []
    for end in range(1, len(text) + 1):
        for rest in every_cut(text[end:]):
            yield [text[:end], *rest]


def with_characters(logprobs: dict[str, float]) -> dict[str, float]:
    return {"a": -5.0, "b": -6.0, "c": -7.0} | logprobs


@given(st.text("abc", max_size=9), pieces_of_abc)
@settings(max_examples=200, deadline=None)
def test_viterbi_and_nbest_find_what_brute_force_finds(text: str, logprobs: dict[str, float]) -> None:
    logprobs = with_characters(logprobs)
    scores = sorted(
        (sum(logprobs[piece] for piece in cut) for cut in every_cut(text) if all(p in logprobs for p in cut)),
        reverse=True,
    )
    best = unigram_viterbi(text, logprobs)
    assert "".join(best) == text
    assert math.isclose(sum(logprobs[piece] for piece in best), scores[0], abs_tol=1e-9)
    several = unigram_nbest(text, logprobs, 5)
    assert len({tuple(cut) for _, cut in several}) == len(several) == min(5, len(scores))
    assert [score for score, _ in several] == pytest.approx(scores[:5], abs=1e-9)
    for score, cut in several:
        assert "".join(cut) == text
        assert score == pytest.approx(sum(logprobs[piece] for piece in cut), abs=1e-9)


def test_equal_scores_go_to_the_longer_last_piece() -> None:
    assert unigram_viterbi("abc", {"a": -1.0, "bc": -1.0, "ab": -1.0, "c": -1.0}) == ["a", "bc"]
    assert unigram_viterbi("ab", {"a": -1.0, "b": -1.0, "ab": -2.0}) == ["ab"]


def test_unknown_characters_stand_alone_and_cost_more_than_any_piece() -> None:
    assert unigram_viterbi("a猫b", {"a": -1.0, "b": -9.0}) == ["a", "猫", "b"]
    unlikely = {"ab": -1.0, "a": -5.0, "bc": -5.0}  # ab + unknown c is -1 - (5 + 10), a + bc is -10
    assert unigram_viterbi("abc", unlikely) == ["a", "bc"]
    assert [cut for _, cut in unigram_nbest("abc", unlikely, 2)] == [["a", "bc"], ["ab", "c"]]
    assert unigram_viterbi("", {"a": -1.0}) == []
    assert unigram_viterbi("xy", {}) == ["x", "y"]


def test_encoding_joins_unknown_characters_or_spells_their_bytes() -> None:
    logprobs = {"a": -1.0, "b": -1.0}
    assert unigram_encode("a猫狗b猫", logprobs) == ["a", "<unk>", "b", "<unk>"]
    with_bytes = logprobs | {f"<0x{byte:02X}>": -20.0 for byte in range(256)}
    assert unigram_encode("a猫b", with_bytes, byte_fallback=True) == ["a", *byte_pieces("猫"), "b"]
    assert unigram_encode("a猫b", with_bytes) == ["a", "<unk>", "b"]
    assert unigram_encode("a猫b", logprobs, byte_fallback=True) == ["a", "<unk>", "b"]
    assert unigram_encode("", logprobs) == []


@given(st.text("abc", min_size=1, max_size=7), pieces_of_abc)
@settings(max_examples=100, deadline=None)
def test_expected_counts_are_those_of_enumeration(word: str, logprobs: dict[str, float]) -> None:
    logprobs = with_characters(logprobs)
    cuts = [cut for cut in every_cut(word) if all(piece in logprobs for piece in cut)]
    weights = [math.exp(sum(logprobs[piece] for piece in cut)) for cut in cuts]
    counts, loss = expected_counts({word: 3}, logprobs)
    assert loss == pytest.approx(-3 * math.log(sum(weights)))
    for piece in logprobs:
        enumerated = sum(w * cut.count(piece) for w, cut in zip(weights, cuts, strict=True)) / sum(weights)
        assert counts[piece] == pytest.approx(3 * enumerated, abs=1e-9)


def test_em_never_raises_the_loss() -> None:
    logprobs = seed_vocabulary(WORDS, 30)
    losses = []
    for _ in range(8):
        counts, loss = expected_counts(WORDS, logprobs)
        losses.append(loss)
        total = math.log(sum(counts.values()))
        logprobs = {piece: math.log(count) - total for piece, count in counts.items() if count > 1e-300}
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(losses))
    assert losses[-1] < losses[0]


def test_a_removal_costs_what_the_corpus_loses() -> None:
    logprobs = maximum_likelihood({"a": 4.0, "b": 3.0, "ab": 6.0, "ba": 0.6}, {"a", "b"})
    costs = removal_costs({"ab": 5, "aab": 1}, logprobs)
    assert set(costs) == {"ab", "ba"}
    assert costs["ab"] == pytest.approx(6 * (logprobs["ab"] - logprobs["a"] - logprobs["b"]))
    assert costs["ba"] == 0


def test_rare_pieces_are_dropped_and_characters_are_not() -> None:
    logprobs = maximum_likelihood({"a": 0.0, "b": 9.5, "ab": 0.4}, {"a", "b"})
    assert set(logprobs) == {"a", "b"}
    assert sum(map(math.exp, logprobs.values())) == pytest.approx(1)


def test_seeds_are_the_characters_and_the_substrings_that_cover_most() -> None:
    seeds = seed_vocabulary({"abab": 3, "xyz": 1}, 7)
    assert set(seeds) == {"a", "b", "x", "y", "z", "ab", "abab"}  # 6 × 2 = 3 × 4; aba, bab: 9; xyz only once


@pytest.mark.parametrize("size", [9, 12, 20])
def test_training_shrinks_to_the_size_and_keeps_every_character(size: int) -> None:
    seen: list[int] = []
    logprobs = train_unigram(WORDS, size, progress=lambda n_pieces, loss: seen.append(n_pieces))
    assert len(logprobs) <= size
    assert {char for word in WORDS for char in word} <= set(logprobs)
    assert sum(map(math.exp, logprobs.values())) == pytest.approx(1)
    assert list(logprobs.values()) == sorted(logprobs.values(), reverse=True)
    assert seen[0] >= seen[-1] == len(logprobs)
    assert logprobs == train_unigram(WORDS, size)


def test_frequent_words_become_pieces() -> None:
    assert "▁pun" in train_unigram(WORDS, 14)


def test_wrong_arguments_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="vocab_size is 3, but the text has 8 different characters"):
        train_unigram(WORDS, 3)
    with pytest.raises(ValueError, match="shrink is 1"):
        train_unigram(WORDS, 12, shrink=1.0)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_pieces_and_byte_pieces_read_back(text: str) -> None:
    normal = sentencepiece_normalize(text)
    assert sentencepiece_restore(normal) == normal.replace("▁", " ").removeprefix(" ")
    assert sentencepiece_restore(byte_pieces(text)) == text.replace("▁", " ").removeprefix(" ")


def test_sentencepiece_text() -> None:
    assert sentencepiece_normalize("") == sentencepiece_normalize(" \n ") == ""
    assert sentencepiece_normalize("①ﬁ\u3000ＡＢ\tc") == "▁1fi▁AB▁c"
    assert sentencepiece_restore(["▁a", "<0xE4>", "▁b"]) == "a� b"
    assert count_space_words(["b b\na", "a"]) == {"▁b": 2, "▁a": 2}

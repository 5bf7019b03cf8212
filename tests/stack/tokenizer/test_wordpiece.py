"""WordPiece: the score, training and greedy encoding."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from teachllm.stack.tokenizer import bert_words, pair_scores, train_wordpiece, wordpiece_encode

HUG = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}


def test_the_score_divides_by_the_counts_of_the_parts() -> None:
    words = {("h", "##u", "##g"): 10, ("p", "##u", "##n"): 12, ("h", "##u", "##g", "##s"): 5}
    scores = pair_scores(words)
    assert scores["##g", "##s"] == 5 / (15 * 5)
    assert scores["h", "##u"] == 15 / (15 * 27)
    assert scores["##u", "##n"] == 12 / (27 * 12)


def test_training_prefers_rare_parts_that_stay_together() -> None:
    """##g ##s is the rarest pair and has the best score, though BPE would merge the frequent u g first."""
    assert train_wordpiece(HUG, 9)[-1] == "##gs"
    assert train_wordpiece(HUG, 8) == ["[UNK]", "##g", "##n", "##s", "##u", "b", "h", "p"]


def test_training_ends_with_whole_words() -> None:
    vocabulary = train_wordpiece(HUG, 1_000)
    assert len(vocabulary) == len(set(vocabulary)) < 30
    assert all(wordpiece_encode(word, vocabulary) == [word] for word in HUG)
    assert train_wordpiece({}, 10) == ["[UNK]"]


def test_encoding_takes_the_longest_piece_from_the_left() -> None:
    vocabulary = {"un", "una", "##aff", "##ffable", "##able", "##f", "unaff"}
    assert wordpiece_encode("unaffable", vocabulary) == ["unaff", "##able"]
    assert wordpiece_encode("unaff", vocabulary - {"unaff"}) == ["una", "##f", "##f"]


def test_one_part_without_a_piece_makes_the_whole_word_unknown() -> None:
    assert wordpiece_encode("unable!", {"un", "##able"}) == ["[UNK]"]
    assert wordpiece_encode("x", {"##x"}, unk="<unk>") == ["<unk>"]
    assert wordpiece_encode("a" * 101, {"a", "##a"}) == ["[UNK]"]
    assert wordpiece_encode("a" * 100, {"a", "##a"}) == ["a", *["##a"] * 99]
    assert wordpiece_encode("", {"a"}) == []


@given(st.dictionaries(st.text("abcd", min_size=1, max_size=8), st.integers(1, 9), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_training_words_are_never_unknown_and_read_back(word_counts: dict[str, int]) -> None:
    vocabulary = set(train_wordpiece(word_counts, 25))
    for word in word_counts:
        pieces = wordpiece_encode(word, vocabulary)
        assert pieces[0] + "".join(piece.removeprefix("##") for piece in pieces[1:]) == word


def test_bert_words() -> None:
    assert bert_words("Don't stop,世界 x=1￥ ひらがな한글") == [
        "Don", "'", "t", "stop", ",", "世", "界", "x", "=", "1￥", "ひらがな한글",
    ]  # fmt: skip

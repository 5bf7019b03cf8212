"""Tokenizer: round trips, special tokens, streaming, and errors that say what to do."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachllm.stack.tokenizer import (
    GPT2,
    LLAMA3,
    PATTERNS,
    Merge,
    Pattern,
    StreamDecoder,
    Tokenizer,
    Vocabulary,
    count_pieces,
    iter_merges,
    learn_merges,
    split_pieces,
)
from teachllm.stack.tokenizer.tokenizer import FAST_FROM

TEXTS = [
    "The cat sat on the mat. It's the cat's mat, isn't it? 12345\n\n\tdef f(x):\n  return x\n",
    "的猫坐在垫子上，垫子上的猫。",
    "大语言模型把文字切成词元，词元再变成编号。语言模型预测下一个词元。<|end|> 👍🏽👍🏽 naïve café\r\n",
] * 3
SPECIAL = ["<|end|>", "<|end", "<|user|>"]


@cache
def tokenizer(pattern: str = "gpt2") -> Tokenizer:
    return Tokenizer.train(TEXTS, 380, pattern=pattern, special_tokens=SPECIAL)


@given(st.text(), st.sampled_from(sorted(PATTERNS)))
@settings(max_examples=300, deadline=None)
def test_decoding_gives_the_text_back(text: str, pattern: str) -> None:
    assert tokenizer(pattern).decode(tokenizer(pattern).encode(text)) == text


@given(st.text(), st.sampled_from(sorted(PATTERNS)))
@settings(max_examples=200, deadline=None)
def test_pieces_joined_are_the_text(text: str, pattern: str) -> None:
    pieces = split_pieces(text, PATTERNS[pattern])
    assert "".join(pieces) == text
    assert all(pieces)


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_broken_utf8_comes_back_byte_for_byte(data: bytes) -> None:
    assert tokenizer().decode_bytes(tokenizer().encode_bytes(data)) == data


@given(st.lists(st.integers(0, 379), max_size=30), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_stream_says_what_decode_says_and_never_half_a_character(
    ids: list[int], skip_special: bool
) -> None:
    decoder = StreamDecoder(tokenizer(), skip_special=skip_special)
    said = [decoder.push(token_id) for token_id in ids]
    assert "".join([*said, decoder.flush()]) == tokenizer().decode(ids, skip_special=skip_special)
    assert decoder.flush() == ""


def test_a_stream_waits_for_the_last_byte_of_a_character() -> None:
    decoder = StreamDecoder(tokenizer())
    said = [decoder.push(byte) for byte in "猫👍a".encode()]
    assert said == ["", "", "猫", "", "", "", "👍", "a"]
    assert decoder.push("猫".encode()[0]) == ""
    assert decoder.flush() == "�"
    assert decoder.push(ord("x")) == "x"


def test_pieces_of_each_family() -> None:
    text = "It's HE'S 12345 a.bar()\n\n  x HelloWORLD"
    assert {name: "¦".join(split_pieces(text, pattern)) for name, pattern in PATTERNS.items()} == {
        "gpt2": "It¦'s¦ HE¦'¦S¦ 12345¦ a¦.¦bar¦()¦\n\n ¦ x¦ HelloWORLD",
        "llama3": "It¦'s¦ HE¦'S¦ ¦123¦45¦ a¦.bar¦()\n\n¦ ¦ x¦ HelloWORLD",
        "qwen2": "It¦'s¦ HE¦'S¦ ¦1¦2¦3¦4¦5¦ a¦.bar¦()\n\n¦ ¦ x¦ HelloWORLD",
        "smollm2": "It¦'s¦ HE¦'¦S¦ ¦1¦2¦3¦4¦5¦ a¦.¦bar¦()¦\n\n ¦ x¦ HelloWORLD",
        "o200k": "It's¦ HE'S¦ ¦123¦45¦ a¦.bar¦()\n\n¦ ¦ x¦ Hello¦WORLD",
    }


def test_special_tokens_are_text_unless_asked_for() -> None:
    t = tokenizer()
    text = "a<|end|>b<|end c"
    end, end_prefix = t.special_tokens["<|end|>"], t.special_tokens["<|end"]
    assert not {end, end_prefix} & set(t.encode(text))
    assert t.encode(text, special="all") == [97, end, 98, end_prefix, *t.encode(" c")]
    assert t.encode(text, special={"<|end"}) == [
        97,
        end_prefix,
        *t.encode("|>b"),
        end_prefix,
        *t.encode(" c"),
    ]
    assert t.encode("<|end|><|end|>", special="all") == [end, end]
    assert t.decode(t.encode(text, special="all")) == text
    assert t.decode(t.encode(text, special="all"), skip_special=True) == "ab c"
    assert t.encode_to_array(text, special="all").tolist() == t.encode(text, special="all")
    with pytest.raises(ValueError, match=r"not special tokens of this vocabulary: \['<s>'\]"):
        t.encode(text, special={"<s>"})
    with pytest.raises(ValueError, match='give "none", "all" or a set'):
        t.encode(text, special="<|end|>")


def test_nothing_gives_nothing() -> None:
    t = tokenizer()
    assert t.encode("") == t.encode("", special="all") == t.encode_bytes(b"") == []
    assert t.decode([]) == t.decode_bytes([]).decode() == ""
    assert t.encode_to_array("").dtype == np.int32
    assert t.encode_to_array("").shape == (0,)


def test_ids_and_tokens_look_each_other_up() -> None:
    t = tokenizer()
    assert t.vocab_size == 380
    assert t.special_tokens == {"<|end|>": 377, "<|end": 378, "<|user|>": 379}
    assert t.token_to_id("<|user|>") == 379
    assert t.id_to_bytes(379) == b"<|user|>"
    assert all(t.token_to_id(t.id_to_bytes(token_id)) == token_id for token_id in range(377))
    assert t.token_to_id("no such token") is None
    assert t.decode(np.array([72, 105])) == "Hi"
    assert t.decode([0xE4], errors="ignore") == ""
    for wrong in (-1, 380, 10**9):
        with pytest.raises(
            ValueError, match=f"id {wrong} is not in this vocabulary, whose ids run from 0 to 379"
        ):
            t.decode([0, wrong])
        with pytest.raises(ValueError, match="ids run from 0 to 379"):
            t.id_to_bytes(wrong)
        with pytest.raises(ValueError, match="ids run from 0 to 379"):
            StreamDecoder(t).push(wrong)


def test_training_reports_each_merge_and_can_be_stopped() -> None:
    seen: list[Merge] = []
    t = Tokenizer.train(TEXTS, 300, progress=seen.append)
    assert [merge.new_id for merge in seen] == list(range(256, 300))
    assert [merge.pair for merge in seen] == t.vocabulary.merges
    assert [merge.count for merge in seen] == sorted((merge.count for merge in seen), reverse=True)
    assert seen == [merge for merge, _ in zip(learn_merges(TEXTS), range(44), strict=False)]

    def stop(merge: Merge) -> None:
        if merge.new_id == 260:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tokenizer.train(TEXTS, 300, progress=stop)


def test_a_small_text_gives_a_small_vocabulary() -> None:
    t = Tokenizer.train(["abab"], 1000, special_tokens=["<s>"])
    assert t.vocabulary.merges == [(97, 98), (256, 256)]
    assert t.special_tokens == {"<s>": 258}
    assert t.vocab_size == 259
    assert t.encode("ababab") == [257, 256]


def test_wrong_training_arguments_say_what_is_wrong() -> None:
    with pytest.raises(
        ValueError, match=r"vocab_size is 257, but the 256 bytes and 2 special tokens need at least 258"
    ):
        Tokenizer.train(["a"], 257, special_tokens=["<a>", "<b>"])
    with pytest.raises(ValueError, match=r"more than once: \['<a>'\]"):
        Tokenizer.train(["a"], 300, special_tokens=["<a>", "<b>", "<a>"])
    with pytest.raises(ValueError, match="is not a regular expression"):
        Tokenizer.train(["a"], 300, pattern=r"(\p{L}")
    with pytest.raises(TypeError, match="give an iterable of texts"):
        Tokenizer.train("a text", 300)
    with pytest.raises(ValueError, match="merge 1 joins ids 300 and 97, but only ids below 257 exist yet"):
        Tokenizer.from_merges([(97, 98), (300, 97)])


def test_a_vocabulary_lists_every_problem() -> None:
    with pytest.raises(ValueError, match="not a usable vocabulary") as raised:
        Vocabulary(
            tokens={0: b"a", 1: b"b", 2: b"a", 3: b"", -4: b"c"},
            merges=[(0, 1), (0, 9), (0, 1)],
            special_tokens={"<s>": 1, "<t>": 7, "<u>": 7, "": 8},
        )
    for problem in (
        "ids 0 and 2 are both b'a'",
        "token 3 is empty",
        "b'c' has the negative id -4",
        "merge 0 makes b'ab', which is not a token",
        "merge 1 joins ids 0 and 9, but no token has one of them",
        "merge 2 repeats the pair (0, 1)",
        "special token '<s>' has the id 1 of the token b'b'",
        "special tokens '<t>' and '<u>' have the same id 7",
        "special token 8 is empty",
    ):
        assert problem in str(raised.value)


def test_a_byte_without_a_token_is_lost_and_listed() -> None:
    vocabulary = Vocabulary({0: b"a", 1: b"b", 2: b"ab"}, [(0, 1)])
    t = Tokenizer(vocabulary)
    assert t.encode("aqb c") == [2]
    assert len(vocabulary.missing_bytes) == 254


def test_normalization_comes_first() -> None:
    base = tokenizer().vocabulary
    t = Tokenizer(
        Vocabulary(base.tokens, base.merges, base.special_tokens, base.pattern, normalization="NFC")
    )
    assert t.encode("cafe\u0301") == t.encode("café") == tokenizer().encode("café")
    assert t.decode(t.encode("cafe\u0301")) == "café"


def test_lone_surrogates_become_the_replacement_character() -> None:
    t = tokenizer()
    assert t.encode("a\ud800b") == t.encode("a�b")
    assert t.encode("\ud83d\udc4d") == t.encode("👍")
    assert count_pieces(["a\ud800"]) == count_pieces(["a�"])


def test_a_pattern_of_your_own() -> None:
    by_line = Pattern("lines", (r"[^\n]*\n",))
    t = Tokenizer.train(["ab ab\nab ab\n" * 4], 280, pattern=by_line)
    assert b"ab ab\n" in t.vocabulary.tokens.values()
    assert t.vocabulary.pattern is by_line
    assert Tokenizer.train(["a"], 256, pattern=GPT2.regexes[0]).vocabulary.pattern.regexes == GPT2.regexes
    assert Tokenizer.train(["a"], 256, pattern="llama3").vocabulary.pattern is LLAMA3


@pytest.mark.parametrize(("pattern", "length"), [("gpt2", 1_000_000), (r"[a-z]+|\s+", 200_000)])
def test_one_huge_piece_is_encoded_in_seconds(pattern: str, length: int) -> None:
    t = Tokenizer.train(["aaaaaaaa " * 9], 262, pattern=pattern)
    text = "a" * length
    start = time.perf_counter()
    ids = t.encode(text)
    assert time.perf_counter() - start < 30  # the quadratic way takes an hour
    assert t.decode(ids) == text


def test_threads_share_one_tokenizer() -> None:
    t = tokenizer()
    rng = random.Random(1)
    texts = ["".join(rng.choices([*TEXTS, "词", " x", "7"], k=2 * FAST_FROM // 40)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(t.encode, texts))
    assert ids == [t.encode(text) for text in texts]
    assert [t.decode(each) for each in ids] == texts


def test_training_on_much_text_learns_what_the_readable_way_learns() -> None:
    texts = ["".join(TEXTS) * 40] * (FAST_FROM // (40 * len("".join(TEXTS))) + 2)
    fast = learn_merges(texts)
    assert [next(fast) for _ in range(120)] == [
        merge for merge, _ in zip(iter_merges(count_pieces(texts)), range(120), strict=False)
    ]

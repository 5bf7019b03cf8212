"""Ids equal those of `tokenizers` and `tiktoken` on 20,000 generated strings, for every pattern.

Vocabularies are trained here. Libraries differ in which Unicode version they know, so the code points are
those that the running Python knows; without U+0295, which changed its category in Unicode 17; and without
combining marks newer than Unicode 3.2, which the normalizer of `tokenizers` sorts as if they were letters.
"""

from __future__ import annotations

import base64
import random
import sys
import unicodedata
from functools import cache
from pathlib import Path

import pytest
import tiktoken
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from teachllm.stack.tokenizer import GPT2, LLAMA3, O200K, PATTERNS, QWEN2, SMOLLM2, Pattern, Tokenizer

pytestmark = pytest.mark.parity

N_STRINGS = 20_000
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im|>", "<think>"]

ENGLISH = [
    "the", "of", "and", "attention", "tokenizer", "Hello", "world", "don't", "I'm", "we'll", "they've",
    "it's", "HE'S", "CAN'T", "'twas", "rock'n'roll", "straße", "naïve", "café", "Ångström", "HelloWorld",
    "iPhone", "GPT-4o", "e.g.", "U.S.A.", "re-entrant", "x_1", "camelCase", "ſ'ſ", "K", "Ⅷ", "½",
]  # fmt: skip
CHINESE = [
    "分词器", "注意力", "机制", "大语言模型", "你好，世界！", "。", "、", "《红楼梦》", "“引号”",
    "教男朋友学", "一二三", "〇", "㈠", "龍", "𠮷", "𠀀", "﹏", "（全角）", "１２３",
]  # fmt: skip
CODE = [
    "def f(x):\n    return x+1\n", "for(i=0;i<10;++i){}\r\n", "\t\tif a != b:", "<div class='a'>", '"\\n"',
    "```py\n", "https://a.b/c?d=e#f", "0x1F 1e-9 12345678 3.14159", "/* c */ //\n\n\n", "[1, 2,3]\n\n",
    "a->b::c&&d", "/to//\n/x",
]  # fmt: skip
EMOJI = ["😀", "👨‍👩‍👧‍👦", "👍🏽", "🇨🇳", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\u200d", "\ufe0f"]
COMBINING = [
    "e\u0301", "a\u0308\u0323", "\u0301x", "\u0301\u0301", "A\u030a", "\u0345",
    "नमस्ते", "ก็", "مرحبًا", "שָׁלוֹם", "\u1100\u1161", "가각",
]  # fmt: skip
SPACES = [
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", " \n ",
    "\u3000", "\u00a0", "\u2028", "\x85", "\x0b\x0c", "\u2009\u2009",
]  # fmt: skip
BROKEN = [
    b"\xff",
    b"\xe4\xbd",
    b"\xf0\x9f\x98",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\x80\x80",
    b"a\xe4\xbdb",
    b"\xf5\x80",
]


@cache
def known_code_points() -> list[str]:
    return [
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(char) not in ("Cn", "Cs", "Co")
        and unicodedata.combining(char) == unicodedata.ucd_3_2_0.combining(char)
        and char != "\u0295"
    ]


def generated_string(rng: random.Random) -> str:
    pools = [ENGLISH, CHINESE, CODE, EMOJI, COMBINING, SPACES, SPACES]
    parts = []
    for _ in range(rng.randrange(1, 12)):
        kind = rng.random()
        if kind < 0.72:
            parts.append(rng.choice(rng.choice(pools)))
        elif kind < 0.82:
            parts.append(rng.choice(known_code_points()) * rng.choice((1, 1, 2)))
        elif kind < 0.88:
            parts.append(chr(rng.randrange(128)) * rng.choice((1, 2, 5)))
        elif kind < 0.92:
            parts.append(rng.choice(BROKEN).decode("utf-8", "replace"))
        elif kind < 0.96:
            parts.append(rng.choice(SPECIAL)[: rng.choice((None, None, None, -1, 4))])
        else:
            parts.append(str(rng.randrange(10**9)))
        parts.append(rng.choice(("", "", " ")))
    return "".join(parts)


@cache
def generated_strings() -> list[str]:
    rng = random.Random(20260301)
    return ["", " ", "\n", *(generated_string(rng) for _ in range(N_STRINGS))]


@cache
def training_texts() -> list[str]:
    rng = random.Random(7)
    return [generated_string(rng) for _ in range(3_000)]


def reference_pre_tokenizer(pattern: Pattern) -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer as the model families write it into their tokenizer.json."""
    if pattern == GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern == SMOLLM2:
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    split = pre_tokenizers.Split(tokenizers.Regex(pattern.regexes[0]), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def reference_tokenizer(pattern: Pattern, *, whole_pieces: bool, all_bytes: bool) -> tokenizers.Tokenizer:
    reference = tokenizers.Tokenizer(models.BPE(ignore_merges=whole_pieces))
    reference.pre_tokenizer = reference_pre_tokenizer(pattern)
    reference.decoder = decoders.ByteLevel()
    if pattern == QWEN2:
        reference.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if all_bytes else []
    trainer = trainers.BpeTrainer(
        vocab_size=2_000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    reference.train_from_iterator(training_texts(), trainer)
    return reference


def first_difference(texts: list[str], ours: list[list[int]], theirs: list[list[int]]) -> str:
    for text, mine, peer in zip(texts, ours, theirs, strict=True):
        if mine != peer:
            return f"{text!r}: ours {mine}, theirs {peer}"
    return ""


@pytest.mark.parametrize(
    ("pattern", "whole_pieces", "all_bytes"),
    [
        (GPT2, False, True),
        (LLAMA3, True, True),
        (QWEN2, False, True),
        (O200K, False, True),
        (SMOLLM2, False, False),  # SmolLM2 has no token for some bytes, and loses them
    ],
    ids=lambda value: value.name if isinstance(value, Pattern) else "",
)
def test_ids_equal_tokenizers(pattern: Pattern, whole_pieces: bool, all_bytes: bool, tmp_path: Path) -> None:
    reference = reference_tokenizer(pattern, whole_pieces=whole_pieces, all_bytes=all_bytes)
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_tokenizer_json(tmp_path / "tokenizer.json")
    texts = generated_strings()
    assert len(texts) >= 20_000
    assert tokenizer.vocabulary.pattern is PATTERNS[pattern.name]
    assert tokenizer.vocab_size == reference.get_vocab_size()

    with_special = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]
    assert not first_difference(texts, [tokenizer.encode(t, special="all") for t in texts], with_special)

    reference.encode_special_tokens = True
    as_data = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]
    assert not first_difference(texts, [tokenizer.encode(t) for t in texts], as_data)
    assert as_data != with_special

    everything = "\n".join(texts)  # long enough for the compiled path
    assert tokenizer.encode_to_array(everything).tolist() == reference.encode(everything).ids

    for text, ids in zip(texts[:2_000], with_special, strict=False):
        assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=False), text


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_a_saved_tokenizer_opens_in_tokenizers_with_the_same_ids(pattern: Pattern, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(training_texts(), 1_000, pattern=pattern, special_tokens=SPECIAL)
    tokenizer.save(tmp_path / "tokenizer.json")
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert reference.get_vocab_size() == tokenizer.vocab_size == 1_000
    texts = generated_strings()[:3_000]
    theirs = [encoding.ids for encoding in reference.encode_batch(texts)]
    ours = [tokenizer.encode(text, special="all") for text in texts]
    assert not first_difference(texts, ours, theirs)
    assert Tokenizer.from_tokenizer_json(tmp_path / "tokenizer.json").vocabulary == tokenizer.vocabulary


@pytest.mark.parametrize("pattern", [GPT2, LLAMA3, QWEN2, O200K], ids=lambda pattern: pattern.name)
def test_ids_equal_tiktoken(pattern: Pattern) -> None:
    trained = Tokenizer.train(training_texts(), 2_000, pattern=pattern).vocabulary
    ranks = {token: token_id for token_id, token in trained.tokens.items()}
    special_tokens = {text: len(ranks) + i for i, text in enumerate(SPECIAL)}
    reference = tiktoken.Encoding(
        "reference", pat_str=pattern.regexes[0], mergeable_ranks=ranks, special_tokens=special_tokens
    )
    file = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
    tokenizer = Tokenizer.from_tiktoken(file, pattern, special_tokens)
    texts = generated_strings()
    ours = [tokenizer.encode(text) for text in texts]
    assert not first_difference(texts, ours, [reference.encode_ordinary(text) for text in texts])
    assert [tokenizer.decode(ids) for ids in ours] == texts
    everything = "\n".join(texts)  # long enough for the compiled path
    assert tokenizer.encode(everything) == reference.encode_ordinary(everything)
    with_special = [reference.encode(text, allowed_special="all") for text in texts]
    assert not first_difference(texts, [tokenizer.encode(t, special="all") for t in texts], with_special)
    lone_surrogates = ["\ud800", "a\udc80b", "\ud83d\ude00", "\ude00\ud83d x"]
    assert [tokenizer.encode(t) for t in lone_surrogates] == [
        reference.encode_ordinary(t) for t in lone_surrogates
    ]


def test_ids_equal_tiktoken_where_the_ranks_follow_no_training() -> None:
    """Any neighbours that together are a token merge, also by a cut that no training would make."""
    rng = random.Random(11)
    tokens = {bytes([byte]) for byte in range(256)}
    while len(tokens) < 900:
        tokens.add(bytes(rng.choice(b"abc ") for _ in range(rng.randrange(2, 6))))
    shuffled = sorted(tokens)
    rng.shuffle(shuffled)
    ranks = {token: rank for rank, token in enumerate(shuffled)}
    reference = tiktoken.Encoding(
        "shuffled", pat_str=GPT2.regexes[0], mergeable_ranks=ranks, special_tokens={}
    )
    file = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
    tokenizer = Tokenizer.from_tiktoken(file, GPT2)
    texts = ["".join(rng.choice("abc ") for _ in range(rng.randrange(120))) for _ in range(5_000)]
    ours = [tokenizer.encode(text) for text in texts]
    assert not first_difference(texts, ours, [reference.encode_ordinary(text) for text in texts])

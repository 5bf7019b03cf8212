"""The compiled path against its oracle: the same pieces, ids and merges as the readable functions."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

import teachllm
from teachllm.stack.tokenizer import (
    PATTERNS,
    Pattern,
    Tokenizer,
    Vocabulary,
    count_pieces,
    iter_merges,
    split_pieces,
)
from teachllm.stack.tokenizer.fast import encoder as fast_encoder
from teachllm.stack.tokenizer.fast import trainer as fast_trainer
from teachllm.stack.tokenizer.fast.encoder import Encoder, can_encode
from teachllm.stack.tokenizer.fast.piece_table import MIX, PieceTable, piece_key
from teachllm.stack.tokenizer.fast.pieces import split_pieces_fast
from teachllm.stack.tokenizer.fast.trainer import count_pieces_fast, iter_merges_fast
from teachllm.stack.tokenizer.fast.unicode_classes import CLASSES, unicode_classes
from teachllm.stack.tokenizer.merge_table import merge_table
from teachllm.stack.tokenizer.tokenizer import FAST_FROM

patterns = pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
# Every character that some branch of a pattern asks for, and a few of each class.
TELLING = (
    " \n\r\t/'sSſtTmMdDlLrReEvV19a.-_ÀʰǅⅧ½中あ\u0301\u0903\u200d\u3000\u00a0\u2028\x1c👍🏽\U0010ffff\ue000"
)
telling_text = st.text(st.sampled_from(TELLING), max_size=24)
BYTES = [bytes([byte]) for byte in b"a' \n9\x80\xbf\xc0\xc2\xe0\xe4\xed\xa0\xf0\x9f\xf4\x90\xf5\xff"]
BROKEN = [
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
]  # surrogate, too large, overlong
broken_bytes = st.lists(
    st.sampled_from([*BYTES, *BROKEN, "猫".encode(), "👍".encode(), "\u0301".encode()]), max_size=12
)


@patterns
@given(st.one_of(telling_text, st.text()))
@settings(max_examples=400, deadline=None)
def test_the_state_machine_cuts_as_the_regular_expression(pattern: Pattern, text: str) -> None:
    assert split_pieces_fast(text.encode(), pattern) == [
        piece.encode() for piece in split_pieces(text, pattern)
    ]


@patterns
@given(broken_bytes.map(b"".join))
@settings(max_examples=300, deadline=None)
def test_the_state_machine_reads_broken_utf8_as_python_does(pattern: Pattern, data: bytes) -> None:
    escaped = split_pieces(data.decode("utf-8", "surrogateescape"), pattern)
    assert split_pieces_fast(data, pattern) == [piece.encode("utf-8", "surrogateescape") for piece in escaped]


@patterns
def test_every_code_point_between_others_is_cut_alike(pattern: Pattern) -> None:
    assigned = regex.findall(r"[^\p{Cn}\p{Cs}\p{Co}]", "".join(map(chr, range(0x110000))))
    points = [
        char for char in assigned if not "\u4e10" <= char <= "\u9ff0" and not "\uac10" <= char <= "\ud790"
    ]
    points = points[:20_000] + points[20_000::5]
    text = "".join(
        f"{char}{(' ', 'a', '7', '.', chr(10), 'A', '', chr(39))[i % 8]}" for i, char in enumerate(points)
    )
    assert split_pieces_fast(text.encode(), pattern) == [
        piece.encode() for piece in split_pieces(text, pattern)
    ]


def test_the_class_table_is_the_regex_module_s() -> None:
    classes = unicode_classes()
    rng = random.Random(0)
    for point in [*range(0x250), *rng.choices(range(0x110000), k=2_000), 0x10FFFF]:
        expected = sum(bit for bit, source in CLASSES.items() if regex.match(source, chr(point)))
        assert classes[point] == expected, hex(point)


@cache
def corpus() -> list[str]:
    rng = random.Random(3)
    words = [
        "the",
        " cat",
        " 猫",
        "坐在",
        "垫子上",
        "'s",
        " 123",
        "\n",
        "  ",
        "naïve",
        "👍🏽",
        ".",
        "Ab",
        "aaaa",
        " x",
    ]
    return ["".join(rng.choices(words, k=rng.randrange(60))) for _ in range(400)]


@patterns
def test_counted_pieces_and_merges_are_those_of_the_readable_way(pattern: Pattern) -> None:
    table, counts = count_pieces_fast([text.encode() for text in corpus()], pattern)
    readable = count_pieces(corpus(), pattern)
    assert dict(zip(table.pieces(), counts.tolist(), strict=True)) == readable
    assert list(islice(iter_merges_fast(table, counts), 500)) == list(islice(iter_merges(readable), 500))


@given(st.lists(st.text("aab ", max_size=40), max_size=5))
@settings(max_examples=200, deadline=None)
def test_merges_agree_until_no_pair_is_left(texts: list[str]) -> None:
    table, counts = count_pieces_fast([text.encode() for text in texts], PATTERNS["gpt2"])
    assert list(iter_merges_fast(table, counts)) == list(iter_merges(count_pieces(texts)))


def test_training_grows_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_trainer, "FIRST_SLOTS", 1 << 9)
    rng = random.Random(9)
    texts = ["".join(rng.choices("abcdefghijkl", k=60)) for _ in range(300)]
    table, counts = count_pieces_fast([text.encode() for text in texts], PATTERNS["gpt2"])
    assert list(iter_merges_fast(table, counts)) == list(iter_merges(count_pieces(texts)))


@cache
def trained(name: str) -> Tokenizer:
    return Tokenizer.train(corpus(), 500, pattern=name)


@patterns
@given(st.one_of(telling_text, st.text(), st.text("a猫 '", max_size=700)))
@settings(max_examples=150, deadline=None)
def test_the_encoder_gives_the_readable_ids(pattern: Pattern, text: str) -> None:
    tokenizer = trained(pattern.name)
    encoder = Encoder(tokenizer.vocabulary, merge_table(tokenizer.vocabulary))
    assert encoder.encode(text.encode()).tolist() == tokenizer._encode_readable(text)


def test_whole_pieces_and_missing_bytes_are_respected() -> None:
    tokens = {i: bytes([97 + i]) for i in range(4)} | {10: b"ab", 11: b"abcd", 12: b"ab" * 200}
    vocabulary = Vocabulary(tokens, [(0, 1)], whole_pieces=True)
    tokenizer = Tokenizer(vocabulary)
    encoder = Encoder(vocabulary, merge_table(vocabulary))
    for text in ("abcd", "abcda", "aXb", "ab" * 200, "ab" * 201, "é"):
        assert encoder.encode(text.encode()).tolist() == tokenizer._encode_readable(text), text
    assert encoder.encode(b"abcd").tolist() == [11]
    assert encoder.encode(b"aXb").tolist() == [10]


def test_the_encoder_forgets_when_its_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_encoder, "MAX_PIECES", 1 << 10)
    monkeypatch.setattr(fast_encoder, "MAX_BYTES", 1 << 12)
    monkeypatch.setattr(fast_encoder, "BLOCK_PIECES", 1 << 7)
    base = trained("gpt2").vocabulary
    vocabulary = Vocabulary(base.tokens, base.merges, pattern=base.pattern, whole_pieces=True)
    tokenizer = Tokenizer(vocabulary)
    encoder = Encoder(vocabulary, merge_table(vocabulary))
    rng = random.Random(4)
    for length in (10, 500, 20_000, 40_000):
        text = "".join(rng.choices([*corpus()[:50], "z" * rng.randrange(900)], k=length // 20))
        assert encoder.encode(text.encode()).tolist() == tokenizer._encode_readable(text)
    assert encoder._pieces.capacity[0] < 4_096


def test_growing_keeps_the_numbers_of_pieces() -> None:
    table = PieceTable(2, 8)
    words = [b"a", b"bb", b"123456789", b"12345678", b"1234567890abcdef", b"a", b"1234567890abcdeg", b"bb"]
    data = np.frombuffer(b"".join(words), dtype=np.uint8)
    ends = np.cumsum(list(map(len, words)))
    table.grow(len(words), len(data))
    numbers = np.empty(len(words), dtype=np.int32)
    table.number(data, 0, ends, numbers)
    assert numbers.tolist() == [0, 1, 2, 3, 4, 0, 5, 1]
    table.grow(10_000, 100_000)
    table.number(data, 0, ends, numbers)
    assert numbers.tolist() == [0, 1, 2, 3, 4, 0, 5, 1]
    assert table.pieces() == list(dict.fromkeys(words))


def test_two_pieces_with_one_key_are_told_apart() -> None:
    """The key of a long piece is a hash that can be turned around: the second half makes up for the first."""

    def signed(value: int) -> int:
        value &= (1 << 64) - 1
        return value - (1 << 64) if value >> 63 else value

    def after_first_word(word: bytes) -> int:
        key = signed(int.from_bytes(word, "big", signed=True) * MIX)
        return key ^ key >> 29

    second = int.from_bytes(b"the same", "big", signed=True)
    other = after_first_word(b"sixteen ") ^ after_first_word(b"fifteen ") ^ second
    pieces = [b"sixteen the same", b"fifteen " + other.to_bytes(8, "big", signed=True)]
    data = np.frombuffer(b"".join(pieces), dtype=np.uint8)
    assert piece_key(data, 0, 16) == piece_key(data, 16, 32)
    table = PieceTable()
    numbers = np.empty(2, dtype=np.int32)
    table.number(data, 0, np.array([16, 32]), numbers)
    assert numbers.tolist() == [0, 1]


def test_long_text_takes_the_compiled_path_and_gives_the_same_ids() -> None:
    tokenizer = Tokenizer(trained("qwen2").vocabulary)
    text = "".join(corpus()) * (FAST_FROM // len("".join(corpus())) + 1)
    assert tokenizer.encode(text[:1_000]) == tokenizer._encode_readable(text[:1_000])
    assert not tokenizer._fast_encoders
    ids = tokenizer.encode(text)
    assert tokenizer._fast_encoders
    assert ids == tokenizer._encode_readable(text) == tokenizer.encode_to_array(text).tolist()
    assert all(type(token_id) is int for token_id in ids[:10])


def test_many_short_texts_take_the_compiled_path() -> None:
    tokenizer = Tokenizer.train(["the cat sat on the mat"], 270)
    texts = ["the mat", "", "a cat 猫"]
    arrays = list(tokenizer.encode_documents(texts))
    assert len(tokenizer._fast_encoders) == 1
    assert [array.tolist() for array in arrays] == [
        Tokenizer(tokenizer.vocabulary).encode(text) for text in texts
    ]


def test_an_interrupted_encoder_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may know a piece without its ids."""
    tokenizer = Tokenizer(trained("gpt2").vocabulary)
    text = "".join(corpus()) * (FAST_FROM // len("".join(corpus())) + 1)

    def interrupt(*arrays: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fast_encoder, "encode_pieces", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tokenizer.encode(text)
    assert tokenizer.encode(text) == tokenizer._encode_readable(text)


def test_only_known_patterns_are_compiled() -> None:
    vocabulary = Vocabulary({i: bytes([i]) for i in range(256)}, [], pattern=Pattern("custom", (r"\w+",)))
    assert not can_encode(vocabulary, merge_table(vocabulary))


def test_a_package_that_cannot_be_written_still_works(tmp_path: Path) -> None:
    """Neither beside the source nor in the user's cache folder: the kernels are then compiled for the
    process.
    """
    package = tmp_path / "site" / "teachllm"
    source = Path(teachllm.__file__).parent
    for part in ("__init__.py", "stack/__init__.py"):
        (package / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / part, package / part)
    shutil.copytree(
        source / "stack/tokenizer", package / "stack/tokenizer", ignore=shutil.ignore_patterns("__pycache__")
    )
    program = (
        "import numba.core.caching as caching\n"
        # Root may write anywhere, so a folder that cannot be written is simulated where Numba asks for one.
        "caching._CacheLocator.ensure_cache_path = lambda self: (_ for _ in ()).throw(OSError('read-only'))\n"
        "import teachllm; from teachllm.stack.tokenizer import GPT2\n"
        "from teachllm.stack.tokenizer.fast.pieces import split_pieces_fast\n"
        "print(teachllm.__file__); print(split_pieces_fast(b'a cat', GPT2))\n"
    )
    for folder in (package, *package.rglob("*")):
        folder.chmod(folder.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
        )
    finally:
        for folder in (package, *package.rglob("*")):
            folder.chmod(folder.stat().st_mode | stat.S_IWUSR)
    assert done.stdout.splitlines() == [str(package / "__init__.py"), "[b'a', b' cat']"], done.stderr
    assert not list(package.rglob("__pycache__"))


def test_importing_the_tokenizer_does_not_import_numba() -> None:
    program = (
        "import sys, teachllm.stack.tokenizer as t\n"
        "t.Tokenizer.train(['a b'], 260).encode('a')\n"
        "print('numba' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"

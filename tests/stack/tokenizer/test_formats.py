"""Vocabulary files: what is read comes back, and what is damaged or unsupported is refused by name."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from teachllm.stack.tokenizer import PATTERNS, SMOLLM2, Tokenizer, Vocabulary, bytes_to_printable

TEXT = "The cat sat on the mat, isn't it? 2024 的猫坐在垫子上。\n" * 4
SPECIAL = ["<|end|>", "<|user|>"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    Tokenizer.train([TEXT], 280, pattern="smollm2", special_tokens=SPECIAL).save(path)
    return path


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_what_is_saved_is_read_back(saved: Path) -> None:
    tokenizer = Tokenizer.from_tokenizer_json(saved)
    assert (
        tokenizer.vocabulary
        == Tokenizer.train([TEXT], 280, pattern="smollm2", special_tokens=SPECIAL).vocabulary
    )
    assert list(saved.parent.glob("*.part")) == []


def test_a_pattern_may_be_written_as_what_to_keep(saved: Path) -> None:
    before = Tokenizer.train([TEXT], 280, pattern="llama3")
    before.save(saved)
    change(saved, lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed", invert=True))
    assert Tokenizer.from_tokenizer_json(saved).vocabulary == before.vocabulary


def test_pieces_that_are_tokens_may_be_taken_whole(tmp_path: Path) -> None:
    tokens = {byte: bytes([byte]) for byte in range(256)} | {256: b"ab", 257: b"bca"}  # no merge makes bca
    for whole_pieces, ids in ((True, [257]), (False, [98, 99, 97])):
        vocabulary = Vocabulary(tokens, [(97, 98)], whole_pieces=whole_pieces)
        Tokenizer(vocabulary).save(tmp_path / "tokenizer.json")
        read = Tokenizer.from_tokenizer_json(tmp_path / "tokenizer.json")
        assert read.vocabulary == vocabulary
        assert read.encode("bca") == ids
        reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        assert reference.encode("bca").ids == ids


def test_merges_may_be_written_as_one_string(saved: Path) -> None:
    before = Tokenizer.from_tokenizer_json(saved).vocabulary
    change(saved, lambda c: c["model"].update(merges=[" ".join(pair) for pair in c["model"]["merges"]]))
    assert Tokenizer.from_tokenizer_json(saved).vocabulary == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_off_is_named(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"tokenizer.json is not JSON; the file may be cut off"):
        Tokenizer.from_tokenizer_json(saved)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["model"].update(type="Unigram"), "model type 'Unigram' is not supported"),
        (lambda c: c["model"].update(byte_fallback=True), "BPE option byte_fallback = True is not supported"),
        (lambda c: c["model"].update(dropout=0.1), "BPE option dropout = 0.1"),
        (lambda c: c["model"]["merges"].insert(0, ["zz", "q"]), "merge 0 joins 'zz' and 'q', which are not"),
        (lambda c: c["model"]["merges"].insert(2, ["a"]), r"merge 2 is \['a'\]; expected two tokens"),
        (lambda c: c["model"]["merges"].insert(0, ["q", "z"]), "merge 0 makes b'qz', which is not a token"),
        (lambda c: c["model"]["merges"].append(c["model"]["merges"][0]), "repeats the pair"),
        (lambda c: c["model"]["vocab"].update({"▁the": 999}), "not in the byte-level alphabet"),
        (lambda c: c["model"]["vocab"].update({"zz": 5}), r"several tokens share an id: \[5\]"),
        (lambda c: c["added_tokens"].append(c["added_tokens"][0]), r"token '<\|end\|>' is listed twice"),
        (lambda c: c["added_tokens"][0].update(lstrip=True), "lstrip = true is not supported"),
        (lambda c: c["added_tokens"][0].update(id=97), "has the id 97 of the token"),
        (lambda c: c.update(pre_tokenizer=None), "no pre_tokenizer"),
        (lambda c: c.update(pre_tokenizer={"type": "Whitespace"}), "last pre-tokenizer is 'Whitespace'"),
        (lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "not supported; Split"),
        (lambda c: c["pre_tokenizer"]["pretokenizers"][-1].update(add_prefix_space=True), "add_prefix_space"),
        (lambda c: c["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "("}), "not a regular"),
        (lambda c: c.update(normalizer={"type": "Lowercase"}), "normalizer 'Lowercase' is not supported"),
        (lambda c: c.pop("model"), "not laid out like a tokenizer.json"),
        (lambda c: c["model"].pop("vocab"), "not laid out like a tokenizer.json"),
        (lambda c: c["model"].update(vocab=[1, 2]), "not laid out like a tokenizer.json"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_or_unsupported_is_refused(
    saved: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Tokenizer.from_tokenizer_json(change(saved, edit))
    assert str(saved) in str(raised.value) or "vocabulary" in str(raised.value)


def test_an_unknown_token_is_refused_only_where_bytes_are_missing(saved: Path) -> None:
    change(saved, lambda c: c["model"].update(unk_token="<|end|>"))
    Tokenizer.from_tokenizer_json(saved)
    change(saved, lambda c: c["model"]["vocab"].pop("~"))
    with pytest.raises(ValueError, match="1 bytes have no token"):
        Tokenizer.from_tokenizer_json(saved)


def test_a_special_token_spelt_like_an_ordinary_one_cannot_be_saved(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["ab" * 9], 258, special_tokens=["ab"])
    with pytest.raises(ValueError, match="special token 'ab' is spelt like the ordinary token 256"):
        tokenizer.save(tmp_path / "tokenizer.json")


# tiktoken ------------------------------------------------------------------------------------------------


def tiktoken_lines() -> list[bytes]:
    tokens = Tokenizer.train([TEXT], 280).vocabulary.tokens
    return [base64.b64encode(token) + b" %d" % rank for rank, token in tokens.items()]


def test_tiktoken_ranks_from_a_file_and_from_bytes(tmp_path: Path) -> None:
    data = b"\n".join(tiktoken_lines()) + b"\n"
    (tmp_path / "ranks.tiktoken").write_bytes(data)
    from_bytes = Tokenizer.from_tiktoken(data, "gpt2", {"<|end|>": 280})
    from_file = Tokenizer.from_tiktoken(tmp_path / "ranks.tiktoken", PATTERNS["gpt2"], {"<|end|>": 280})
    assert from_bytes.vocabulary == from_file.vocabulary
    assert from_bytes.encode(TEXT) == Tokenizer.train([TEXT], 280).encode(TEXT)
    assert from_bytes.encode("<|end|>", special="all") == [280]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines[:200], "no rank for 56 of the 256 single bytes; the file may be cut off"),
        (lambda lines: [*lines, b"%%% 7"], "line 281: b'%%% 7' is not a base64 token and a rank"),
        (lambda lines: [*lines, b"YWI="], "line 281"),
        (lambda lines: [*lines, b"YWI= x"], "line 281"),
        (lambda lines: [*lines, lines[3]], r"line 281: b'\\x03' was given the rank 3 before"),
        (lambda lines: [*lines, base64.b64encode(b"xyzzy") + b" 5"], "the same rank to several tokens"),
    ],
)
def test_wrong_ranks_are_refused(edit: Callable[[list[bytes]], list[bytes]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_tiktoken(b"\n".join(edit(tiktoken_lines())), "gpt2")


# GGUF ----------------------------------------------------------------------------------------------------


def gguf_metadata() -> dict[str, object]:
    """The metadata that a GGUF file of SmolLM2's family holds, for a vocabulary of our own."""
    vocabulary = Tokenizer.train([TEXT], 280, pattern=SMOLLM2, special_tokens=SPECIAL).vocabulary
    printable = {i: bytes_to_printable(token) for i, token in vocabulary.tokens.items()}
    by_id = printable | {i: text for text, i in vocabulary.special_tokens.items()}
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [by_id[i] for i in range(len(by_id))],
        "tokenizer.ggml.token_type": [1 if i in printable else 3 for i in range(len(by_id))],
        "tokenizer.ggml.merges": [
            f"{printable[left]} {printable[right]}" for left, right in vocabulary.merges
        ],
        "tokenizer.ggml.bos_token_id": 1,
    }


def test_a_gguf_vocabulary_is_the_one_that_was_written() -> None:
    expected = Tokenizer.train([TEXT], 280, pattern=SMOLLM2, special_tokens=SPECIAL).vocabulary
    assert Tokenizer.from_gguf_metadata(gguf_metadata()).vocabulary == expected


def test_qwen2_in_gguf_is_normalized_as_its_own_tokenizer_is() -> None:
    tokenizer = Tokenizer.from_gguf_metadata(gguf_metadata() | {"tokenizer.ggml.pre": "qwen2"})
    assert tokenizer.vocabulary.pattern is PATTERNS["qwen2"]
    assert tokenizer.encode("e\u0301") == tokenizer.encode("é")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.model is 'llama'; only 'gpt2'"),
        ({"tokenizer.ggml.pre": "deepseek"}, "tokenizer.ggml.pre is 'deepseek'; supported are gpt-2"),
        ({"tokenizer.ggml.token_type": [1, 1]}, "280 tokens but 2 token types"),
        ({"tokenizer.ggml.token_type": [1] * 279 + [9]}, "has token_type 9"),
        ({"tokenizer.ggml.merges": ["a  b"]}, "merge 0 is 'a  b'; expected two tokens"),
        ({"tokenizer.ggml.merges": ["a ▁b"]}, "which are not both in the vocabulary"),
    ],
)
def test_a_wrong_gguf_vocabulary_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_gguf_metadata(gguf_metadata() | changes)


@pytest.mark.parametrize("key", ["model", "pre", "tokens", "token_type", "merges"])
def test_a_gguf_file_without_a_key_is_refused(key: str) -> None:
    metadata = gguf_metadata()
    del metadata[f"tokenizer.ggml.{key}"]
    with pytest.raises(ValueError, match=f"no tokenizer.ggml.{key}"):
        Tokenizer.from_gguf_metadata(metadata)


def test_several_ways_to_one_token_must_be_ranked_together() -> None:
    tokens = {0: b"a", 1: b"b", 2: b"c", 3: b"ab", 4: b"bc", 5: b"abc"}
    together = Tokenizer(Vocabulary(tokens, [(0, 1), (1, 2), (3, 2), (0, 4)]))
    assert together.encode("abc bc") == [5, 4]
    with pytest.raises(ValueError, match="merge 3 makes b'abc' a second time, away from the first"):
        Tokenizer(Vocabulary(tokens, [(0, 1), (3, 2), (1, 2), (0, 4)]))

"""Vocabulary files: Hugging Face `tokenizer.json`, tiktoken ranks, and the vocabulary inside a GGUF file.

A file that needs something we do not do is refused by name: ids that are almost right are worse than none.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from teachllm.stack.tokenizer.bpe import Pair
from teachllm.stack.tokenizer.byte_alphabet import bytes_to_printable, printable_to_bytes
from teachllm.stack.tokenizer.pretokenize import GPT2, LLAMA3, O200K, QWEN2, SMOLLM2, Pattern, named_pattern
from teachllm.stack.tokenizer.vocabulary import Normalization, Vocabulary

# tokenizer.ggml.pre → (pattern, whole_pieces, normalization), as llama.cpp names the families. Qwen's own
# tokenizer normalizes to NFC, which a GGUF file does not record.
GGUF_PRE: dict[str, tuple[Pattern, bool, Normalization | None]] = {
    "gpt-2": (GPT2, False, None),
    "llama-bpe": (LLAMA3, True, None),
    "llama3": (LLAMA3, True, None),
    "llama-v3": (LLAMA3, True, None),
    "qwen2": (QWEN2, False, "NFC"),
    "smollm": (SMOLLM2, False, None),
    "gpt-4o": (O200K, True, None),
}
GGUF_NORMAL, GGUF_CONTROL, GGUF_USER_DEFINED, GGUF_UNUSED = 1, 3, 4, 5


# Hugging Face tokenizer.json ---------------------------------------------------------------------------


def read_tokenizer_json(path: Path) -> Vocabulary:
    """The vocabulary of a `tokenizer.json` with byte-level BPE. ValueError names the file and what is wrong
    with it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is not JSON; the file may be cut off: {problem}") from None
    try:
        return _vocabulary_from_json(content)
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None
    except (KeyError, TypeError, AttributeError, IndexError) as problem:
        raise ValueError(
            f"{path} is not laid out like a tokenizer.json: {type(problem).__name__} {problem}"
        ) from None


def _vocabulary_from_json(content: Any) -> Vocabulary:
    model = content["model"]
    if (kind := model.get("type", "BPE")) != "BPE":
        raise ValueError(f"model type {kind!r} is not supported; only byte-level BPE is")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(option):
            raise ValueError(f"BPE option {option} = {model[option]!r} is not supported")
    special_tokens = _added_tokens(content.get("added_tokens") or [])
    vocab: dict[str, int] = model["vocab"]
    if repeated := [i for i, count in Counter(vocab.values()).items() if count > 1]:
        raise ValueError(f"several tokens share an id: {repeated[:5]}")
    tokens = {i: printable_to_bytes(text) for text, i in vocab.items() if special_tokens.get(text) != i}
    vocabulary = Vocabulary(
        tokens=tokens,
        merges=_merges(model["merges"], vocab),
        special_tokens=special_tokens,
        pattern=_pattern(content.get("pre_tokenizer")),
        whole_pieces=bool(model.get("ignore_merges")),
        normalization=_normalization(content.get("normalizer")),
    )
    if model.get("unk_token") is not None and vocabulary.missing_bytes:
        raise ValueError(
            f"{len(vocabulary.missing_bytes)} bytes have no token, hence unk_token {model['unk_token']!r}; "
            "a byte-level vocabulary with an unknown token is not supported"
        )
    return vocabulary


def _added_tokens(entries: list[dict[str, Any]]) -> dict[str, int]:
    special_tokens: dict[str, int] = {}
    for entry in entries:
        text = entry["content"]
        if text in special_tokens:
            raise ValueError(f"special token {text!r} is listed twice")
        for option in ("single_word", "lstrip", "rstrip"):
            if entry.get(option):
                raise ValueError(f"special token {text!r}: {option} = true is not supported")
        special_tokens[text] = entry["id"]
    return special_tokens


def _merges(listed: list[Any], vocab: dict[str, int]) -> list[Pair]:
    merges = []
    for rank, merge in enumerate(listed):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2:
            raise ValueError(f"merge {rank} is {merge!r}; expected two tokens")
        left, right = parts
        if left not in vocab or right not in vocab:
            raise ValueError(
                f"merge {rank} joins {left!r} and {right!r}, which are not both in the vocabulary"
            )
        merges.append((vocab[left], vocab[right]))
    return merges


def _pattern(pre_tokenizer: dict[str, Any] | None) -> Pattern:
    """The pre-tokenizers up to and including ByteLevel, as regular expressions."""
    if pre_tokenizer is None:
        raise ValueError("there is no pre_tokenizer; byte-level BPE has one of type ByteLevel")
    steps = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    regexes: list[str] = []
    for step in steps[:-1]:
        regexes.append(_split_regex(step))
    last = steps[-1]
    if last["type"] != "ByteLevel":
        raise ValueError(f"the last pre-tokenizer is {last['type']!r}; byte-level BPE ends with ByteLevel")
    if last.get("add_prefix_space"):
        raise ValueError("ByteLevel with add_prefix_space = true is not supported")
    if last.get("use_regex", True):
        regexes += GPT2.regexes
    return named_pattern(tuple(regexes))


def _split_regex(step: dict[str, Any]) -> str:
    if step["type"] == "Digits":
        return r"\p{N}" if step["individual_digits"] else r"\p{N}+"
    if step["type"] == "Split" and (source := step["pattern"].get("Regex")) is not None:
        keeps_matches_only = step["behavior"] == "Removed" and step.get("invert")
        matches_everything = named_pattern((source,)).name != "custom"
        if (step["behavior"] == "Isolated" and not step.get("invert")) or (
            keeps_matches_only and matches_everything
        ):
            return source
    raise ValueError(
        f"pre-tokenizer {json.dumps(step, ensure_ascii=False)} is not supported; "
        "Split with a Regex (Isolated, not inverted), Digits and ByteLevel are"
    )


def _normalization(normalizer: dict[str, Any] | None) -> Normalization | None:
    if normalizer is None:
        return None
    if normalizer["type"] == "Sequence":
        steps = normalizer["normalizers"]
        if len(steps) > 1:
            raise ValueError(f"{len(steps)} normalizers in a row are not supported; one is")
        return _normalization(steps[0]) if steps else None
    if normalizer["type"] not in ("NFC", "NFD", "NFKC", "NFKD"):
        raise ValueError(f"normalizer {normalizer['type']!r} is not supported; NFC, NFD, NFKC and NFKD are")
    return normalizer["type"]


def write_tokenizer_json(vocabulary: Vocabulary, path: Path) -> None:
    """Write `vocabulary` so that `tokenizers` gives the same ids. Replaces the file in one step."""
    printable = {i: bytes_to_printable(token) for i, token in vocabulary.tokens.items()}
    vocab = {text: i for i, text in printable.items()}
    for text, i in vocabulary.special_tokens.items():
        if text in vocab:
            raise ValueError(
                f"special token {text!r} is spelt like the ordinary token {vocab[text]}: JSON has one place"
            )
        vocab[text] = i
    splits = [
        {"type": "Split", "pattern": {"Regex": source}, "behavior": "Isolated", "invert": False}
        for source in vocabulary.pattern.regexes
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": text, **flags}
            for text, i in sorted(vocabulary.special_tokens.items(), key=lambda item: item[1])
        ],
        "normalizer": {"type": vocabulary.normalization} if vocabulary.normalization else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": vocabulary.whole_pieces,
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": [[printable[left], printable[right]] for left, right in vocabulary.merges],
        },
    }
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    os.replace(part, path)


# tiktoken ----------------------------------------------------------------------------------------------


def read_tiktoken(
    source: str | os.PathLike[str] | bytes, pattern: Pattern, special_tokens: dict[str, int]
) -> Vocabulary:
    """Ranks as tiktoken keeps them: a rank is both the id of a token and its place in the order of merging.

    Any two neighbours whose bytes together are a token may merge, so every way to cut a token is listed as
    a merge.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    ids: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            encoded, rank = line.split()
            token = base64.b64decode(encoded, validate=True)
            token_id = int(rank)
        except (ValueError, binascii.Error):
            raise ValueError(
                f"{name}, line {number}: {line[:60]!r} is not a base64 token and a rank"
            ) from None
        if token in ids:
            raise ValueError(f"{name}, line {number}: {token!r} was given the rank {ids[token]} before")
        ids[token] = token_id
    if missing := [byte for byte in range(256) if bytes([byte]) not in ids]:
        raise ValueError(
            f"{name} has no rank for {len(missing)} of the 256 single bytes; the file may be cut off"
        )
    merges = [
        (ids[token[:cut]], ids[token[cut:]])
        for token in sorted(ids, key=ids.__getitem__)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    tokens = {token_id: token for token, token_id in ids.items()}
    if len(tokens) < len(ids):
        raise ValueError(f"{name} gives the same rank to several tokens")
    return Vocabulary(tokens, merges, special_tokens, pattern, whole_pieces=True)


# GGUF --------------------------------------------------------------------------------------------------


def read_gguf_metadata(metadata: Mapping[str, object]) -> Vocabulary:
    """The vocabulary in the `tokenizer.ggml.*` keys. ValueError when one is missing or its kind is not
    supported.
    """

    def key(name: str) -> Any:
        if f"tokenizer.ggml.{name}" not in metadata:
            raise ValueError(
                f"the GGUF metadata has no tokenizer.ggml.{name}; the file holds no usable tokenizer"
            )
        return metadata[f"tokenizer.ggml.{name}"]

    if (model := key("model")) != "gpt2":
        raise ValueError(f"tokenizer.ggml.model is {model!r}; only 'gpt2' (byte-level BPE) is supported")
    if (pre := key("pre")) not in GGUF_PRE:
        raise ValueError(f"tokenizer.ggml.pre is {pre!r}; supported are {', '.join(GGUF_PRE)}")
    pattern, whole_pieces, normalization = GGUF_PRE[cast(str, pre)]
    texts = [str(text) for text in key("tokens")]
    kinds = [int(kind) for kind in key("token_type")]
    if len(kinds) != len(texts):
        raise ValueError(f"the GGUF metadata has {len(texts)} tokens but {len(kinds)} token types")
    special_tokens: dict[str, int] = {}
    tokens: dict[int, bytes] = {}
    for i, (text, kind) in enumerate(zip(texts, kinds, strict=True)):
        if kind == GGUF_NORMAL:
            tokens[i] = printable_to_bytes(text)
        elif kind in (GGUF_CONTROL, GGUF_USER_DEFINED):
            if text in special_tokens:
                raise ValueError(f"special token {text!r} is listed twice, as {special_tokens[text]} and {i}")
            special_tokens[text] = i
        elif kind != GGUF_UNUSED:
            raise ValueError(f"token {i} {text!r} has token_type {kind}, which byte-level BPE does not use")
    vocab = {text: i for i, text in enumerate(texts) if i in tokens}
    merges = _merges([str(merge) for merge in key("merges")], vocab)
    return Vocabulary(tokens, merges, special_tokens, pattern, whole_pieces, normalization)

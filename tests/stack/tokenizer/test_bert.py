"""BERT's tokenizer by itself: what is cleaned away, what stays text, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer, bert_normalize

VOCABULARY = [*SPECIAL_TOKENS, "hug", "##s", "a", "cafe", "[", "]", "se", "##p", "世", "!"]


def test_normalizing_takes_away_what_the_vocabulary_does_not_have() -> None:
    assert bert_normalize("Café\x00\u200b\ufffd ΑΣ") == "cafe ας".replace("ς", "σ")
    assert bert_normalize("Café", lowercase=False) == "Café"
    assert bert_normalize("Café", strip_accents=False) == "café"
    assert bert_normalize("CAFÉ", lowercase=False, strip_accents=True) == "CAFE"
    assert bert_normalize("a\tb\nc") == "a\tb\nc"


def test_words_pieces_and_ids() -> None:
    tokenizer = BertTokenizer(VOCABULARY)
    ids = tokenizer.encode("Hugs, CAFÉ世!")
    assert [VOCABULARY[i] for i in ids] == ["hug", "##s", "[UNK]", "cafe", "世", "!"]
    assert tokenizer.decode(ids) == "hugs [UNK] cafe 世 !"
    assert tokenizer.encode("") == tokenizer.encode(" \n\x00") == []
    assert (tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask) == (0, 2, 3, 4)


def test_special_tokens_in_a_text_are_text() -> None:
    tokenizer = BertTokenizer(VOCABULARY)
    assert [VOCABULARY[i] for i in tokenizer.encode("[SEP]")] == ["[", "se", "##p", "]"]


def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no \[CLS\], \[MASK\]"):
        BertTokenizer(["[PAD]", "[UNK]", "[SEP]"])
    content: dict[str, Any] = {
        "model": {"type": "WordPiece", "vocab": {piece: i for i, piece in enumerate(VOCABULARY)}},
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    assert BertTokenizer.from_tokenizer_json(path).vocabulary == tuple(VOCABULARY)
    content["model"]["continuing_subword_prefix"] = "@@"
    content["normalizer"]["handle_chinese_chars"] = False
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tokenizer\.json.*prefix = '@@'; handle_chinese_chars = false"):
        BertTokenizer.from_tokenizer_json(path)
    content["model"] = {"type": "Unigram"}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="model type 'Unigram'"):
        BertTokenizer.from_tokenizer_json(path)
    path.write_text('{"model": ')
    with pytest.raises(ValueError, match="may be cut off"):
        BertTokenizer.from_tokenizer_json(path)

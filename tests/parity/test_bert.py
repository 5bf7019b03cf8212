"""BERT beside `tokenizers` and `transformers`, from the same folder: the same ids, the same vectors."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers

from teachllm.stack.models.encoder.bert import places
from teachllm.stack.models.encoder.loading import load_encoder
from teachllm.stack.tokenizer import bert_words
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer, bert_normalize

pytestmark = pytest.mark.parity

LENGTHS = [7, 3, 3, 12, 1]


# Left out: blocks with characters younger than the Unicode tables of `tokenizers`, which are of 2015, and 256
# rare ideographs that it forgets to split. Ours follow today's Unicode there.
BLOCKS = (
    (0x0000, 0x0530),  # Latin, Greek, Cyrillic
    (0x1E00, 0x2BFF),  # more of Latin and Greek, punctuation, arrows, mathematics
    (0x3000, 0xA000),  # kana, ideographs
    (0xAC00, 0xD7B0),  # hangul
    (0xE000, 0x10000),  # private use, compatibility forms
    (0x1F000, 0x2B820),  # emoji, ideographs
    (0x2F800, 0x2FA20),
)


@cache
def all_characters() -> str:
    """Every character of these blocks between two letters."""
    return " ".join(f"a{chr(i)}b" for first, end in BLOCKS for i in range(first, end))


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_character_is_normalized_and_cut_as_tokenizers_does(lowercase: bool) -> None:
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    splitter = pre_tokenizers.BertPreTokenizer()
    theirs = [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(all_characters()))]
    assert bert_words(bert_normalize(all_characters(), lowercase=lowercase)) == theirs


@cache
def characters() -> list[str]:
    return sorted(set(bert_normalize("Hello wörld! 你好，世界。 naïve tokenization x=1 Ελλάδα")))


def test_ids_equal_tokenizers(tmp_path: Path) -> None:
    vocabulary = [
        *SPECIAL_TOKENS,
        *(c for c in characters() if c != " "),
        "hel",
        "##lo",
        "##l",
        "world",
        "##ation",
    ]
    reference = tokenizers.Tokenizer(
        models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    reference.normalizer = normalizers.BertNormalizer()
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    for ours in (
        BertTokenizer.from_tokenizer_json(tmp_path / "tokenizer.json"),
        BertTokenizer.from_vocab_txt(tmp_path / "vocab.txt"),
    ):
        for text in (
            "Hello WÖRLD!",
            "你好，世界。Hello",
            "x=1\t\x00naïve",
            "",
            "ΕΛΛΆΣ " + "a" * 101 + " 👍🏽",
        ):
            assert ours.encode(text) == reference.encode(text).ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT, written by `transformers`."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=16,
        layer_norm_eps=1e-6,
        initializer_range=0.3,
    )
    path = tmp_path_factory.mktemp("bert")
    transformers.BertModel(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("trains", [False, True], ids=["reading", "training"])
def test_vectors_and_gradients_equal_transformers(folder: Path, trains: bool) -> None:
    ours, theirs = load_encoder(folder), transformers.BertModel.from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(50, (sum(LENGTHS),), generator=generator)
    types = torch.randint(2, (sum(LENGTHS),), generator=generator)
    padded, padded_types = torch.zeros(2, len(LENGTHS), max(LENGTHS), dtype=torch.long)
    seen = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for row, (part, kinds) in enumerate(zip(tokens.split(LENGTHS), types.split(LENGTHS), strict=True)):
        padded[row, : len(part)], padded_types[row, : len(part)], seen[row, : len(part)] = part, kinds, 1
    with torch.set_grad_enabled(trains):
        found = ours(tokens, LENGTHS, types)
        expected = theirs(padded, seen, padded_types).last_hidden_state[seen.bool()]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if trains:
        found.square().sum().backward()
        expected.square().sum().backward()
        gradient = theirs.get_parameter("embeddings.word_embeddings.weight").grad
        torch.testing.assert_close(ours.embedding.weight.grad, gradient, rtol=1e-4, atol=1e-4)


def test_a_file_with_a_head_is_read_as_one_without(folder: Path, tmp_path: Path) -> None:
    with_head = transformers.BertForMaskedLM.from_pretrained(folder)
    with_head.save_pretrained(tmp_path)
    tokens = torch.arange(9)
    with torch.no_grad():
        assert torch.equal(load_encoder(tmp_path)(tokens, [9]), load_encoder(folder)(tokens, [9]))


def test_places() -> None:
    assert places([2, 1, 3]).tolist() == [0, 1, 0, 0, 1, 2]

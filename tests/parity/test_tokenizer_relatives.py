"""The relatives of byte-level BPE, its training, and a real vocabulary, beside the reference libraries.

WordPiece and Unigram give the pieces of `tokenizers` for the same vocabulary; BPE training learns the merges
of `tokenizers` and of `rustbpe`; the vocabulary in the SmolLM2 GGUF file gives the same ids.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from teachllm.stack.tokenizer import (
    GPT2,
    Tokenizer,
    bert_words,
    count_pieces,
    count_space_words,
    learn_merges,
    sentencepiece_normalize,
    train_bpe,
    train_unigram,
    train_wordpiece,
    unigram_encode,
    wordpiece_encode,
)

pytestmark = pytest.mark.parity

WORDS = [
    "the", "cat", "sat", "on", "the", "mat", "with", "a", "hat", "and", "that", "is", "it", "don't",
    "unaffable", "tokenization", "tokens", "tokenize", "naïve", "résumé", "x=1", "a.b", "2024", "3.14",
    "HelloWorld", "👍🏽", "é", "ﬁ", "１２", "的", "猫", "坐在", "垫子", "上", "语言模型", "词元",
    "分词器", "你好", "世界", "龍", "한국어", "ひらがな",
]  # fmt: skip


@cache
def sentences(count: int = 5_000, seed: int = 5) -> list[str]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        words = rng.choices(WORDS, k=rng.randrange(1, 12))
        made.append(
            "".join(word + rng.choice((" ", " ", "", ", ", "  ", "。", "\n", "\t")) for word in words)
        )
    return made


def test_wordpiece_pieces_equal_tokenizers() -> None:
    words = Counter(word for text in sentences()[:800] for word in bert_words(text))
    vocabulary = train_wordpiece(words, 260)
    for missing in ("x", "##u", "龍"):
        assert missing in vocabulary
        vocabulary.remove(missing)  # so that some words are unknown
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    reference = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    reference.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    n_unknown = 0
    for text in sentences():
        pieces = [piece for word in bert_words(text) for piece in wordpiece_encode(word, ids)]
        assert pieces == reference.encode(text).tokens, text
        n_unknown += pieces.count("[UNK]")
    assert n_unknown > 100


@pytest.mark.parametrize("byte_fallback", [False, True])
def test_unigram_pieces_equal_tokenizers(byte_fallback: bool) -> None:
    logprobs = train_unigram(count_space_words(sentences()[:300]), 150)
    del logprobs["龍"]
    if byte_fallback:
        logprobs |= {f"<0x{byte:02X}>": -20.0 for byte in range(256)}
    vocabulary = [("<unk>", 0.0), *logprobs.items()]
    reference = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=byte_fallback))
    n_unknown = 0
    for text in sentences():
        normal = sentencepiece_normalize(text)
        pieces = unigram_encode(normal, dict(vocabulary), byte_fallback=byte_fallback)
        ids = reference.encode(normal).ids
        assert pieces == [vocabulary[i][0] for i in ids], text
        n_unknown += sum(piece == "<unk>" or piece.startswith("<0x") for piece in pieces)
    assert n_unknown > 100


def test_training_learns_the_merges_of_the_tokenizers_trainer() -> None:
    """Its ties go to the smaller ids, given by code point: here a byte is a character, in byte order."""
    counts = count_pieces(sentences()[:600])
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 400,
        initial_alphabet=[chr(0x4E00 + byte) for byte in range(256)],
        limit_alphabet=256,
        show_progress=False,
    )
    reference = tokenizers.Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    spelt = {"".join(chr(0x4E00 + byte) for byte in piece): count for piece, count in counts.items()}
    reference.train_from_iterator((" ".join([piece] * count) for piece, count in spelt.items()), trainer)
    listed = json.loads(reference.to_str())["model"]["merges"]
    theirs = [tuple(bytes(ord(char) - 0x4E00 for char in part) for part in merge) for merge in listed]
    spelling = [bytes([byte]) for byte in range(256)]
    ours = []
    for left, right in train_bpe(counts, 400):
        ours.append((spelling[left], spelling[right]))
        spelling.append(spelling[left] + spelling[right])
    assert ours == theirs


def test_training_learns_the_merges_of_rustbpe() -> None:
    rustbpe = pytest.importorskip("rustbpe", reason="rustbpe is in the bench group, not in the test group")
    texts = sentences()
    reference = rustbpe.Tokenizer()
    reference.train_from_iterator(iter(texts), 256 + 600, pattern=GPT2.regexes[0])
    theirs = [bytes(token) for token, _ in reference.get_mergeable_ranks()]
    ours = [merge.token for merge, _ in zip(learn_merges(texts), range(600), strict=False)]
    assert theirs[256:] == ours


def test_the_real_smollm2_vocabulary_gives_the_ids_of_tokenizers(tmp_path: Path) -> None:
    assets = pytest.importorskip("teachllm.stack.data.assets", reason="the room `data` is not there yet")
    path = assets.find_asset("smollm2-135m-instruct")
    if path is None:
        pytest.skip(
            "the SmolLM2-135M-Instruct asset is not on this machine (teachllm doctor says how to get it)"
        )
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    metadata = {key: field.contents() for key, field in fields.items() if key.startswith("tokenizer.ggml.")}
    tokenizer = Tokenizer.from_gguf_metadata(metadata)
    printable = list(metadata["tokenizer.ggml.tokens"])
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    reference = tokenizers.Tokenizer(models.BPE({text: i for i, text in enumerate(printable)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    reference.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    reference.decoder = decoders.ByteLevel()
    reference.add_special_tokens(list(tokenizer.special_tokens))
    assert tokenizer.vocab_size == reference.get_vocab_size() == 49_152
    for text in [*sentences(20_000, seed=8), "<|im_start|>user\n你好<|im_end|>\n", "\x04\x13 tab\there"]:
        assert tokenizer.encode(text, special="all") == reference.encode(text).ids, text
    everything = "\n".join(sentences(20_000, seed=8))
    assert tokenizer.encode_to_array(everything).tolist() == reference.encode(everything).ids

"""BERT's tokenizer: text cleaned, cut into words, and every word into pieces of a fixed vocabulary.

Devlin et al. 2018, arXiv:1810.04805. Most embedding models that grew out of BERT read their texts so: MiniLM,
the English and the Chinese BGE, E5.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import regex

from teachllm.stack.tokenizer.wordpiece import CONTINUES, bert_words, wordpiece_encode

CACHED_WORDS = 1 << 16
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_INVISIBLE = regex.compile(r"[\uFFFD\p{Cc}\p{Cf}\p{Co}\p{Cs}--[\t\n\r]]", regex.VERSION1)
_ACCENTS = regex.compile(r"\p{Mn}+")


def bert_normalize(text: str, *, lowercase: bool = True, strip_accents: bool | None = None) -> str:
    """Text without control characters; in lower case and without accents, if the vocabulary is so.

    strip_accents: None as `lowercase`, which is what BERT's own code did.

    >>> bert_normalize("Caf\\u00e9\\u200b\\x00")
    'cafe'
    """
    if not text.isascii() or not text.isprintable():
        text = _INVISIBLE.sub("", text)
    if (lowercase if strip_accents is None else strip_accents) and not text.isascii():
        text = _ACCENTS.sub("", unicodedata.normalize("NFD", text))
    if lowercase:
        # Python writes a sigma at the end of a word as ς; letter by letter it is always σ.
        text = text.replace("Σ", "σ").lower()
    return text


class BertTokenizer:
    """Text to ids, by words and their pieces. Thread-safe; cheap to share.

    Text is data: "[SEP]" in it is three marks and a word, never the token that separates two texts.
    """

    def __init__(
        self, vocabulary: Sequence[str], *, lowercase: bool = True, strip_accents: bool | None = None
    ) -> None:
        """vocabulary: the piece of each id. ValueError if one of `SPECIAL_TOKENS` is missing."""
        self.vocabulary = tuple(vocabulary)
        self.lowercase, self.strip_accents = lowercase, strip_accents
        self._ids = {piece: i for i, piece in enumerate(self.vocabulary)}
        if missing := [token for token in SPECIAL_TOKENS if token not in self._ids]:
            raise ValueError(
                f"the vocabulary has no {', '.join(missing)}; BERT's has all of {SPECIAL_TOKENS}"
            )
        self.special_tokens = {token: self._ids[token] for token in SPECIAL_TOKENS}
        self.pad, self.unk, self.cls, self.sep, self.mask = self.special_tokens.values()
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def from_tokenizer_json(cls, path: str | os.PathLike[str]) -> BertTokenizer:
        """Read a Hugging Face `tokenizer.json`. ValueError names the file and what in it we do not do."""
        path = Path(path)
        try:
            return cls(**_read_tokenizer_json(json.loads(path.read_text(encoding="utf-8"))))
        except (json.JSONDecodeError, UnicodeDecodeError) as problem:
            raise ValueError(f"{path} is not JSON; the file may be cut off: {problem}") from None
        except ValueError as problem:
            raise ValueError(f"{path}: {problem}") from None
        except (KeyError, TypeError, AttributeError) as problem:
            what = f"{type(problem).__name__} {problem}"
            raise ValueError(f"{path} is not laid out like a tokenizer.json: {what}") from None

    @classmethod
    def from_vocab_txt(
        cls, path: str | os.PathLike[str], *, lowercase: bool = True, strip_accents: bool | None = None
    ) -> BertTokenizer:
        """Read BERT's own `vocab.txt`: a piece a line, in the order of their ids."""
        try:
            pieces = Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
            return cls(pieces, lowercase=lowercase, strip_accents=strip_accents)
        except ValueError as problem:
            raise ValueError(f"{path}: {problem}") from None

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without [CLS] and [SEP]: these are the caller's to add."""
        ids: list[int] = []
        normalized = bert_normalize(text, lowercase=self.lowercase, strip_accents=self.strip_accents)
        for word in bert_words(normalized):
            pieces = self._cache.get(word)
            if pieces is None:
                pieces = [self._ids[piece] for piece in wordpiece_encode(word, self._ids)]
                if len(self._cache) >= CACHED_WORDS:
                    self._cache.clear()
                self._cache[word] = pieces
            ids += pieces
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The pieces of `ids`, words apart: what the model read, which is less than what was written."""
        return " ".join(self.vocabulary[i] for i in ids).replace(f" {CONTINUES}", "")

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def __repr__(self) -> str:
        return f"BertTokenizer(vocab_size={self.vocab_size}, lowercase={self.lowercase})"


def _read_tokenizer_json(content: Any) -> dict[str, Any]:
    """The arguments of `BertTokenizer`."""
    model, normalizer = content["model"], content.get("normalizer") or {}
    if model.get("type") != "WordPiece":
        raise ValueError(f"model type {model.get('type')!r} is not supported; only WordPiece is")
    expected = {"unk_token": "[UNK]", "continuing_subword_prefix": CONTINUES, "max_input_chars_per_word": 100}
    problems = [
        f"{name} = {model[name]!r}" for name, value in expected.items() if model.get(name, value) != value
    ]
    if normalizer.get("type") != "BertNormalizer":
        problems.append(f"normalizer {normalizer.get('type')!r}")
    problems += [
        f"{name} = false" for name in ("clean_text", "handle_chinese_chars") if not normalizer.get(name)
    ]
    if (splitter := (content.get("pre_tokenizer") or {}).get("type")) != "BertPreTokenizer":
        problems.append(f"pre-tokenizer {splitter!r}")
    if problems:
        raise ValueError(f"not supported: {'; '.join(problems)}")
    vocab: dict[str, int] = model["vocab"]
    vocabulary = sorted(vocab, key=vocab.__getitem__)
    if [vocab[piece] for piece in vocabulary] != list(range(len(vocab))):
        raise ValueError(f"the ids of {len(vocab)} pieces do not run from 0 to {len(vocab) - 1}")
    return {
        "vocabulary": vocabulary,
        "lowercase": bool(normalizer.get("lowercase", True)),
        "strip_accents": normalizer.get("strip_accents"),
    }

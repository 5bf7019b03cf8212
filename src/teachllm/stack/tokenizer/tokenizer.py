"""The tokenizer that every caller uses: text to ids and back, by byte-level BPE."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import regex

from teachllm.stack.tokenizer import formats
from teachllm.stack.tokenizer.bpe import Merge, Pair, bpe_encode, bpe_encode_long, iter_merges
from teachllm.stack.tokenizer.merge_table import merge_table
from teachllm.stack.tokenizer.pretokenize import GPT2, Pattern, as_pattern, split_pieces
from teachllm.stack.tokenizer.vocabulary import Vocabulary

if TYPE_CHECKING:
    from teachllm.stack.tokenizer.fast.encoder import Encoder

Special = Literal["none", "all"] | Collection[str]
LONG_PIECE = 64  # bytes: from here on the heap beats rescanning
CACHED_PIECES = 1 << 16
FAST_FROM = 1 << 18  # characters: from here on the compiled code is worth loading


class Tokenizer:
    """Byte-level BPE over a Vocabulary. Thread-safe; cheap to share, expensive to build.

    Text is data: "<|endoftext|>" in it is encoded as its characters unless `special` says otherwise.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.special_tokens: dict[str, int] = dict(vocabulary.special_tokens)
        self._bytes = vocabulary.tokens | {i: text.encode() for text, i in self.special_tokens.items()}
        self._token_ids = {token: i for i, token in vocabulary.tokens.items()}
        self._missing_bytes = vocabulary.missing_bytes
        self._table = merge_table(vocabulary)
        self._any_special = _any_of(self.special_tokens)
        self._cache: dict[str, list[int]] = {}
        self._fast_encoders: list[Encoder] = []  # idle ones; each thread takes one and puts it back

    # Constructors --------------------------------------------------------------------------------------

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        *,
        pattern: Pattern | str = GPT2,
        special_tokens: Collection[str] = (),
        progress: Callable[[Merge], None] | None = None,
    ) -> Tokenizer:
        """Learn a vocabulary of `vocab_size` ids: 256 bytes, then merges, then the special tokens.

        Fewer ids when the texts run out of pairs. `progress` is called after every merge; what it raises
        stops the training. Special tokens found in the texts are text. ValueError when vocab_size < 256 +
        special tokens.
        """
        special_tokens = list(special_tokens)
        num_merges = vocab_size - 256 - len(special_tokens)
        if num_merges < 0:
            raise ValueError(
                f"vocab_size is {vocab_size}, but the 256 bytes and {len(special_tokens)} special tokens "
                f"need at least {256 + len(special_tokens)}"
            )
        merges = []
        for merge in islice(learn_merges(texts, pattern), num_merges):
            merges.append(merge.pair)
            if progress is not None:
                progress(merge)
        return cls.from_merges(merges, pattern=pattern, special_tokens=special_tokens)

    @classmethod
    def from_merges(
        cls, merges: Iterable[Pair], *, pattern: Pattern | str = GPT2, special_tokens: Collection[str] = ()
    ) -> Tokenizer:
        """The tokenizer that merges such as those of `train_bpe` make: 256 bytes, an id a merge, special
        tokens.
        """
        merges = list(merges)
        special_tokens = list(special_tokens)
        if repeated := [text for text, count in Counter(special_tokens).items() if count > 1]:
            raise ValueError(f"special tokens given more than once: {repeated}")
        tokens = {byte: bytes([byte]) for byte in range(256)}
        for rank, (left, right) in enumerate(merges):
            if left not in tokens or right not in tokens:
                raise ValueError(
                    f"merge {rank} joins ids {left} and {right}, but only ids below {len(tokens)} exist yet"
                )
            tokens[len(tokens)] = tokens[left] + tokens[right]
        specials = {text: len(tokens) + i for i, text in enumerate(special_tokens)}
        return cls(Vocabulary(tokens, merges, specials, as_pattern(pattern)))

    @classmethod
    def from_tokenizer_json(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a Hugging Face `tokenizer.json` with byte-level BPE. ValueError says what a file needs that
        we lack.
        """
        return cls(formats.read_tokenizer_json(Path(path)))

    @classmethod
    def from_tiktoken(
        cls,
        source: str | os.PathLike[str] | bytes,
        pattern: Pattern | str,
        special_tokens: Mapping[str, int] | None = None,
    ) -> Tokenizer:
        """Read tiktoken ranks (lines of base64 and rank), from a file or as bytes."""
        return cls(formats.read_tiktoken(source, as_pattern(pattern), dict(special_tokens or {})))

    @classmethod
    def from_gguf_metadata(cls, metadata: Mapping[str, object]) -> Tokenizer:
        """Read the `tokenizer.ggml.*` keys of a GGUF file whose tokenizer is byte-level BPE ("gpt2")."""
        return cls(formats.read_gguf_metadata(metadata))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `tokenizer.json` that the `tokenizers` library opens with the same ids."""
        formats.write_tokenizer_json(self.vocabulary, Path(path))

    # Text to ids ---------------------------------------------------------------------------------------

    def encode(self, text: str, *, special: Special = "none") -> list[int]:
        """Ids of `text`. Adds nothing: beginning and end tokens are the caller's to add.

        special: which special tokens are recognised in the text: "none", "all", or a set of them.
        Lone surrogates, which no UTF-8 can hold, count as U+FFFD.
        """
        ids: list[int] = []
        for part in self._split_special(_without_surrogates(text), special):
            if isinstance(part, int):
                ids.append(part)
            else:
                encoded = self._encode_ordinary(part)
                ids += encoded if isinstance(encoded, list) else encoded.tolist()
        return ids

    def encode_to_array(self, text: str, *, special: Special = "none") -> np.ndarray:
        """`encode` as an int32 array: for corpora, where a Python integer for every id takes longer than
        the rest.
        """
        parts = [
            np.array([part] if isinstance(part, int) else self._encode_ordinary(part), dtype=np.int32)
            for part in self._split_special(_without_surrogates(text), special)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def encode_documents(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """`encode_to_array` of each text, by compiled code from the first one on: for corpora of many short
        texts, none of which would be worth loading it.
        """
        if (encoder := self._fast_encoder(FAST_FROM)) is not None:
            self._fast_encoders.append(encoder)
        for text in texts:
            yield self.encode_to_array(text)

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of bytes that need not be UTF-8: without a normalization, `decode_bytes` gives them back
        exactly.

        A byte that is not part of a valid character counts as one symbol that is neither letter, digit nor
        space.
        """
        encoded = self._encode_ordinary(data.decode("utf-8", "surrogateescape"))
        return encoded if isinstance(encoded, list) else encoded.tolist()

    def _encode_ordinary(self, text: str) -> list[int] | np.ndarray:
        if self.vocabulary.normalization is not None:
            text = unicodedata.normalize(self.vocabulary.normalization, text)
        encoder = self._fast_encoder(len(text))
        if encoder is None:
            return self._encode_readable(text)
        ids = encoder.encode(text.encode("utf-8", "surrogateescape"))
        self._fast_encoders.append(encoder)  # not when interrupted: it may then be half-way through a piece
        return ids

    def _fast_encoder(self, text_length: int) -> Encoder | None:
        """A compiled encoder that no other thread is using, or None where the readable way is quicker or
        the only one.

        Loading the compiled code takes a second, and compiling it several, once on a machine: a short text
        never waits for that.
        """
        if not self._fast_encoders and text_length < FAST_FROM:
            return None
        try:
            return self._fast_encoders.pop()
        except IndexError:
            from teachllm.stack.tokenizer.fast.encoder import Encoder, can_encode

            return Encoder(self.vocabulary, self._table) if can_encode(self.vocabulary, self._table) else None

    def _encode_readable(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in split_pieces(text, self.vocabulary.pattern):
            piece_ids = self._cache.get(piece)
            if piece_ids is None:
                piece_ids = self._encode_piece(piece.encode("utf-8", "surrogateescape"))
                if len(self._cache) >= CACHED_PIECES:
                    self._cache.clear()
                if len(piece) < LONG_PIECE:
                    self._cache[piece] = piece_ids
            ids += piece_ids
        return ids

    def _encode_piece(self, piece: bytes) -> list[int]:
        if self.vocabulary.whole_pieces and (token_id := self._token_ids.get(piece)) is not None:
            return [token_id]
        piece = piece.translate(None, self._missing_bytes)
        symbols = (bpe_encode if len(piece) < LONG_PIECE else bpe_encode_long)(piece, self._table.ranks)
        return [self._table.ids[symbol] for symbol in symbols]

    def _split_special(self, text: str, special: Special) -> Iterator[str | int]:
        """The stretches of ordinary text and, between them, the ids of the special tokens that are
        recognised.
        """
        position = 0
        if (recognised := self._recognised(special)) is not None:
            for match in recognised.finditer(text):
                yield text[position : match.start()]
                yield self.special_tokens[match.group()]
                position = match.end()
        yield text[position:]

    def _recognised(self, special: Special) -> regex.Pattern[str] | None:
        """What to look for in a text; None for nothing."""
        if special == "none":
            return None
        if special == "all":
            return self._any_special
        if isinstance(special, str):
            raise ValueError(f'special is {special!r}: give "none", "all" or a set of special tokens')
        if unknown := sorted(set(special) - self.special_tokens.keys()):
            raise ValueError(
                f"not special tokens of this vocabulary: {unknown}; it has {list(self.special_tokens)}"
            )
        return _any_of(special)

    # Ids to text ---------------------------------------------------------------------------------------

    def decode(
        self, ids: Iterable[int] | np.ndarray, *, errors: str = "replace", skip_special: bool = False
    ) -> str:
        """Text of `ids`, integers or a one-dimensional array. `errors` is that of bytes.decode: ids may end
        in the middle of a character.
        """
        return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[int] | np.ndarray, *, skip_special: bool = False) -> bytes:
        """The bytes that `ids` spell. ValueError for an id that is not in the vocabulary."""
        if isinstance(ids, np.ndarray):
            ids = ids.tolist()
        if skip_special:
            skipped = set(self.special_tokens.values())
            ids = [token_id for token_id in ids if token_id not in skipped]
        try:
            return b"".join(map(self._bytes.__getitem__, ids))
        except KeyError as unknown:
            raise self._unknown_id(unknown.args[0]) from None

    def id_to_bytes(self, token_id: int) -> bytes:
        """The bytes of one token; of a special token, its text."""
        try:
            return self._bytes[token_id]
        except KeyError:
            raise self._unknown_id(token_id) from None

    def token_to_id(self, token: str | bytes) -> int | None:
        """Id of a special token or of an ordinary one given as text or bytes; None when there is none."""
        if isinstance(token, str):
            if token in self.special_tokens:
                return self.special_tokens[token]
            token = token.encode("utf-8", "surrogatepass")
        return self._token_ids.get(token)

    @property
    def vocab_size(self) -> int:
        """The largest id plus one: how many rows an embedding table needs."""
        return max(self._bytes, default=-1) + 1

    def __repr__(self) -> str:
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, pattern={self.vocabulary.pattern.name!r}, "
            f"special_tokens={len(self.special_tokens)})"
        )

    def _unknown_id(self, token_id: object) -> ValueError:
        return ValueError(
            f"id {token_id!r} is not in this vocabulary, whose ids run from 0 to {self.vocab_size - 1}"
        )


def learn_merges(texts: Iterable[str], pattern: Pattern | str = GPT2) -> Iterator[Merge]:
    """The merges that training on `texts` learns, one by one, until no pair is left: for showing, and
    stopping, a training while it runs.

    The most frequent pair goes first, among equals the one of smaller ids. These are the merges of
    `iter_merges(count_pieces(texts))`, learned by compiled code when there is enough text.
    """
    if isinstance(texts, str):
        raise TypeError("texts is one string; give an iterable of texts, such as [text]")
    pattern = as_pattern(pattern)
    texts = iter(texts)
    head: list[str] = []
    n_characters = 0
    while n_characters < FAST_FROM and (text := next(texts, None)) is not None:
        head.append(text)
        n_characters += len(text)
    if n_characters >= FAST_FROM:
        from teachllm.stack.tokenizer.fast.pieces import has_state_machine
        from teachllm.stack.tokenizer.fast.trainer import count_pieces_fast, iter_merges_fast

        if has_state_machine(pattern):
            encoded = (_without_surrogates(text).encode() for text in chain(head, texts))
            return iter_merges_fast(*count_pieces_fast(encoded, pattern))
    return iter_merges(count_pieces(chain(head, texts), pattern))


def count_pieces(texts: Iterable[str], pattern: Pattern = GPT2) -> Counter[bytes]:
    """How often each piece occurs: what `train_bpe` learns from."""
    counts: Counter[bytes] = Counter()
    for text in texts:
        pieces = Counter(split_pieces(_without_surrogates(text), pattern))
        counts.update({piece.encode(): count for piece, count in pieces.items()})
    return counts


def _any_of(texts: Collection[str]) -> regex.Pattern[str] | None:
    """A regular expression that finds any of `texts`, the longest where several begin; None when there are
    none.
    """
    longest_first = sorted(texts, key=len, reverse=True)
    return regex.compile("|".join(map(regex.escape, longest_first))) if texts else None


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text

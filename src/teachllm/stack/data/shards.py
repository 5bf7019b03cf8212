"""Token shards: a corpus as ids on disk, written once, read through memory maps.

A folder holds the ids of all documents, one after the other, in files `tokens-00000.bin`, … of uint16 or
uint32; `documents.bin`, which says where each document begins; and `index.json`, which is written last. A
folder without it is not a corpus, so a writer that is killed leaves none that looks whole.

Each document is written as its end-of-text token and then its own ids. The token opens a document, and
predicting it closes the one before: every token of the stream is a fair target of the one in front of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from teachllm.stack.tokenizer import Tokenizer

INDEX = "index.json"
DOCUMENTS = "documents.bin"
END_OF_TEXT = "<|endoftext|>"
FORMAT = 1
SHARD_TOKENS = 1 << 28  # ids a file, 0.5 or 1 GB: a document that begins in a file ends in it
BUFFERED_TOKENS = 1 << 20


class ShardError(Exception):
    """A corpus could not be written or read; the message says why and what to do."""


class ShardWriter:
    """Writes a corpus into `folder`, document by document; `finish` makes it one.

    As a context manager it finishes when the block ends, and leaves no index when the block raises.
    Raises `ShardError` when the folder holds a corpus already or cannot be written (a full disk).
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        *,
        end_of_text: str = END_OF_TEXT,
        shard_tokens: int = SHARD_TOKENS,
    ) -> None:
        if end_of_text not in tokenizer.special_tokens:
            raise ValueError(
                f"{end_of_text!r} is not a special token of this tokenizer, which has "
                f"{list(tokenizer.special_tokens)}; documents cannot be kept apart without one"
            )
        self.folder = folder
        self._end_of_text = tokenizer.special_tokens[end_of_text]
        self._vocab_size = tokenizer.vocab_size
        self._tokenizer = tokenizer_fingerprint(tokenizer)
        self._dtype = dtype_for(tokenizer.vocab_size)
        self._shard_tokens = shard_tokens
        self._buffer: list[np.ndarray] = []
        self._buffered = 0
        self._documents: list[tuple[int, int]] = []  # of the buffer: where each begins, bytes of its text
        self._sizes: list[int] = []  # ids in each file
        self._n_tokens = self._n_documents = self._n_bytes = 0
        self._digest = hashlib.sha256()
        self._opener = np.array([self._end_of_text], dtype=self._dtype)
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / INDEX).exists():
                raise ShardError(f"{folder} holds a corpus already. Give another folder, or remove this one.")
            self._tokens_file: BinaryIO | None = None
            self._documents_file: BinaryIO = open(folder / DOCUMENTS, "wb")  # noqa: SIM115  (until `finish`)

    def add(self, tokens: Sequence[int] | np.ndarray, n_bytes: int) -> None:
        """Append one document: its ids, without the end-of-text token, and the UTF-8 bytes they stand for.

        ValueError for ids that the tokenizer does not have, and for the end-of-text token among them.
        """
        ids = np.asarray(tokens)
        if ids.ndim != 1 or not (len(ids) == 0 or np.issubdtype(ids.dtype, np.integer)):
            raise ValueError(f"a document is one row of ids; got {ids.dtype} of shape {ids.shape}")
        if len(ids) and not (ids.min() >= 0 and ids.max() < self._vocab_size):
            raise ValueError(
                f"document {self._n_documents} holds ids from {ids.min()} to {ids.max()}, "
                f"but the tokenizer's run from 0 to {self._vocab_size - 1}"
            )
        if (ids == self._end_of_text).any():
            raise ValueError(
                f"document {self._n_documents} holds the end-of-text token {self._end_of_text}, which the "
                "writer puts between documents itself"
            )
        self._documents.append((self._n_tokens, n_bytes))
        self._buffer += (self._opener, ids.astype(self._dtype))
        self._buffered += 1 + len(ids)
        self._n_tokens += 1 + len(ids)
        self._n_documents += 1
        self._n_bytes += n_bytes
        if self._buffered >= min(BUFFERED_TOKENS, self._shard_tokens):
            with self._explained():
                self._flush()

    def finish(self) -> TokenShards:
        """Write what is left and then the index; the corpus, opened."""
        with self._explained():
            self._flush()
            self._close_tokens()
            _sync_and_close(self._documents_file)
            index = {
                "format": FORMAT,
                "dtype": self._dtype.name,
                "vocab_size": self._vocab_size,
                "end_of_text": self._end_of_text,
                "tokenizer": self._tokenizer,
                "n_tokens": self._n_tokens,
                "n_documents": self._n_documents,
                "n_bytes": self._n_bytes,
                "shards": self._sizes,
                "sha256": self._digest.hexdigest(),
            }
            draft = self.folder / f".{INDEX}"
            with open(draft, "wb") as file:
                file.write(json.dumps(index, indent=1).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.folder / INDEX)
        return TokenShards(self.folder)

    def _flush(self) -> None:
        if not self._buffered:
            return
        ids = np.concatenate(self._buffer)
        if self._tokens_file is None:
            self._tokens_file = open(self.folder / shard_name(len(self._sizes)), "wb")  # noqa: SIM115
            self._sizes.append(0)
        data = _little_endian(ids)
        self._tokens_file.write(data)
        self._digest.update(data)
        self._documents_file.write(_little_endian(np.array(self._documents, dtype=np.int64)))
        self._sizes[-1] += len(ids)
        self._buffer.clear()
        self._documents.clear()
        self._buffered = 0
        if self._sizes[-1] >= self._shard_tokens:
            self._close_tokens()

    def _close_tokens(self) -> None:
        if self._tokens_file is not None:
            _sync_and_close(self._tokens_file)
            self._tokens_file = None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """OSErrors as `ShardError`s that say what to do."""
        try:
            yield
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                written = self._n_tokens * self._dtype.itemsize >> 20
                why = f"no room is left, after {written:,} MB. Make room, or give a folder on a larger disk"
            else:
                why = f"{problem}. Put that right, or give a folder that can be written"
            raise ShardError(f"the corpus could not be written into {self.folder}: {why}.") from problem

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            for file in (self._tokens_file, self._documents_file):
                if file is not None:
                    with contextlib.suppress(
                        OSError
                    ):  # what it still holds cannot be written, and need not be
                        file.close()


class TokenShards:
    """A corpus that `ShardWriter` wrote. Nothing is loaded: ids come from the disk as they are read.

    Raises `ShardError` when the folder holds no whole corpus.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = _read_index(folder)
        self.dtype = np.dtype(index["dtype"])
        self.vocab_size: int = index["vocab_size"]
        self.end_of_text: int = index["end_of_text"]
        self.tokenizer: str = index["tokenizer"]
        self.n_tokens: int = index["n_tokens"]
        self.n_documents: int = index["n_documents"]
        self.n_bytes: int = index["n_bytes"]
        self.sha256: str = index["sha256"]
        files = [folder / shard_name(i) for i in range(len(index["shards"]))]
        self._shards = [_map(*file, self.dtype) for file in zip(files, index["shards"], strict=True)]
        self._ends = np.cumsum(index["shards"], dtype=np.int64)
        documents = _map(folder / DOCUMENTS, 2 * self.n_documents, np.dtype(np.int64)).reshape(-1, 2)
        self.document_starts: np.ndarray = documents[:, 0]
        """Where each document begins in the stream: the place of its end-of-text token. int64."""
        self.document_bytes: np.ndarray = documents[:, 1]
        """UTF-8 bytes of each document's text. int64."""

    def __len__(self) -> int:
        """Ids in the stream, the end-of-text tokens included."""
        return self.n_tokens

    def read(self, start: int, stop: int) -> np.ndarray:
        """The ids start, …, stop − 1 of the stream, in the corpus's dtype; a view where one file has all.

        IndexError beyond the ends.
        """
        if not 0 <= start <= stop <= self.n_tokens:
            raise IndexError(f"tokens {start} to {stop} of a corpus that has {self.n_tokens}")
        parts = []
        number = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            shard = self._shards[number]
            shift = int(self._ends[number]) - len(shard)
            parts.append(shard[start - shift : stop - shift])
            start += len(parts[-1])
            number += 1
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, self.dtype), *parts])

    def document(self, number: int) -> np.ndarray:
        """The ids of one document, its end-of-text token first. IndexError when there is no such document."""
        if not 0 <= number < self.n_documents:
            raise IndexError(f"document {number} of a corpus that has {self.n_documents}")
        is_last = number + 1 == self.n_documents
        stop = self.n_tokens if is_last else int(self.document_starts[number + 1])
        return self.read(int(self.document_starts[number]), stop)

    def require(self, tokenizer: Tokenizer) -> None:
        """Raise `ShardError` unless it was this tokenizer that made the ids."""
        if (given := tokenizer_fingerprint(tokenizer)) != self.tokenizer:
            raise ShardError(
                f"{self.folder} was written with another tokenizer (fingerprint {self.tokenizer[:12]}, "
                f"vocabulary of {self.vocab_size}) than the one given ({given[:12]}, vocabulary of "
                f"{tokenizer.vocab_size}). Use the tokenizer it was written with, or prepare the data again."
            )

    def verify(self) -> None:
        """Read everything and compare the hash. Raises `ShardError` when a byte has changed."""
        digest = hashlib.sha256()
        for shard in self._shards:
            for start in range(0, len(shard), BUFFERED_TOKENS):
                digest.update(_little_endian(shard[start : start + BUFFERED_TOKENS]))
        if digest.hexdigest() != self.sha256:
            raise ShardError(f"the tokens in {self.folder} are damaged. Prepare the data again.")

    def __repr__(self) -> str:
        return f"TokenShards({str(self.folder)!r}: {self.n_tokens:,} tokens, {self.n_documents:,} documents)"


def dtype_for(vocab_size: int) -> np.dtype[Any]:
    """uint16 where every id fits into two bytes, else uint32."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def shard_name(number: int) -> str:
    return f"tokens-{number:05}.bin"


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """SHA-256 of all that decides which ids a text gets; the same for equal vocabularies from any file."""
    vocabulary = tokenizer.vocabulary
    content = {
        "tokens": sorted((i, token.hex()) for i, token in vocabulary.tokens.items()),
        "merges": vocabulary.merges,
        "special_tokens": sorted(vocabulary.special_tokens.items()),
        "pattern": vocabulary.pattern.regexes,
        "whole_pieces": vocabulary.whole_pieces,
        "normalization": vocabulary.normalization,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except FileNotFoundError:
        what = "is not there" if not folder.exists() else f"has no {INDEX}: writing it was not finished"
        raise ShardError(f"{folder} holds no corpus: it {what}. Prepare the data again.") from None
    except (OSError, ValueError) as problem:
        raise ShardError(f"{folder / INDEX} cannot be read: {problem}. Prepare the data again.") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        given = index.get("format") if isinstance(index, dict) else None
        raise ShardError(f"{folder} has format {given}, not {FORMAT}. Prepare the data again.")
    return index


def _map(file: Path, size: int, dtype: np.dtype[Any]) -> np.ndarray:
    """A file as a read-only array that lies on disk. Raises `ShardError` when it is not as long as it was."""
    try:
        found = file.stat().st_size
    except OSError as problem:
        raise ShardError(f"{file} cannot be read: {problem}. Prepare the data again.") from None
    if found != size * dtype.itemsize:
        raise ShardError(
            f"{file} has {found:,} bytes instead of {size * dtype.itemsize:,}: it is cut off or another "
            "file. Prepare the data again."
        )
    if size == 0:  # nothing can be mapped
        return np.empty(0, dtype)
    # As a plain array: slicing the subclass takes five times as long.
    return np.memmap(file, dtype=dtype.newbyteorder("<"), mode="r").view(np.ndarray)


def _little_endian(ids: np.ndarray) -> bytes:
    return ids.astype(ids.dtype.newbyteorder("<"), copy=False).tobytes()


def _sync_and_close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()

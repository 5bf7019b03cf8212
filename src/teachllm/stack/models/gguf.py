"""Reading GGUF: one file with a model's sizes, its tokenizer and its (often quantized) weights.

A file is a header, key-value metadata, a list of tensors, and their data. Nothing in it is trusted: every
length is checked against what is left of the file before it is used. Data stay on disk until asked for.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teachllm.stack.models.dequantize import BLOCK_FORMATS, BlockFormat, dequantize


class GGUFError(ValueError):
    """A file that is no readable GGUF; the message names it and says what to do."""


@dataclass(frozen=True)
class GGUFTensor:
    """shape is in the order of PyTorch, slowest dimension first; start is in bytes from the file's."""

    name: str
    shape: tuple[int, ...]
    block_format: BlockFormat
    start: int

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) // self.block_format.n_numbers * self.block_format.n_bytes


@dataclass(frozen=True)
class GGUFFile:
    """What a file says of itself, and its tensors by name."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GGUFTensor]

    def array(self, name: str) -> NDArray[np.float32]:
        """A tensor's numbers in float32, decoded if they are quantized. KeyError if there is none."""
        tensor = self.tensors[name]
        data = np.memmap(self.path, np.uint8, "r", offset=tensor.start, shape=(tensor.n_bytes,))
        return dequantize(data, tensor.block_format).reshape(tensor.shape)


def read_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """The metadata and the list of tensors of a GGUF file; their data are read by `GGUFFile.array`.

    OSError if the file cannot be opened; GGUFError if it is cut off, corrupt or of a kind we do not read.
    """
    path = Path(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 24:
            raise GGUFError(f"{path} has {size} bytes, too few for a GGUF file. {_FETCH_AGAIN}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _read(path, _Reader(data, size))
            except GGUFError as problem:
                raise GGUFError(f"{path}: {problem}") from None


# Inside the file ---------------------------------------------------------------------------------------

_CORRUPT = "The file is corrupt: delete it and fetch it again."
_FETCH_AGAIN = "The download may have been cut off: delete the file and fetch it again."
# Numbers of one byte stand for their own kind; 8 is a string, 9 an array.
_NUMBERS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8",
    12: "<f8",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_MAX_NESTING = 4
_SMALLEST_ENTRY = 13  # key length, value kind, one byte
_SMALLEST_TENSOR = 32  # name length, number of dimensions, one dimension, format, offset


class _Reader:
    """Takes values off the front of the file; refuses to go past its end."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        self.data = data
        self.size = size
        self.at = 0

    def take(self, n_bytes: int, what: str) -> bytes:
        if n_bytes > self.size - self.at:
            raise GGUFError(
                f"{what} at byte {self.at} needs {n_bytes} bytes, but only {self.size - self.at} follow. "
                f"{_FETCH_AGAIN}"
            )
        taken = self.data[self.at : self.at + n_bytes]
        self.at += n_bytes
        return taken

    def u32(self, what: str) -> int:
        return struct.unpack("<I", self.take(4, what))[0]

    def u64(self, what: str) -> int:
        return struct.unpack("<Q", self.take(8, what))[0]

    def count(self, what: str, smallest: int) -> int:
        """How many things follow, if that many can: each takes at least `smallest` bytes."""
        count = self.u64(what)
        if count * smallest > self.size - self.at:
            raise GGUFError(f"{count} are announced as {what}, more than the file can hold. {_FETCH_AGAIN}")
        return count

    def text(self, what: str) -> str:
        taken = self.take(self.u64(f"the length of {what}"), what)
        try:
            return taken.decode()
        except UnicodeDecodeError:
            raise GGUFError(f"{what} is not UTF-8: {taken[:40]!r}. {_CORRUPT}") from None

    def value(self, kind: int, what: str, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.text(what)
        if kind == _ARRAY:
            if depth == _MAX_NESTING:
                raise GGUFError(f"{what} nests arrays deeper than {_MAX_NESTING}; the file is not usable")
            element = self.u32(what)
            if element in _NUMBERS:
                return self.numbers(element, self.count(f"numbers of {what}", 1), what)
            count = self.count(f"elements of {what}", 8)
            return [self.value(element, what, depth + 1) for _ in range(count)]
        if kind not in _NUMBERS:
            raise GGUFError(f"{what} is of the unknown kind {kind}. {_CORRUPT}")
        return self.numbers(kind, 1, what)[0]

    def numbers(self, kind: int, count: int, what: str) -> list[Any]:
        dtype = np.dtype(_NUMBERS[kind])
        taken = self.take(count * dtype.itemsize, what)
        if kind == 7 and taken.strip(b"\0\1"):
            raise GGUFError(f"{what} is a boolean other than 0 and 1. {_CORRUPT}")
        return np.frombuffer(taken, dtype).tolist()


def _read(path: Path, reader: _Reader) -> GGUFFile:
    if (magic := reader.take(4, "the magic")) != b"GGUF":
        raise GGUFError(f"begins with {magic!r}, not with b'GGUF': this is no GGUF file")
    version = reader.u32("the version")
    if version not in (2, 3):
        hint = " (it seems to be big-endian)" if version & 0xFFFF == 0 else ""
        raise GGUFError(f"is of GGUF version {version}{hint}; versions 2 and 3, little-endian, are supported")
    n_tensors = reader.count("tensors", _SMALLEST_TENSOR)
    n_entries = reader.count("metadata entries", _SMALLEST_ENTRY)
    metadata: dict[str, Any] = {}
    for index in range(n_entries):
        key = reader.text(f"the key of metadata entry {index}")
        if key in metadata:
            raise GGUFError(f"the metadata key {key} appears twice. {_CORRUPT}")
        metadata[key] = reader.value(reader.u32(f"the kind of {key}"), key)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
        raise GGUFError(f"general.alignment is {alignment!r}; it must be a power of two, at least 8")
    tensors = [_tensor(reader, index) for index in range(n_tensors)]
    data_start = -(-reader.at // alignment) * alignment
    placed: dict[str, GGUFTensor] = {}
    for name, shape, block_format, offset in tensors:
        tensor = GGUFTensor(name, shape, block_format, data_start + offset)
        if name in placed:
            raise GGUFError(f"the tensor {name} is listed twice. {_CORRUPT}")
        if offset % alignment:
            raise GGUFError(f"the tensor {name} is not aligned to {alignment} bytes. {_CORRUPT}")
        if tensor.start + tensor.n_bytes > reader.size:
            raise GGUFError(
                f"the tensor {name} ends at byte {tensor.start + tensor.n_bytes}, but the file has "
                f"{reader.size}. {_FETCH_AGAIN}"
            )
        placed[name] = tensor
    return GGUFFile(path, metadata, placed)


def _tensor(reader: _Reader, index: int) -> tuple[str, tuple[int, ...], BlockFormat, int]:
    """One entry of the list of tensors: name, shape, format, offset into the data."""
    name = reader.text(f"the name of tensor {index}")
    what = f"the tensor {name}"
    n_dims = reader.u32(what)
    if not 1 <= n_dims <= 4:
        raise GGUFError(f"{what} has {n_dims} dimensions; 1 to 4 are possible. {_CORRUPT}")
    fastest_first = [reader.u64(what) for _ in range(n_dims)]
    kind, offset = reader.u32(what), reader.u64(what)
    block_format = BLOCK_FORMATS.get(kind)
    if block_format is None:
        known = ", ".join(known.name for known in BLOCK_FORMATS.values())
        raise GGUFError(f"{what} is in ggml format {kind}, which is not supported. Supported are {known}.")
    if min(fastest_first) < 1 or fastest_first[0] % block_format.n_numbers:
        raise GGUFError(
            f"{what} has the shape {fastest_first}: in {block_format.name} the first must be a multiple of "
            f"{block_format.n_numbers}, and none 0. {_CORRUPT}"
        )
    return name, tuple(reversed(fastest_first)), block_format, offset

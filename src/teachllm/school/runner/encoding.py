"""How calls and results cross between the trusted checker and the learner's process.

A closed binary encoding: None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset, numpy arrays
and dense torch tensors, and nothing else. Decoding builds only these plain types and runs no code of the
sender, so a learner's process can send nothing that deceives the checker (no ``__eq__`` of its own, no
pickle). Subclasses arrive as their plain type; ``requires_grad``, strides and devices do not cross.
"""

from __future__ import annotations

import math
import os
import re
import struct
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

MAX_BYTES = 64 * 2**20
MAX_ITEMS = 2**21
MAX_DEPTH = 48
_MAX_DIMENSIONS = 16
_LENGTH = struct.Struct("<Q")
_FLOAT = struct.Struct("<d")

_ARRAY_DTYPE = re.compile(r"[<|][biufc][0-9]{1,2}")
TENSOR_DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool"),
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float8_e4m3fn", "float8_e5m2"),
)


class NotEncodable(TypeError):
    """A value of a kind that cannot cross; the message says which and where in the value."""


class Malformed(ValueError):
    """Bytes that :func:`encode` would not have made."""


def encode(value: Any, name: str = "the value") -> bytes:
    """The value as bytes; ``name`` is what an error calls it.

    Raises :class:`NotEncodable` for other types, and for what is too deep or large.
    """
    parts: list[bytes] = []
    _encode(value, parts, name, 0)
    if len(parts) > MAX_ITEMS:
        raise NotEncodable(f"{name} has {len(parts):,} items; at most {MAX_ITEMS:,} can cross")
    data = b"".join(parts)
    if len(data) > MAX_BYTES:
        raise NotEncodable(f"{name} takes {len(data):,} bytes; at most {MAX_BYTES:,} can cross")
    return data


def encode_list(*encoded: bytes) -> bytes:
    """The list of values that are encoded already."""
    return b"".join((b"l", _LENGTH.pack(len(encoded)), *encoded))


def decode(data: bytes) -> Any:
    """The value that :func:`encode` was given. Raises :class:`Malformed`."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.position != len(data):
        raise Malformed(f"{len(data) - reader.position} bytes too many")
    return value


def write_frame(fd: int, payload: bytes) -> None:
    """Writes length and payload. Raises ``BrokenPipeError`` if nobody reads any more."""
    view = memoryview(_LENGTH.pack(len(payload)) + payload)
    while view:
        view = view[os.write(fd, view) :]


def read_frame(fd: int) -> bytes | None:
    """The next payload; ``None`` at the end of the stream, also in the middle of a frame.

    Raises :class:`Malformed` for a frame longer than MAX_BYTES.
    """
    header = _read_exactly(fd, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    if length > MAX_BYTES:
        raise Malformed(f"a frame of {length:,} bytes; at most {MAX_BYTES:,} are allowed")
    return _read_exactly(fd, length)


def _read_exactly(fd: int, count: int) -> bytes | None:
    chunks: list[bytes] = []
    while count:
        chunk = os.read(fd, min(count, 1 << 20))
        if not chunk:
            return None
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def _sized(tag: bytes, content: bytes) -> bytes:
    return tag + _LENGTH.pack(len(content)) + content


def _encode(value: Any, parts: list[bytes], where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotEncodable(f"{where} is nested more than {MAX_DEPTH} levels deep (or contains itself)")
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and isinstance(value, numpy.generic):
        value = value.item()
    if value is None:
        parts.append(b"N")
    elif isinstance(value, bool):
        parts.append(b"T" if value else b"F")
    elif isinstance(value, int):
        number = int(value)
        parts.append(_sized(b"i", number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)))
    elif isinstance(value, float):
        parts.append(b"f" + _FLOAT.pack(float(value)))
    elif isinstance(value, str):
        parts.append(_sized(b"s", str.encode(value, "utf-8", "surrogatepass")))
    elif isinstance(value, (bytes, bytearray)):
        parts.append(_sized(b"b", bytes(value)))
    elif isinstance(value, Mapping):
        parts.append(b"d" + _LENGTH.pack(len(value)))
        for key, item in value.items():
            _encode(key, parts, f"a key of {where}", depth + 1)
            _encode(item, parts, f"{where}[{key!r:.40}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        parts.append((b"l" if isinstance(value, list) else b"t") + _LENGTH.pack(len(value)))
        for index, item in enumerate(value):
            _encode(item, parts, f"{where}[{index}]", depth + 1)
    elif isinstance(value, AbstractSet):
        parts.append((b"z" if isinstance(value, frozenset) else b"S") + _LENGTH.pack(len(value)))
        for item in value:
            _encode(item, parts, f"an element of {where}", depth + 1)
    elif numpy is not None and isinstance(value, numpy.ndarray):
        _encode_array(value, numpy, parts, where)
    elif torch is not None and isinstance(value, torch.Tensor):
        _encode_tensor(value, torch, parts, where)
    else:
        raise NotEncodable(f"{where} is {_describe(value)}")


def _describe(value: Any) -> str:
    kind = type(value).__name__
    if hasattr(value, "__next__"):
        return f"an iterator ({kind}); turn it into a list"
    return f"of type {kind}, which is not a plain value (number, text, list, dict, array, tensor …)"


def _encode_array(value: Any, numpy: Any, parts: list[bytes], where: str) -> None:
    if value.dtype.kind not in "biufc":
        raise NotEncodable(f"{where} is a numpy array of {value.dtype}; only numbers and bool can cross")
    array = numpy.ascontiguousarray(numpy.asarray(value))
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    _encode_block(b"A", array.dtype.str, value.shape, array.tobytes(), parts)


def _encode_tensor(value: Any, torch: Any, parts: list[bytes], where: str) -> None:
    name = str(value.dtype).removeprefix("torch.")
    if name not in TENSOR_DTYPES or value.layout != torch.strided or value.is_meta:
        kind = f"{value.dtype}, {value.layout}"
        raise NotEncodable(f"{where} is a tensor of {kind}; only dense tensors can cross")
    with torch._C.DisableTorchFunctionSubclass():
        plain = value.detach().as_subclass(torch.Tensor).cpu().resolve_conj().resolve_neg().contiguous()
        content = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    _encode_block(b"X", name, tuple(value.shape), content, parts)


def _encode_block(tag: bytes, dtype: str, shape: tuple[int, ...], content: bytes, parts: list[bytes]) -> None:
    header = b"".join(_LENGTH.pack(size) for size in shape)
    parts.append(_sized(tag, dtype.encode()) + _LENGTH.pack(len(shape)) + header + _sized(b"", content))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.items = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise Malformed(f"{end - len(self.data)} bytes are missing")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def length(self) -> int:
        return _LENGTH.unpack(self.take(_LENGTH.size))[0]

    def count(self) -> int:
        """A number of items, each of which takes at least one byte: a lie about it costs no memory."""
        count = self.length()
        if count > len(self.data) - self.position:
            raise Malformed(f"{count} items do not fit into the {len(self.data) - self.position} bytes left")
        return count

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise Malformed(f"nested more than {MAX_DEPTH} levels deep")
        self.items += 1
        if self.items > MAX_ITEMS:
            raise Malformed(f"more than {MAX_ITEMS:,} items")
        tag = self.take(1)
        if tag in (b"N", b"T", b"F"):
            return {b"N": None, b"T": True, b"F": False}[tag]
        if tag == b"i":
            return int.from_bytes(self.take(self.length()), "little", signed=True)
        if tag == b"f":
            return _FLOAT.unpack(self.take(_FLOAT.size))[0]
        if tag == b"b":
            return self.take(self.length())
        if tag == b"s":
            return self._text()
        if tag in (b"A", b"X"):
            return self._block(tag)
        if tag == b"d":
            return self._dictionary(depth)
        if tag in (b"l", b"t", b"S", b"z"):
            items = [self.value(depth + 1) for _ in range(self.count())]
            try:
                return {b"l": list, b"t": tuple, b"S": set, b"z": frozenset}[tag](items)
            except TypeError as error:
                raise Malformed(f"a set of what cannot be in a set: {error}") from None
        raise Malformed(f"unknown tag {tag!r}")

    def _text(self) -> str:
        try:
            return self.take(self.length()).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise Malformed(f"text that is not UTF-8: {error.reason}") from None

    def _dictionary(self, depth: int) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for _ in range(self.count()):
            key = self.value(depth + 1)
            try:
                result[key] = self.value(depth + 1)
            except TypeError as error:
                raise Malformed(f"a key that cannot be a key: {error}") from None
        return result

    def _block(self, tag: bytes) -> Any:
        dtype = self.take(self.length()).decode("ascii", "replace")
        dimensions = self.length()
        if dimensions > _MAX_DIMENSIONS:
            raise Malformed(f"{dimensions} dimensions; at most {_MAX_DIMENSIONS} are allowed")
        shape = tuple(self.length() for _ in range(dimensions))
        content = self.take(self.length())
        return (_array if tag == b"A" else _tensor)(dtype, shape, content)


def _check_block(dtype: str, shape: tuple[int, ...], itemsize: int, content: bytes) -> None:
    if max(shape, default=0) > MAX_BYTES or math.prod(shape) * itemsize != len(content):
        raise Malformed(f"{len(content)} bytes are not the {shape} items of {dtype} that they claim to be")


def _array(dtype: str, shape: tuple[int, ...], content: bytes) -> Any:
    import numpy

    if not _ARRAY_DTYPE.fullmatch(dtype):
        raise Malformed(f"array type {dtype!r} is not allowed")
    try:
        kind = numpy.dtype(dtype)
    except TypeError:
        raise Malformed(f"unknown array type {dtype!r}") from None
    _check_block(dtype, shape, kind.itemsize, content)
    if kind.kind == "b" and content and max(content) > 1:
        raise Malformed("bool array with bytes other than 0 and 1")
    return numpy.frombuffer(content, dtype=kind).reshape(shape).copy()


def _tensor(dtype: str, shape: tuple[int, ...], content: bytes) -> Any:
    import torch

    if dtype not in TENSOR_DTYPES:
        raise Malformed(f"unknown tensor type {dtype!r}")
    kind = getattr(torch, dtype)
    _check_block(dtype, shape, kind.itemsize, content)
    if kind is torch.bool and content and max(content) > 1:
        raise Malformed("bool tensor with bytes other than 0 and 1")
    if not content:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).view(kind).reshape(shape)

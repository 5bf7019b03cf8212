"""GGUF files that are cut off, corrupt or hostile: a clear error, at once, whatever is wrong with them."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teachllm.stack.models.dequantize import BLOCK_FORMATS, dequantize
from teachllm.stack.models.gguf import GGUFError, read_gguf

# Files written byte by byte, without the code that is tested -------------------------------------------


def text(value: str | bytes) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(encoded)) + encoded


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def u32(key: str, value: int) -> bytes:
    return entry(key, 4, struct.pack("<I", value))


def f32(key: str, value: float) -> bytes:
    return entry(key, 6, struct.pack("<f", value))


def string(key: str, value: str) -> bytes:
    return entry(key, 8, text(value))


def tensor(name: str, fastest_first: list[int], offset: int, kind: int = 0) -> bytes:
    dims = struct.pack(f"<I{len(fastest_first)}Q", len(fastest_first), *fastest_first)
    return text(name) + dims + struct.pack("<IQ", kind, offset)


def gguf(entries: list[bytes], tensors: list[bytes], data: bytes = b"", **header: Any) -> bytes:
    """header: magic, version, n_tensors, n_entries, to replace what would be right."""
    head = header.get("magic", b"GGUF") + struct.pack(
        "<IQQ",
        header.get("version", 3),
        header.get("n_tensors", len(tensors)),
        header.get("n_entries", len(entries)),
    )
    head += b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


NUMBERS = np.arange(6, dtype=np.float32)
WHOLE = gguf(
    [
        string("general.architecture", "llama"),
        u32("llama.block_count", 3),
        f32("llama.eps", 0.5),
        entry("words", 9, struct.pack("<IQ", 8, 2) + text("猫") + text("")),
        entry("flags", 9, struct.pack("<IQ", 7, 2) + b"\0\1"),
        entry("nested", 9, struct.pack("<IQIQ", 9, 1, 4, 2) + struct.pack("<II", 8, 9)),
    ],
    [tensor("a", [3, 2], 0), tensor("b", [2], 32)],
    NUMBERS.tobytes() + bytes(8) + NUMBERS[:2].tobytes(),
)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return path


def test_metadata_and_tensors_of_a_whole_file(tmp_path: Path) -> None:
    read = read_gguf(written(tmp_path, WHOLE))
    assert read.metadata == {
        "general.architecture": "llama",
        "llama.block_count": 3,
        "llama.eps": 0.5,
        "words": ["猫", ""],
        "flags": [False, True],
        "nested": [[8, 9]],
    }
    assert {name: tensor.shape for name, tensor in read.tensors.items()} == {"a": (2, 3), "b": (2,)}
    assert read.array("a").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read.array("b").tolist() == [0, 1]


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(GGUFError, match=r"model\.gguf.*fetch it again"):
            read_gguf(written(tmp_path, WHOLE[:length]))


def test_random_damage_gives_an_error_or_a_file_that_can_be_read(tmp_path: Path) -> None:
    chance = random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(WHOLE)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(WHOLE) - 40)] = chance.randrange(256)
        try:
            read = read_gguf(written(tmp_path, bytes(damaged)))
        except GGUFError:
            refused += 1
            continue
        for name in read.tensors:
            read.array(name)
    assert refused > 150


HOSTILE = {
    "empty": (b"", "0 bytes, too few"),
    "another kind of file": (b"PK\3\4" + bytes(40), "no GGUF file"),
    "an old version": (gguf([], [], version=1), "GGUF version 1;"),
    "big-endian": (gguf([], [], version=0x03000000), "big-endian"),
    "a huge number of tensors": (gguf([], [], n_tensors=2**63), "more than the file can hold"),
    "a huge number of entries": (gguf([], [], n_entries=2**64 - 1), "more than the file can hold"),
    "a huge string": (
        gguf([entry("key", 8, struct.pack("<Q", 2**62))], []),
        "key at byte .* needs 4611686018427387904 bytes",
    ),
    "a huge array": (
        gguf([entry("key", 9, struct.pack("<IQ", 10, 2**61))], []),
        "more than the file can hold",
    ),
    "arrays in arrays in arrays": (
        gguf([entry("key", 9, struct.pack("<IQ", 9, 1) * 400)], []),
        "nests arrays deeper than 4",
    ),
    "an unknown kind of value": (gguf([entry("key", 77, bytes(20))], []), "unknown kind 77"),
    "a boolean of 2": (gguf([entry("key", 7, b"\2")], []), "boolean other than 0 and 1"),
    "text that is not UTF-8": (gguf([entry("key", 8, text(b"\xff\xfe"))], []), "not UTF-8"),
    "a key twice": (gguf([u32("key", 1)] * 2, []), "key key appears twice"),
    "a tensor twice": (gguf([], [tensor("a", [1], 0)] * 2, bytes(64)), "a is listed twice"),
    "no dimension": (gguf([], [tensor("a", [], 0)], bytes(64)), "0 dimensions"),
    "an empty dimension": (gguf([], [tensor("a", [4, 0], 0)], bytes(64)), "none 0"),
    "dimensions whose product is huge": (
        gguf([], [tensor("a", [2**32, 2**31, 2], 0)], bytes(64)),
        "the file has",
    ),
    "data past the end": (gguf([], [tensor("a", [4], 64)], bytes(64)), "ends at byte 144"),
    "data that is not aligned": (gguf([], [tensor("a", [4], 8)], bytes(64)), "not aligned"),
    "a format that nobody knows": (
        gguf([], [tensor("a", [32], 0, kind=99)], bytes(64)),
        "ggml format 99, which is not supported. Supported are F32, F16, Q4_0",
    ),
    "half a block": (gguf([], [tensor("a", [16], 0, kind=2)], bytes(64)), "multiple of 32"),
    "an alignment of 0": (gguf([u32("general.alignment", 0)], []), "general.alignment is 0"),
    "an alignment of 48": (gguf([u32("general.alignment", 48)], []), "power of two"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path: Path, what: str) -> None:
    content, message = HOSTILE[what]
    path = written(tmp_path, content)
    with pytest.raises(GGUFError, match=message) as refused:
        read_gguf(path)
    assert str(path) in str(refused.value)


def test_another_alignment_moves_the_data(tmp_path: Path) -> None:
    content = gguf([u32("general.alignment", 64)], [tensor("a", [6], 0)])
    padding = bytes(-len(content) % 64)
    read = read_gguf(written(tmp_path, content + padding + NUMBERS.tobytes()))
    assert read.array("a").tolist() == NUMBERS.tolist()


def test_no_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_gguf(tmp_path / "nothing.gguf")


def test_blocks_that_are_not_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="19 bytes cannot be cut into Q4_0 blocks of 18"):
        dequantize(np.zeros(19, dtype=np.uint8), BLOCK_FORMATS[2])


def test_a_block_by_hand() -> None:
    """Q4_1: the low halves of the 16 bytes are the first 16 numbers, the high halves the others."""
    block = np.frombuffer(np.array([2.0, -1.0], np.float16).tobytes() + bytes(range(16)), dtype=np.uint8)
    assert dequantize(block, BLOCK_FORMATS[3]).tolist() == [2.0 * low - 1 for low in range(16)] + [-1.0] * 16

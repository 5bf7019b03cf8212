"""Only plain values cross, they arrive equal, and no bytes that a learner's process may send do harm."""

from __future__ import annotations

import math
import os
import random
import struct
import threading
from typing import Any

import numpy as np
import pytest
import torch

from teachllm.school.runner.encoding import (
    MAX_BYTES,
    MAX_ITEMS,
    TENSOR_DTYPES,
    Malformed,
    NotEncodable,
    decode,
    encode,
    encode_list,
    read_frame,
    write_frame,
)


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            False,
            0,
            -1,
            255,
            -256,
            10**40,
            -(10**40),
            0.1,
            -0.0,
            math.inf,
            "",
            "中文 🎈",
            "\ud800",
        ),
        *(b"", b"\x00\xff", [], [[1], (2, [3])], (), {}, {"a": {1: (2.5, None)}}, set(), {1, 2}),
        *(frozenset({(1, 2)}), {(1, 2): [b"x"], None: "n"}),
    ],
    ids=repr,
)
def test_plain_values_arrive_equal(value: Any) -> None:
    arrived = decode(encode(value))
    assert arrived == value
    assert type(arrived) is type(value)
    assert str(arrived) == str(value) or isinstance(value, (set, frozenset))


@pytest.mark.parametrize("name", TENSOR_DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_tensors_arrive_with_dtype_shape_and_bytes(name: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(len(shape))
    size = math.prod(shape) * getattr(torch, name).itemsize
    content = torch.randint(0, 2 if name == "bool" else 256, (size,), generator=generator, dtype=torch.uint8)
    dtype = getattr(torch, name)
    tensor = content.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
    arrived = decode(encode(tensor))
    assert (arrived.dtype, arrived.shape) == (tensor.dtype, tensor.shape)
    flat = arrived.reshape(-1)
    assert flat.numel() == 0 or torch.equal(flat.view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


def test_views_gradients_and_subclasses_arrive_as_plain_tensors() -> None:
    class Mine(torch.Tensor):
        pass

    base = torch.arange(12.0, requires_grad=True).reshape(3, 4)
    for tensor in (base.T, base[:, ::2], torch.nn.Parameter(base.detach()), base.as_subclass(Mine)):
        arrived = decode(encode(tensor))
        assert type(arrived) is torch.Tensor
        assert not arrived.requires_grad
        assert torch.equal(arrived, tensor.detach().as_subclass(torch.Tensor))
    assert torch.equal(decode(encode(torch.tensor([1j]).conj())), torch.tensor([-1j]))


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u1", "?", "c16", ">i4"])
def test_arrays_arrive_equal_and_writable(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)[:, ::2]
    arrived = decode(encode(array))
    np.testing.assert_array_equal(arrived, array)
    assert arrived.dtype == array.dtype.newbyteorder("<")
    arrived[0, 0] = 1
    assert decode(encode(np.float32(0.5))) == 0.5


def test_what_equals_everything_arrives_as_what_it_is() -> None:
    class Sly(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    class SlyText(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    assert type(decode(encode(Sly(3)))) is int
    assert decode(encode(Sly(3))) != 4
    assert type(decode(encode(SlyText("a")))) is str


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), "the value is of type object"),
        ([1, {"k": object()}], r"the value\[1\]\['k'\] is of type object"),
        ((x for x in "ab"), "iterator"),
        (np.array(["a"]), "only numbers and bool"),
        (torch.ones(2).to_sparse(), "only dense tensors"),
        (torch.ones(2, device="meta"), "only dense tensors"),
        (torch.zeros(MAX_BYTES // 4 + 1), "at most 67,108,864 can cross"),
        ([0] * (MAX_ITEMS + 1), "at most 2,097,152 can cross"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_refused_with_their_place(value: Any, why: str) -> None:
    with pytest.raises(NotEncodable, match=why):
        encode(value)


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotEncodable, match="contains itself"):
        encode(endless)


def test_encoded_values_can_be_put_into_a_list() -> None:
    assert decode(encode_list(encode("a"), encode([1]), encode(None))) == ["a", [1], None]


def _length(count: int) -> bytes:
    return struct.pack("<Q", count)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"?",
        b"NN",
        b"l" + _length(2**62),
        b"d" + _length(2**62),
        b"s" + _length(2**63) + b"a",
        b"s" + _length(1) + b"\xff",
        b"S" + _length(1) + b"l" + _length(0),
        b"d" + _length(1) + b"l" + _length(0) + b"N",
        (b"l" + _length(1)) * 200 + b"N",
        b"X" + _length(7) + b"float32" + _length(1) + _length(2**40) + _length(0),
        b"X" + _length(7) + b"float32" + _length(99) + _length(1),
        b"X" + _length(6) + b"object" + _length(0) + _length(0),
        b"X" + _length(4) + b"bool" + _length(1) + _length(1) + _length(1) + b"\x07",
        b"A" + _length(1) + b"O" + _length(1) + _length(1) + _length(8) + bytes(8),
        b"A" + _length(3) + b"<f4" + _length(1) + _length(2) + _length(4) + bytes(4),
        b"A" + _length(2) + b"\xff\xff" + _length(0) + _length(0),
        b"l" + _length(MAX_ITEMS + 1) + b"N" * (MAX_ITEMS + 1),
    ],
    ids=lambda data: repr(bytes(data[:24])),
)
def test_lies_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_damaged_bytes_are_malformed_or_some_plain_value() -> None:
    draw = random.Random(5)
    good = encode({"a": [1, 2.5, "文", b"x", torch.ones(2, 2), np.ones(3), {1, 2}, (None, True)]})
    refused = 0
    for _ in range(3000):
        damaged = bytearray(good)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            decode(bytes(damaged[: draw.randint(0, len(damaged))]))
        except Malformed:
            refused += 1
    assert refused > 2500


def test_frames_go_through_a_pipe_and_an_oversized_one_is_refused() -> None:
    read_fd, write_fd = os.pipe()
    payloads = [b"", b"abc", bytes(300_000)]
    writer = threading.Thread(target=lambda: [write_frame(write_fd, payload) for payload in payloads])
    writer.start()
    assert [read_frame(read_fd) for _ in payloads] == payloads
    writer.join()
    os.write(write_fd, _length(MAX_BYTES + 1))
    with pytest.raises(Malformed, match="67,108,865 bytes"):
        read_frame(read_fd)
    os.write(write_fd, _length(10) + b"half")
    os.close(write_fd)
    assert read_frame(read_fd) is None
    os.close(read_fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_frame(write_fd, b"")

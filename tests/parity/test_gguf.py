"""Quantizations are decoded as by the `gguf` package, and the files that it writes are read."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from teachllm.stack.models.dequantize import BLOCK_FORMATS, dequantize
from teachllm.stack.models.gguf import read_gguf

pytestmark = pytest.mark.parity

# Where the float16 (or, in Q8_K, float32) numbers of a block stand; random bytes there would often be NaN.
FLOATS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q8_K": [0], "IQ4_NL": [0], "IQ4_XS": [0],
}  # fmt: skip


def random_blocks(name: str, n_blocks: int, n_bytes: int) -> np.ndarray:
    random = np.random.default_rng(len(name) + n_bytes)
    blocks = random.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    for start in FLOATS.get(name, []):
        scale = random.normal(0, 0.1, (n_blocks, 1)).astype(np.float32 if name == "Q8_K" else np.float16)
        blocks[:, start : start + scale.itemsize] = scale.view(np.uint8)
    return blocks


@pytest.mark.parametrize("kind", BLOCK_FORMATS)
def test_random_blocks_are_decoded_as_by_gguf(kind: int) -> None:
    ours, theirs = BLOCK_FORMATS[kind], GGMLQuantizationType(kind)
    assert ours.name == theirs.name
    assert (ours.n_numbers, ours.n_bytes) == gguf.GGML_QUANT_SIZES[theirs]
    # More than one chunk of numbers, and not a multiple of one.
    n_blocks = (300_000 // ours.n_numbers) + 3
    blocks = random_blocks(ours.name, n_blocks, ours.n_bytes)
    if theirs in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
        expected = blocks.view(np.float32 if theirs == GGMLQuantizationType.F32 else np.float16).astype(
            np.float32
        )
    elif theirs == GGMLQuantizationType.Q8_K:  # the package has no decoder for it
        expected = blocks[:, :4].view(np.float32) * blocks[:, 4:260].view(np.int8).astype(np.float32)
    else:
        expected = quants.dequantize(blocks, theirs)
    got = dequantize(blocks.reshape(-1), ours)
    np.testing.assert_allclose(got, expected.reshape(-1), rtol=1e-6, atol=1e-6)


def test_a_file_that_gguf_wrote_is_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("test.count", 7)
    writer.add_int64("test.negative", -(2**40))
    writer.add_float32("test.ratio", 0.25)
    writer.add_bool("test.yes", True)
    writer.add_string("test.text", "猫 🐱")
    writer.add_array("test.words", ["a", "", "你好"])
    writer.add_array("test.numbers", [1, -2, 3])
    plain = random.normal(size=(3, 5)).astype(np.float32)
    rows = random.normal(size=(4, 64)).astype(np.float32)
    writer.add_tensor("plain", plain)
    writer.add_tensor("half", plain.astype(np.float16))
    quantized = quants.quantize(rows, GGMLQuantizationType.Q5_1)
    writer.add_tensor("rows", quantized, raw_dtype=GGMLQuantizationType.Q5_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    read = read_gguf(path)
    assert read.metadata["test.count"] == 7
    assert read.metadata["test.negative"] == -(2**40)
    assert read.metadata["test.ratio"] == 0.25
    assert read.metadata["test.yes"] is True
    assert read.metadata["test.text"] == "猫 🐱"
    assert read.metadata["test.words"] == ["a", "", "你好"]
    assert read.metadata["test.numbers"] == [1, -2, 3]
    assert list(read.tensors) == ["plain", "half", "rows"]
    np.testing.assert_array_equal(read.array("plain"), plain)
    np.testing.assert_array_equal(read.array("half"), plain.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(
        read.array("rows"), quants.dequantize(quantized, GGMLQuantizationType.Q5_1), rtol=1e-6
    )

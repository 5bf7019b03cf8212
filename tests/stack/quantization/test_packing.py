"""Packed codes: nothing is lost, and a GGUF's own codes stand for what its reader says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from teachllm.stack.models.gguf import read_gguf
from teachllm.stack.quantization.gguf_blocks import quantized_tensor
from teachllm.stack.quantization.packing import pack, unpack
from teachllm.stack.quantization.round_to_nearest import (
    Quantized,
    dequantize,
    quantize_symmetric,
    quantize_with_minimum,
)


def quantized(kind: str, rows: int = 40) -> Quantized:
    weight = torch.randn(rows, 96, generator=torch.Generator().manual_seed(7))
    if kind == "int4_minima":
        return quantize_with_minimum(weight, 4, 32)
    return quantize_symmetric(weight, 8 if kind == "int8" else 4, 32)


@pytest.mark.parametrize("kind", ["int8", "int4", "int4_minima"])
def test_unpacked_is_what_was_packed(kind: str) -> None:
    before = quantized(kind)
    packed = pack(before)
    assert packed.kind == kind
    assert packed.blocks.shape[:2] == (3, 3)  # 40 rows fill two and a half blocks
    after = unpack(packed)
    assert torch.equal(after.codes, before.codes)
    assert torch.equal(after.scales, before.scales)
    assert after.bits == before.bits
    if before.minima is not None:
        assert after.minima is not None
        assert torch.equal(after.minima, before.minima)


def test_what_no_kernel_reads_is_refused() -> None:
    with pytest.raises(ValueError, match=r"codes of 3 bits with minima in groups of 32 cannot be packed"):
        pack(quantize_with_minimum(torch.ones(16, 64), 3, 32))
    with pytest.raises(ValueError, match=r"in groups of 64"):
        pack(quantize_symmetric(torch.ones(16, 64), 8, 64))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_the_codes_of_a_gguf_stand_for_its_numbers(kind: str, tmp_path: Path) -> None:
    import gguf

    weight = np.random.default_rng(3).normal(size=(6, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    number = gguf.GGMLQuantizationType[kind]
    writer.add_tensor("matrix", gguf.quantize(weight, number), raw_dtype=number)
    writer.add_tensor("plain", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = read_gguf(tmp_path / "model.gguf")
    found = quantized_tensor(file, "matrix")
    assert found is not None
    assert torch.equal(dequantize(found), torch.from_numpy(file.array("matrix")))
    assert quantized_tensor(file, "plain") is None
    assert pack(found).n_rows == 6

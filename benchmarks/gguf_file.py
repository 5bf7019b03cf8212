"""SmolLM2's file with its weights in another format, for peers that read GGUF files."""

from __future__ import annotations

from pathlib import Path

import gguf
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from teachllm.stack.data.assets import asset

SKIPPED = ("GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.architecture", "general.file_type")


def write_gguf(name: str, target: Path, kind: GGMLQuantizationType = GGMLQuantizationType.BF16) -> None:
    """The asset `name` with every matrix in `kind`; vectors, and what else the file says, stay as they are.

    Numbers are those of the packaged file: they are dequantized and written anew.
    """
    reader = GGUFReader(asset(name))
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name not in SKIPPED:
            sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=sub_type)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        wanted = kind if numbers.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(numbers, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

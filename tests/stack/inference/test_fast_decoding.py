"""What a model decodes with: the choice, what is remembered of it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from teachllm.stack.inference import fast_decoding
from teachllm.stack.inference.fast_decoding import prepare_for_decoding
from teachllm.stack.inference.fused_llama import FusedLlama
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.loading import load_model
from teachllm.stack.nn import measurements
from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.kv_cache import KVCache

pytestmark = pytest.mark.skipif(not threads.can_run(torch.zeros(1)), reason="no kernels in PyTorch's threads")

CONFIG = LlamaConfig(
    vocab_size=64, d_model=64, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=32, hidden=64, context_length=32
)  # fmt: skip


@pytest.fixture
def model() -> Llama:
    generator = torch.Generator().manual_seed(0)
    model = Llama(CONFIG).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.copy_(torch.randn(weights.shape, generator=generator) * 0.2)
    return model


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[type]:
    """Whose steps were measured: fused ones take a second, PyTorch's two. Nothing else is remembered."""
    asked: list[type] = []

    def step_seconds(model: Llama, n_steps: int = 1) -> float:
        asked.append(type(model))
        return 1.0 if isinstance(model, FusedLlama) else 2.0

    monkeypatch.setattr(fast_decoding, "_step_seconds", step_seconds)
    monkeypatch.setattr(fast_decoding, "LEAST_PARAMETERS", 1)
    monkeypatch.setattr(measurements.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    return asked


def test_the_faster_steps_are_chosen_and_remembered(
    model: Llama, measured: list[type], tmp_path: Path
) -> None:
    first = prepare_for_decoding(model, tmp_path)
    assert isinstance(first.model, FusedLlama)
    assert first.reason == "fused steps (a step 1000.0 ms fused, 2000.0 ms by PyTorch)"
    assert measured == [FusedLlama, Llama]
    assert isinstance(prepare_for_decoding(model, tmp_path).model, FusedLlama)
    assert len(measured) == 2  # not again
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    prepare_for_decoding(model, tmp_path)
    torch.set_num_threads(before)
    assert len(measured) == 4  # other threads are another machine


def test_slower_steps_are_not_taken(
    model: Llama, measured: list[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fast_decoding, "_step_seconds", lambda one: 3.0 if isinstance(one, FusedLlama) else 2.0
    )
    chosen = prepare_for_decoding(model, tmp_path)
    assert chosen.model is model
    assert "PyTorch's kernels (a step 3000.0 ms fused" in chosen.reason


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'["a", 2]', b"\xff"])
def test_a_damaged_measurement_is_made_again(
    damage: bytes, model: Llama, measured: list[type], tmp_path: Path
) -> None:
    prepare_for_decoding(model, tmp_path)
    (file,) = (tmp_path / "cache" / "measurements").iterdir()
    file.write_bytes(damage)
    prepare_for_decoding(model, tmp_path)
    assert len(measured) == 4


def test_no_folder_for_measurements_is_no_failure(
    model: Llama, measured: list[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(measurements.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "file")
    assert isinstance(prepare_for_decoding(model, tmp_path).model, FusedLlama)


def test_rounded_weights_are_those_of_the_whole_model(
    model: Llama, measured: list[type], tmp_path: Path
) -> None:
    before = model.blocks[0].attention.out.weight.clone()
    chosen = prepare_for_decoding(model, tmp_path, "int4")
    assert chosen.reason.startswith("fused steps, int4_minima, head int8: rounded to nearest")
    after = chosen.model.blocks[0].attention.out.weight
    assert not torch.equal(after, before)
    assert len(after[0, :32].unique()) <= 16
    torch.testing.assert_close(after, before, atol=0.05, rtol=0)


def test_the_codes_of_a_file_are_taken_as_they_are(
    tmp_path: Path, model: Llama, measured: list[type]
) -> None:
    path = gguf_of(model, tmp_path / "model.gguf")
    loaded = load_model(path, "cpu", torch.bfloat16)
    assert isinstance(loaded, Llama)
    weights = loaded.blocks[0].feed_forward.down.weight.clone()
    chosen = prepare_for_decoding(loaded, path, "auto")
    assert isinstance(chosen.model, FusedLlama)
    assert chosen.reason == "fused steps, int4_minima, head int8: the file's own codes"
    assert torch.equal(chosen.model.blocks[0].feed_forward.down.weight, weights)
    text = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    with torch.inference_mode():
        caches = [KVCache.for_model(CONFIG, 8, dtype=torch.bfloat16) for _ in range(2)]
        found = torch.cat([chosen.model(token, caches[0]) for token in text.split(1, dim=1)], dim=1)
        expected = loaded(text, caches[1])
    # Vectors are rounded to int8, PyTorch's to bfloat16; a wrong row would be off by the size of the whole.
    assert (found - expected).norm() / expected.norm() < 0.03


def test_what_cannot_be_is_refused(model: Llama, tiny_llama: Llama, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights = int8 is not possible: hidden = 48: no multiple of 32"):
        prepare_for_decoding(tiny_llama, tmp_path, "int8")
    with pytest.raises(ValueError, match=r"weights is 'int3'; it must be one of auto, bf16, int8, int4"):
        prepare_for_decoding(model, tmp_path, "int3")  # pyright: ignore[reportArgumentType]
    assert prepare_for_decoding(tiny_llama, tmp_path, "auto").model is tiny_llama


def gguf_of(model: Llama, path: Path) -> Path:
    """The model in a file: Q4_1, the embedding and head in Q8_0."""
    import gguf

    c = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_embedding_length(c.d_model)
    writer.add_block_count(c.n_layers)
    writer.add_head_count(c.n_heads)
    writer.add_head_count_kv(c.n_kv_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_feed_forward_length(c.hidden)
    writer.add_context_length(c.context_length)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    block = model.blocks[0]
    q, k, v = block.attention.qkv.weight.split([64, 32, 32])
    gate, up = block.feed_forward.gate_up.weight.chunk(2)
    tensors = {
        "token_embd": model.embedding.weight, "output": model.head.weight, "output_norm": model.norm.weight,
        "blk.0.attn_norm": block.attention_norm.weight, "blk.0.ffn_norm": block.feed_forward_norm.weight,
        "blk.0.attn_q": q, "blk.0.attn_k": k, "blk.0.attn_v": v,
        "blk.0.attn_output": block.attention.out.weight, "blk.0.ffn_gate": gate, "blk.0.ffn_up": up,
        "blk.0.ffn_down": block.feed_forward.down.weight,
    }  # fmt: skip
    for name, tensor in tensors.items():
        numbers = np.ascontiguousarray(tensor.detach().numpy())
        if numbers.ndim == 1:
            writer.add_tensor(name + ".weight", numbers)
            continue
        kind = gguf.GGMLQuantizationType.Q4_1 if name.startswith("blk") else gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name + ".weight", gguf.quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

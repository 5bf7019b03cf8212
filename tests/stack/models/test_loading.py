"""Loading: what is missing, superfluous or of another shape is named all at once, and pickles stay shut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from teachllm.stack.models.gguf import read_gguf
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.loading import config_from_gguf, load_model
from teachllm.stack.models.weights import llama_layout

CONFIG = LlamaConfig(
    vocab_size=32,
    d_model=24,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=6,
    hidden=40,
    context_length=16,
    norm_eps=1e-5,
    qkv_bias=False,
)
JSON: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "hidden_act": "silu",
}


def tensors(kind: Any = "hugging_face", interleaved: bool = False) -> dict[str, Tensor]:
    """Random weights under the names of a file."""
    random = torch.Generator().manual_seed(0)
    layout = llama_layout(CONFIG, kind, interleaved=interleaved)
    return {s.name: torch.randn(s.shape, generator=random) for sources in layout.values() for s in sources}


def folder(path: Path, weights: dict[str, Tensor] | None = None, **changes: Any) -> Path:
    path.mkdir(exist_ok=True)
    entries = {**JSON, **changes}
    (path / "config.json").write_text(json.dumps({k: v for k, v in entries.items() if v is not ...}))
    save_file(tensors() if weights is None else weights, path / "model.safetensors")
    return path


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(torch.arange(10)[None])


def load(source: Path) -> Any:
    return load_model(source, device="cpu", dtype=torch.float32)


def test_shards_give_the_same_model_as_one_file(tmp_path: Path) -> None:
    whole = folder(tmp_path / "whole")
    sharded = folder(tmp_path / "sharded")
    weights = load_file(sharded / "model.safetensors")
    (sharded / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for shard, held in shards.items():
        save_file({name: weights[name] for name in held}, sharded / shard)
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert logits(load(sharded)).equal(logits(load(whole)))

    (sharded / "b.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks b\.safetensors"):
        load(sharded)
    index.write_text(json.dumps({"weight_map": {"x": "../whole/model.safetensors"}}))
    with pytest.raises(ValueError, match="outside its folder"):
        load(sharded)
    index.write_text('{"weight_map"')
    with pytest.raises(ValueError, match=r"index\.json is not JSON; the file may be cut off"):
        load(sharded)


def test_every_tensor_that_does_not_fit_is_named(tmp_path: Path) -> None:
    weights = tensors()
    del weights["model.norm.weight"]
    weights["model.layers.1.self_attn.k_proj.weight"] = torch.zeros(24, 24)
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(24)
    with pytest.raises(ValueError, match="3 tensors do not fit") as refused:
        load(folder(tmp_path / "model", weights))
    message = str(refused.value)
    assert str(tmp_path / "model") in message
    assert "missing: model.norm.weight [24]" in message
    assert "model.layers.1.self_attn.k_proj.weight is [24, 24], expected [12, 24]" in message
    assert "no place for: model.layers.0.self_attn.q_proj.bias [24]" in message


def test_more_layers_than_tensors_are_not_laid_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1000000 layers, but only 21 tensors"):
        load(folder(tmp_path / "model", num_hidden_layers=1_000_000))


def test_computed_tensors_and_a_written_out_tied_head_are_passed_over(tmp_path: Path) -> None:
    weights = tensors()
    plain = load(folder(tmp_path / "untied", weights))
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(3)
    assert logits(load(folder(tmp_path / "computed", weights))).equal(logits(plain))
    tied = load(folder(tmp_path / "tied", weights, tie_word_embeddings=True))
    assert tied.head.weight is tied.embedding.weight
    assert tied.config.n_parameters == plain.config.n_parameters - 32 * 24


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"model_type": "mamba"}, ["model_type is 'mamba'; supported are llama, mistral, qwen2 and gpt2"]),
        ({"hidden_size": ..., "num_hidden_layers": "two"}, ["hidden_size is missing", "num_hidden_layers"]),
        ({"attention_bias": True, "hidden_act": "gelu"}, ["attention_bias = True", "hidden_act = gelu"]),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, ["'yarn' is not supported; default, linear"]),
        ({"rope_scaling": {"type": "linear"}}, ["factor is missing"]),
        ({"hidden_size": 2**40}, ["hidden_size is 1099511627776, expected an integer up to"]),
        ({"rope_scaling": "linear"}, ["the rope parameters are 'linear', expected an object"]),
        ({"rope_scaling": {"type": "linear", "factor": 0.0}}, ["rope_divisors must be above 0"]),
        ({"num_key_value_heads": 3}, ["n_heads = 4 is no multiple of n_kv_heads = 3"]),
    ],
)
def test_a_configuration_that_we_do_not_do_is_refused(
    tmp_path: Path, changes: dict[str, Any], messages: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"config\.json") as refused:
        load(folder(tmp_path / "model", **changes))
    for message in messages:
        assert message in str(refused.value)


def test_a_sliding_window_limits_the_context(tmp_path: Path) -> None:
    model = load(folder(tmp_path / "model", model_type="mistral", sliding_window=12))
    assert model.config.context_length == 12


def test_files_that_are_cut_off_are_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "model")
    weights = path / "model.safetensors"
    content = weights.read_bytes()
    for length in (0, 5, 300, len(content) - 1):
        weights.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors is no whole file of safetensors"):
            load(path)
    weights.write_bytes(content)
    (path / "config.json").write_text('{"model_type": "lla')
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load(path)
    (path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        load(path)


def test_pickle_files_are_not_opened(tmp_path: Path) -> None:
    path = folder(tmp_path / "model")
    (path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        load(path)
    (path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin, a pickle file"):
        load(path)


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    weights = tensors()
    weights["model.norm.weight"] = torch.ones(24, dtype=torch.int8)
    with pytest.raises(ValueError, match=r"model\.norm\.weight holds torch\.int8"):
        load(folder(tmp_path / "model", weights))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nor one of the assets smollm2-135m-instruct"):
        load_model(tmp_path / "nothing.gguf")


def test_device_and_dtype_are_those_asked_for(tmp_path: Path) -> None:
    model = load_model(folder(tmp_path / "model"), device="cpu", dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
    assert model.rope_cos.dtype == torch.bfloat16
    assert logits(model).dtype == torch.bfloat16


# GGUF --------------------------------------------------------------------------------------------------

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "model.layers": "blk", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def as_converter_does(name: str, weight: np.ndarray) -> tuple[str, np.ndarray]:
    """The name in a GGUF file; rows of queries and keys go from half-split to interleaved order."""
    for heads, part in ((4, "q_proj"), (2, "k_proj")):
        if part in name:
            weight = weight.reshape(heads, 2, 3, 24).swapaxes(1, 2).reshape(weight.shape)
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name, weight


def gguf_file(path: Path, without: str = "", extra: dict[str, Any] | None = None) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    sizes = {
        "embedding_length": 24,
        "block_count": 2,
        "feed_forward_length": 40,
        "context_length": 16,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
    }
    for name, value in sizes.items():
        if name != without:
            writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for name, value in (extra or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(f"llama.{name}", value)
    for name, weight in tensors().items():
        writer.add_tensor(*as_converter_does(name, weight.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_and_a_folder_of_one_model_agree(tmp_path: Path) -> None:
    from_gguf = load(gguf_file(tmp_path / "model.gguf"))
    from_folder = load(folder(tmp_path / "model"))
    assert isinstance(from_gguf, Llama)
    # float32 keeps 1e-5 only roughly, so the configurations differ in norm_eps by one rounding.
    torch.testing.assert_close(logits(from_gguf), logits(from_folder), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("without", "extra", "message"),
    [
        ("block_count", {}, "llama.block_count is missing"),
        ("block_count", {"block_count": 2**31}, "llama.block_count is 2147483648, expected an integer"),
        ("block_count", {"block_count": 2**20}, "1048576 layers, but only 21 tensors"),
        ("context_length", {"context_length": 2**23}, "context_length is 8388608; at most 4194304"),
        ("context_length", {"context_length": "long"}, "llama.context_length is 'long', expected an integer"),
        ("", {"expert_count": 8}, "llama.expert_count = 8 is not supported"),
        ("", {"rope.dimension_count": 4}, "llama.rope.dimension_count = 4 is not supported"),
        ("", {"rope.scaling.type": "yarn"}, "rope.scaling.type = 'yarn' is not supported"),
    ],
)
def test_a_gguf_that_we_do_not_do_is_refused(
    tmp_path: Path, without: str, extra: dict[str, Any], message: str
) -> None:
    path = gguf_file(tmp_path / "model.gguf", without, extra)
    with pytest.raises(ValueError, match=r"model\.gguf") as refused:
        config_from_gguf(read_gguf(path))
    assert message in str(refused.value)


def test_a_gguf_whose_tensors_do_not_fit_names_them(tmp_path: Path) -> None:
    path = gguf_file(tmp_path / "model.gguf", "block_count", {"block_count": 3})
    with pytest.raises(ValueError, match="9 tensors do not fit") as refused:
        load(path)
    assert "missing: blk.2.attn_q.weight [24, 24]" in str(refused.value)


def test_the_sizes_of_another_architecture_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"general\.architecture is 'mamba'; supported are llama, qwen2"):
        config_from_gguf(read_gguf(path))

"""A Hugging Face folder: config.json beside one or several files of safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from teachllm.stack.models.config_entries import ConfigEntries
from teachllm.stack.models.gpt2 import GPT2Config
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.models.weights import Layout, gpt2_layout, llama_layout
from teachllm.stack.nn.positions import llama3_frequencies, rope_frequencies

# Tensors that some files hold although they are computed: rotation tables, causal masks.
_COMPUTED = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")


class HuggingFaceFolder:
    """The model in a folder. Every ValueError names the file that is at fault."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shard_of: dict[str, Path] = {}
        for shard in self._shards():
            for name in _open(shard).keys():  # noqa: SIM118 (not a dict)
                if name in self.shard_of:
                    raise ValueError(f"{shard}: the tensor {name} is also in {self.shard_of[name]}")
                self.shard_of[name] = shard

    def config(self) -> LlamaConfig | GPT2Config:
        """The sizes in config.json; ValueError names everything in it that we do not do."""
        path = self.path / "config.json"
        content = _json(path)
        try:
            return _config(content)
        except ValueError as problem:
            raise ValueError(f"{path}: {problem}") from None

    def layout(self, config: LlamaConfig | GPT2Config) -> Layout:
        """Which tensors make which parameter. ValueError if there are fewer tensors than layers."""
        if config.n_layers > len(self.shard_of):
            raise ValueError(f"{config.n_layers} layers, but only {len(self.shard_of)} tensors")
        if isinstance(config, LlamaConfig):
            return llama_layout(config, "hugging_face")
        prefixed = any(name.startswith("transformer.") for name in self.shard_of)
        return gpt2_layout(config, "hugging_face", prefix="transformer." if prefixed else "")

    def shapes(self, config: LlamaConfig | GPT2Config) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors that are weights, by name; without a tied head that is written out."""
        return {
            name: shape
            for name, shape in self.tensor_shapes().items()
            if not name.endswith(_COMPUTED) and not (config.tied_head and name == "lm_head.weight")
        }

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor in the folder, by name."""
        return {
            name: tuple(_open(shard).get_slice(name).get_shape()) for name, shard in self.shard_of.items()
        }

    def read(self, name: str) -> Tensor:
        return _open(self.shard_of[name]).get_tensor(name)

    def _shards(self) -> list[Path]:
        index = self.path / "model.safetensors.index.json"
        if index.exists():
            content = _json(index)
            names = content.get("weight_map") if isinstance(content, dict) else None
            if not isinstance(names, dict) or not names:
                raise ValueError(f"{index} has no weight_map; the download may be cut off: fetch it again")
            shards = sorted({str(name) for name in names.values()})
            if outside := [name for name in shards if Path(name).name != name or name in (".", "..")]:
                raise ValueError(f"{index} names files outside its folder: {outside[:3]}")
            if missing := [name for name in shards if not (self.path / name).is_file()]:
                raise ValueError(f"{self.path} lacks {', '.join(missing)}, named by {index.name}: fetch them")
            return [self.path / name for name in shards]
        if (single := self.path / "model.safetensors").is_file():
            return [single]
        if pickled := sorted(self.path.glob("*.bin")) + sorted(self.path.glob("*.pt*")):
            raise ValueError(
                f"{self.path} holds {pickled[0].name}, a pickle file, which can run code when it is opened. "
                "Fetch the model as safetensors, or convert it."
            )
        raise ValueError(f"{self.path} has no model.safetensors and no model.safetensors.index.json")


def _open(shard: Path) -> Any:
    """A file of safetensors, memory-mapped: opening it again is cheap."""
    try:
        return safe_open(shard, framework="pt")
    except SafetensorError as problem:
        raise ValueError(
            f"{shard} is no whole file of safetensors ({problem}). The download may have been cut off: "
            "delete the file and fetch it again."
        ) from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; a model's folder has one") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is not JSON; the file may be cut off: {problem}") from None


# config.json -------------------------------------------------------------------------------------------


def _config(content: Any) -> LlamaConfig | GPT2Config:
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind not in ("llama", "mistral", "qwen2", "gpt2"):
        raise ValueError(f"model_type is {kind!r}; supported are llama, mistral, qwen2 and gpt2")
    entries = ConfigEntries(content)
    sizes = _gpt2_sizes(entries) if kind == "gpt2" else _llama_sizes(entries, kind)
    if entries.problems:
        raise ValueError("; ".join(entries.problems))
    return GPT2Config(**sizes) if kind == "gpt2" else LlamaConfig(**sizes)


def _llama_sizes(entries: ConfigEntries, kind: str) -> dict[str, Any]:
    entries.only("hidden_act", "silu")
    entries.only("mlp_bias", False)
    entries.only("attention_bias", False)
    d_model, n_heads = entries.integer("hidden_size"), entries.integer("num_attention_heads")
    head_dim = entries.integer("head_dim", d_model // max(n_heads, 1))
    context = entries.integer("max_position_embeddings")
    if kind != "qwen2" or entries.get("use_sliding_window"):
        # Within its window a model with sliding attention is a plain one.
        context = min(context, entries.integer("sliding_window", context))
    rope = entries.get("rope_parameters") or entries.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        entries.problems.append(f"the rope parameters are {str(rope)[:40]!r}, expected an object")
        rope = {}
    rope = ConfigEntries({"rope_theta": entries.get("rope_theta"), **rope})
    base = rope.number("rope_theta", 10_000.0)
    divisors = _rope_divisors(rope, head_dim, base)
    entries.problems += rope.problems
    return {
        "vocab_size": entries.integer("vocab_size"),
        "d_model": d_model,
        "n_layers": entries.integer("num_hidden_layers"),
        "n_heads": n_heads,
        "n_kv_heads": entries.integer("num_key_value_heads", n_heads),
        "head_dim": head_dim,
        "hidden": entries.integer("intermediate_size"),
        "context_length": context,
        "norm_eps": entries.number("rms_norm_eps", 1e-6),
        "rope_base": base,
        "rope_divisors": divisors,
        "tied_head": bool(entries.get("tie_word_embeddings", False)),
        "qkv_bias": kind == "qwen2",
    }


def _rope_divisors(rope: ConfigEntries, head_dim: int, base: float) -> tuple[float, ...] | None:
    """What each frequency is divided by; None without scaling."""
    rope.only("partial_rotary_factor", 1.0)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "linear":
        return (rope.number("factor"),) * (head_dim // 2)
    if kind == "llama3":
        low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
        factor, original = rope.number("factor"), rope.integer("original_max_position_embeddings")
        if head_dim % 2 or rope.problems:
            return None
        plain = rope_frequencies(head_dim, base)
        return tuple((plain / llama3_frequencies(plain, factor, low, high, original)).tolist())
    if kind != "default":
        rope.problems.append(f"rope scaling {kind!r} is not supported; default, linear and llama3 are")
    return None


def _gpt2_sizes(entries: ConfigEntries) -> dict[str, Any]:
    entries.only("activation_function", "gelu_new")
    entries.only("scale_attn_weights", True)
    entries.only("scale_attn_by_inverse_layer_idx", False)
    entries.only("add_cross_attention", False)
    d_model = entries.integer("n_embd")
    return {
        "vocab_size": entries.integer("vocab_size"),
        "d_model": d_model,
        "n_layers": entries.integer("n_layer"),
        "n_heads": entries.integer("n_head"),
        "hidden": entries.integer("n_inner", 4 * d_model),
        "context_length": entries.integer("n_positions"),
        "norm_eps": entries.number("layer_norm_epsilon", 1e-5),
        "tied_head": bool(entries.get("tie_word_embeddings", True)),
    }

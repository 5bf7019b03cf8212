"""Which tensors of a file make which parameter of a model, under the names of either kind of file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from teachllm.stack.models.gpt2 import GPT2Config
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.nn.positions import interleaved_to_half_split

FileKind: TypeAlias = Literal["hugging_face", "gguf"]


@dataclass(frozen=True)
class Source:
    """A tensor in a file, its shape there, and what is done to it."""

    name: str
    shape: tuple[int, ...]
    prepare: Callable[[Tensor], Tensor] | None = None


# Our parameter → the tensors that are stacked to make it. Tied heads are not listed.
Layout: TypeAlias = dict[str, list[Source]]


def llama_layout(config: LlamaConfig, kind: FileKind, *, interleaved: bool = False) -> Layout:
    """interleaved: the file pairs neighbouring rows of queries and keys for rotation; see `nn.positions`."""
    d, head_dim, n_heads, n_kv_heads = config.d_model, config.head_dim, config.n_heads, config.n_kv_heads

    def name(hugging_face: str, gguf: str) -> str:
        return hugging_face if kind == "hugging_face" else gguf

    def turned(heads: int) -> Callable[[Tensor], Tensor] | None:
        return partial(interleaved_to_half_split, n_heads=heads) if interleaved else None

    layout: Layout = {
        "embedding.weight": [
            Source(name("model.embed_tokens.weight", "token_embd.weight"), (config.vocab_size, d))
        ],
        "norm.weight": [Source(name("model.norm.weight", "output_norm.weight"), (d,))],
    }
    if not config.tied_head:
        layout["head.weight"] = [Source(name("lm_head.weight", "output.weight"), (config.vocab_size, d))]
    for i in range(config.n_layers):
        ours, file = f"blocks.{i}.", name(f"model.layers.{i}.", f"blk.{i}.")
        layout[ours + "attention_norm.weight"] = [
            Source(file + name("input_layernorm.weight", "attn_norm.weight"), (d,))
        ]
        layout[ours + "feed_forward_norm.weight"] = [
            Source(file + name("post_attention_layernorm.weight", "ffn_norm.weight"), (d,))
        ]
        for part, columns in (("weight", (d,)), ("bias", ())) if config.qkv_bias else (("weight", (d,)),):
            layout[ours + f"attention.qkv.{part}"] = [
                Source(
                    file + name(f"self_attn.{letter}_proj.{part}", f"attn_{letter}.{part}"),
                    (heads * head_dim, *columns),
                    None if letter == "v" else turned(heads),
                )
                for letter, heads in (("q", n_heads), ("k", n_kv_heads), ("v", n_kv_heads))
            ]
        layout[ours + "attention.out.weight"] = [
            Source(file + name("self_attn.o_proj.weight", "attn_output.weight"), (d, n_heads * head_dim))
        ]
        layout[ours + "feed_forward.gate_up.weight"] = [
            Source(file + name("mlp.gate_proj.weight", "ffn_gate.weight"), (config.hidden, d)),
            Source(file + name("mlp.up_proj.weight", "ffn_up.weight"), (config.hidden, d)),
        ]
        layout[ours + "feed_forward.down.weight"] = [
            Source(file + name("mlp.down_proj.weight", "ffn_down.weight"), (d, config.hidden))
        ]
    return layout


def gpt2_layout(config: GPT2Config, kind: FileKind, *, prefix: str = "") -> Layout:
    """prefix: what stands before every name; Hugging Face files have "transformer." or nothing.

    Hugging Face keeps the matrices of GPT-2's blocks transposed, (in, out).
    """
    d, hidden = config.d_model, config.hidden

    def name(hugging_face: str, gguf: str) -> str:
        return prefix + hugging_face if kind == "hugging_face" else gguf

    layout: Layout = {
        "embedding.weight": [Source(name("wte.weight", "token_embd.weight"), (config.vocab_size, d))],
        "positions.weight": [Source(name("wpe.weight", "position_embd.weight"), (config.context_length, d))],
        "norm.weight": [Source(name("ln_f.weight", "output_norm.weight"), (d,))],
        "norm.bias": [Source(name("ln_f.bias", "output_norm.bias"), (d,))],
    }
    if not config.tied_head:
        head = "lm_head.weight" if kind == "hugging_face" else "output.weight"
        layout["head.weight"] = [Source(head, (config.vocab_size, d))]
    for i in range(config.n_layers):
        for ours, hugging_face, gguf, rows, columns in (
            ("attention.qkv", "attn.c_attn", "attn_qkv", 3 * d, d),
            ("attention.out", "attn.c_proj", "attn_output", d, d),
            ("feed_forward.up", "mlp.c_fc", "ffn_up", hidden, d),
            ("feed_forward.down", "mlp.c_proj", "ffn_down", d, hidden),
        ):
            file = name(f"h.{i}.{hugging_face}", f"blk.{i}.{gguf}")
            transposed = kind == "hugging_face"
            layout[f"blocks.{i}.{ours}.weight"] = [
                Source(file + ".weight", (columns, rows), torch.t)
                if transposed
                else Source(file + ".weight", (rows, columns))
            ]
            layout[f"blocks.{i}.{ours}.bias"] = [Source(file + ".bias", (rows,))]
        for ours, hugging_face, gguf in (
            ("attention_norm", "ln_1", "attn_norm"),
            ("feed_forward_norm", "ln_2", "ffn_norm"),
        ):
            for part in ("weight", "bias"):
                file = name(f"h.{i}.{hugging_face}.{part}", f"blk.{i}.{gguf}.{part}")
                layout[f"blocks.{i}.{ours}.{part}"] = [Source(file, (d,))]
    return layout


def check_layout(layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError naming every tensor that is missing, has another shape, or has no place in the model.

    shapes: those of the tensors in the file, by name.
    """
    wanted = {source.name: source.shape for sources in layout.values() for source in sources}
    problems = [f"missing: {name} {list(shape)}" for name, shape in wanted.items() if name not in shapes]
    problems += [
        f"wrong shape: {name} is {list(shapes[name])}, expected {list(shape)}"
        for name, shape in wanted.items()
        if name in shapes and tuple(shapes[name]) != shape
    ]
    problems += [f"no place for: {name} {list(shapes[name])}" for name in shapes if name not in wanted]
    if problems:
        shown = "\n  ".join(problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise ValueError(f"{len(problems)} tensors do not fit the configuration:\n  {shown}{more}")


def state_dict(
    layout: Layout, read: Callable[[str], Tensor], device: torch.device | str, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Our parameters, tensor by tensor; `read` gives a tensor of the file by name."""
    state = {}
    for ours, sources in layout.items():
        rows = 0
        for source in sources:
            part = read(source.name)
            if not part.is_floating_point():
                raise ValueError(
                    f"{source.name} holds {part.dtype}; only float32, float16 and bfloat16 are read"
                )
            part = source.prepare(part) if source.prepare else part
            if rows == 0:
                total = sum(s.shape[0] for s in sources) if len(sources) > 1 else part.shape[0]
                state[ours] = torch.empty((total, *part.shape[1:]), dtype=dtype, device=device)
            state[ours][rows : rows + len(part)] = part
            rows += len(part)
    return state


def file_tensors(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `state_dict` for a layout whose tensors are stacked and transposed, nothing else: our
    parameters as the tensors of a file. They may share memory with ours.
    """
    tensors: dict[str, Tensor] = {}
    for ours, sources in layout.items():
        transposed = [source.prepare is torch.t for source in sources]
        if any(source.prepare not in (None, torch.t) for source in sources):
            raise ValueError(f"{ours} is reordered when it is read, which this cannot undo")
        rows = [source.shape[-1 if turned else 0] for source, turned in zip(sources, transposed, strict=True)]
        for source, turned, part in zip(sources, transposed, state[ours].split(rows), strict=True):
            tensors[source.name] = part.t() if turned else part
    return tensors

"""A Llama whose small steps are one parallel region each, instead of some 300 operations of PyTorch.

It is the same model for everything else: prompts, training code, hooks, a learner's attention. See
`nn.fast.decode_step` for what happens inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from teachllm.stack.models.llama import Llama
from teachllm.stack.nn.attention import attention_is_replaced
from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.decode_step import HEAD, STEP, head_kernel, phases, private_bytes, step_kernel
from teachllm.stack.nn.fast.phases import counters
from teachllm.stack.nn.fast.placement import Placed, Placement
from teachllm.stack.nn.fast.row_products import COLUMNS, ROWS, Kind
from teachllm.stack.nn.kv_cache import CacheView
from teachllm.stack.nn.positions import rope_frequencies
from teachllm.stack.quantization.packing import Packed

# Rows of a step: with more, PyTorch's matrix products are faster, which read bfloat16.
MOST_ROWS: dict[Kind, int] = {"float32": 8, "bfloat16": 32, "int8": 64, "int4": 64, "int4_minima": 64}


def why_not(model: nn.Module) -> str | None:
    """Why a model's steps cannot be fused here; None if they can."""
    if not isinstance(model, Llama):
        return f"{type(model).__name__} is no Llama"
    c, weights = model.config, list(model.parameters())
    if not all(threads.can_run(weight) for weight in weights) or len({w.dtype for w in weights}) > 1:
        return "weights must be on a CPU with PyTorch's threads, contiguous, all float32 or all bfloat16"
    sizes = {"d_model": c.d_model, "hidden": c.hidden, "n_heads · head_dim": c.n_heads * c.head_dim}
    if odd := [f"{name} = {size}" for name, size in sizes.items() if size % COLUMNS]:
        return f"{', '.join(odd)}: no multiple of {COLUMNS}"
    if c.head_dim % ROWS or c.head_dim > 256:
        return f"head_dim = {c.head_dim}: no multiple of {ROWS} up to 256"
    return None


class FusedLlama(Llama):
    """Shares its parts with the model that it is made from. Logits are float32.

    packed: quantized matrices by the name of their weight; either all of the blocks' or none, of one kind,
    and the head's or not. What they stand for must be what `model` holds, since prompts are read with that.
    ValueError if steps of this model cannot be fused, with the reason.
    """

    def __init__(self, model: Llama, packed: Mapping[str, Packed] | None = None) -> None:
        if reason := why_not(model):
            raise ValueError(f"the steps of this model cannot be fused: {reason}")
        with torch.device("meta"):
            super().__init__(model.config)
        packed = packed or {}
        self.embedding, self.blocks, self.norm = model.embedding, model.blocks, model.norm
        self.rope_cos, self.rope_sin = model.rope_cos, model.rope_sin
        self.head = FusedHead(model.head.weight, packed.get("head.weight"))
        self._step = _Step(model, packed)
        self.eval()

    @property
    def weights(self) -> str:
        """The kinds of weights that a step reads."""
        kinds = (self._step.kind, self.head.kind)
        return kinds[0] if kinds[0] == kinds[1] else f"{kinds[0]}, head {kinds[1]}"

    @property
    def most_rows(self) -> int:
        """Rows that kernels compute, each by itself; more rows go through PyTorch's products."""
        return min(MOST_ROWS[self._step.kind], MOST_ROWS[self.head.kind])

    @property
    def is_quantized(self) -> bool:
        return self._step.kind not in ("float32", "bfloat16")

    @property
    def bytes_read(self) -> int:
        """Of matrices, in a step: every weight once."""
        return self._step.n_bytes + self.head.n_bytes

    def features(
        self, tokens: Int[Tensor, "batch length"], cache: CacheView | None = None
    ) -> Float[Tensor, "batch length d_model"]:
        placement = None
        if tokens.shape[0] == 1 and tokens.shape[1] <= MOST_ROWS[self._step.kind] and not self._is_watched():
            placement = cache.placement(tokens.shape[1]) if isinstance(cache, Placed) else None
        if cache is None or placement is None or not self._can_read(placement):
            return super().features(tokens, cache)
        features = self._step(self.embedding(tokens)[0], placement)
        cache.advance(tokens.shape[1])
        return features[None]

    def _can_read(self, placement: Placement) -> bool:
        in_context = placement.positions.max() < self.config.context_length
        return in_context and placement.dtype == self.embedding.weight.dtype

    def _is_watched(self) -> bool:
        """Whether somebody must see what happens inside: gradients, hooks, another attention."""
        return (
            torch.is_grad_enabled()
            or attention_is_replaced()
            or any(block._forward_hooks or block._forward_pre_hooks for block in self.blocks)
        )


class FusedHead(nn.Module):
    """Logits in float32; those of few rows by a kernel, which reads `packed` if it is given."""

    def __init__(self, weight: Tensor, packed: Packed | None) -> None:
        super().__init__()
        self.weight = weight
        self._packed = packed
        self.kind: Kind = _plain_kind(weight.dtype) if packed is None else packed.kind
        self._matrix = weight.detach() if packed is None else packed.blocks
        self.n_bytes = self._matrix.nbytes

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        n_rows = x.numel() // x.shape[-1]
        if not 0 < n_rows <= MOST_ROWS[self.kind] or torch.is_grad_enabled() or x.device.type != "cpu":
            return F.linear(x.to(self.weight.dtype), self.weight).float()
        vocab, columns = self.weight.shape
        rows = self._matrix.shape[0] * (1 if self._packed is None else ROWS)
        vectors = x.float().contiguous()
        logits = torch.empty(n_rows, rows)
        private, size, n_threads = _private(private_bytes(n_rows, columns, 0))
        values = {
            "counters": counters(1, n_threads), "n_threads": n_threads, "n_rows": n_rows, "columns": columns,
            "vocab": rows, "weights": self._matrix, "x": vectors, "logits": logits, "private": private,
            "private_bytes": size,
        }  # fmt: skip
        threads.enter(head_kernel(self.kind), _numbers(HEAD, values))
        return logits[:, :vocab].reshape(*x.shape[:-1], vocab)


class _Step:
    """The arguments of the kernel, most of which stay the same from step to step."""

    def __init__(self, model: Llama, packed: Mapping[str, Packed]) -> None:
        c = model.config
        self._config, self._dtype = c, model.embedding.weight.dtype
        names = [f"blocks.{i}.{m}.weight" for i in range(c.n_layers) for m in _MATRICES]
        plain = _plain_kind(self._dtype)
        kinds: set[Kind] = {packed[name].kind if name in packed else plain for name in names}
        if len(kinds) > 1:
            raise ValueError(f"the matrices of the blocks are {', '.join(sorted(kinds))}: all must be alike")
        self.kind: Kind = kinds.pop()
        self._kept: list[Tensor] = []  # what the kernel reads must not be freed
        self.n_bytes = 0  # of matrices
        state = model.state_dict()
        rows = [
            [
                self._keep(state[f"blocks.{i}.attention_norm.weight"].float()),
                self._matrix(f"blocks.{i}.attention.qkv.weight", state, packed),
                self._keep(state[f"blocks.{i}.attention.qkv.bias"].float()) if c.qkv_bias else 0,
                self._matrix(f"blocks.{i}.attention.out.weight", state, packed),
                self._keep(state[f"blocks.{i}.feed_forward_norm.weight"].float()),
                self._matrix(f"blocks.{i}.feed_forward.gate_up.weight", state, packed),
                self._matrix(f"blocks.{i}.feed_forward.down.weight", state, packed),
            ]
            for i in range(c.n_layers)
        ]
        self._layers = np.array(rows, dtype=np.int64)
        self._norm = model.norm.weight.detach().float()
        frequencies = rope_frequencies(c.head_dim, c.rope_base)
        if c.rope_divisors is not None:
            frequencies = frequencies / torch.tensor(c.rope_divisors)
        self._frequencies = frequencies

    def __call__(self, x: Float[Tensor, "rows d_model"], at: Placement) -> Float[Tensor, "rows d_model"]:
        """What the head reads, in float32. `x` may be overwritten."""
        c, n_rows = self._config, len(x)
        x = x.float()
        angles = torch.from_numpy(at.positions)[:, None] * self._frequencies
        inner = torch.empty(2, n_rows, c.n_heads * c.head_dim)
        longest = at.block_size * at.tables.shape[1]
        widest = max(c.d_model, c.hidden, c.n_heads * c.head_dim)
        private, size, n_threads = _private(private_bytes(n_rows, widest, longest))
        features = torch.empty_like(x)
        values: dict[str, Any] = {
            "counters": counters(phases(c.n_layers), n_threads), "n_threads": n_threads, "n_rows": n_rows,
            "n_layers": c.n_layers, "d_model": c.d_model, "n_heads": c.n_heads, "n_kv_heads": c.n_kv_heads,
            "head_dim": c.head_dim, "hidden": c.hidden, "eps": int(np.float64(c.norm_eps).view(np.int64)),
            "layers": self._layers, "x": x, "q": inner[0], "mixed": inner[1],
            "activation": torch.empty(n_rows, c.hidden), "norm": self._norm, "features": features,
            "cos": angles.cos(), "sin": angles.sin(), "positions": at.positions, "cache_layers": at.layers,
            "tables": at.tables, "table_width": at.tables.shape[1], "block_size": at.block_size,
            "block_stride": at.block_stride, "head_stride": at.head_stride,
            "position_stride": at.position_stride, "private": private, "private_bytes": size,
        }  # fmt: skip
        threads.enter(step_kernel(self.kind, threads.NUMBERS[self._dtype]), _numbers(STEP, values))
        return features

    def _keep(self, tensor: Tensor) -> int:
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _matrix(self, name: str, state: Mapping[str, Tensor], packed: Mapping[str, Packed]) -> int:
        matrix = packed[name].blocks if name in packed else state[name]
        self.n_bytes += matrix.nbytes
        return self._keep(matrix)


_MATRICES = ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")


def _numbers(names: Sequence[str], values: Mapping[str, Any]) -> NDArray[np.int64]:
    """What a kernel is given: numbers as they are, of tensors and arrays the address."""
    return np.array([_number(values[name]) for name in names], dtype=np.int64)


def _number(value: Tensor | NDArray[Any] | int) -> int:
    if isinstance(value, Tensor):
        return value.data_ptr()
    return value.ctypes.data if isinstance(value, np.ndarray) else value


def _private(n_bytes: int) -> tuple[Tensor, int, int]:
    """Room for every thread, how much each has, and how many they are."""
    n_threads = torch.get_num_threads()
    return torch.empty(n_threads * n_bytes, dtype=torch.uint8), n_bytes, n_threads


def _plain_kind(dtype: torch.dtype) -> Kind:
    return "bfloat16" if dtype == torch.bfloat16 else "float32"

"""How a model decodes on this machine: in which weights, and by which kernels, chosen once and said why."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from teachllm.stack.inference.command import Weights
from teachllm.stack.inference.fused_llama import FusedLlama, why_not
from teachllm.stack.inference.packed_weights import pack_for_decoding
from teachllm.stack.models.gguf import read_gguf
from teachllm.stack.models.gpt2 import GPT2
from teachllm.stack.models.llama import Llama
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.nn.measurements import LEAST_PARAMETERS, remembered
from teachllm.stack.quantization.llama_weights import bits_of, round_weights, weights_of_gguf
from teachllm.stack.quantization.packing import Packed

MEASURED_STEPS = 5
LONG_PROMPT = 65  # more rows than a fused step takes


@dataclass(frozen=True)
class Decoding:
    """A model ready to decode, and what was chosen for it, in English and Chinese."""

    model: Llama | GPT2
    reason: str
    reason_zh: str


def prepare_for_decoding(model: Llama | GPT2, path: Path, weights: Weights | None = None) -> Decoding:
    """`model`, loaded from `path`, with the fastest steps for these weights; None: those it has.

    "auto": as the file has them, if it has them in 8 or 4 bits and a kernel reads those; else as None.

    It can no longer be trained or moved. Rounding weights changes what it computes, choosing among kernels
    only the order in which sums are rounded. ValueError if it cannot have such weights here.
    """
    if weights not in (None, *get_args(Weights)):
        raise ValueError(f"weights is {weights!r}; it must be one of {', '.join(get_args(Weights))}")
    obstacle = why_not(model)
    if weights == "int8" or weights == "int4":
        if obstacle is not None or not isinstance(model, Llama):
            raise ValueError(f"weights = {weights} is not possible: {obstacle}")
        packed = _own_codes(model, path)
        if packed is None or bits_of(packed) != weights:
            packed = round_weights(model, weights)
            how, how_zh = "rounded to nearest in groups of 32", "每 32 个一组，舍入到最近的值"
        else:
            how, how_zh = "the file's own codes", "就是文件里的编码"
        return _fused(model, packed, how, how_zh)
    if weights == "auto" and obstacle is None and isinstance(model, Llama):
        packed = _own_codes(model, path)
        if packed is not None:
            return _fused(model, packed, "the file's own codes", "就是文件里的编码")
    return _fastest(model, obstacle)


def _own_codes(model: Llama, path: Path) -> dict[str, Packed] | None:
    return None if path.is_dir() else weights_of_gguf(read_gguf(path), model)


def _fused(model: Llama, packed: dict[str, Packed], how: str, how_zh: str) -> Decoding:
    fused = FusedLlama(model, packed)
    _step_seconds(fused, 0)  # compiles what is not on disk yet, now rather than in the first answer
    return Decoding(fused, f"fused steps, {fused.weights}: {how}", f"融合的解码步，{fused.weights}：{how_zh}")


def _fastest(model: Llama | GPT2, obstacle: str | None) -> Decoding:
    """Fused steps or PyTorch's, by a measurement that is kept on disk."""
    if obstacle is None and sum(weight.numel() for weight in model.parameters()) < LEAST_PARAMETERS:
        obstacle = "the model is small"
    if obstacle is not None or not isinstance(model, Llama):
        pack_for_decoding(model)
        return Decoding(model, f"PyTorch's kernels: {obstacle}", f"PyTorch 的算子：{obstacle}")
    fused = FusedLlama(model)
    facts = model.config, model.embedding.weight.dtype
    times = remembered("decoding", facts, 2, lambda: (_step_seconds(fused), _step_seconds(model)))
    fused_ms, plain_ms = (1000 * seconds for seconds in times)
    figures = f"a step {fused_ms:.1f} ms fused, {plain_ms:.1f} ms by PyTorch"
    figures_zh = f"每步：融合 {fused_ms:.1f} ms，PyTorch {plain_ms:.1f} ms"
    if fused_ms < plain_ms:
        return Decoding(fused, f"fused steps ({figures})", f"融合的解码步（{figures_zh}）")
    pack_for_decoding(model)
    return Decoding(model, f"PyTorch's kernels ({figures})", f"PyTorch 的算子（{figures_zh}）")


@torch.inference_mode()
def _step_seconds(model: Llama, n_steps: int = MEASURED_STEPS) -> float:
    """Median seconds of `n_steps` steps, after a prompt and a step that compile what is not on disk yet."""
    cache = KVCache.for_model(model.config, 1 + n_steps, dtype=model.embedding.weight.dtype)
    token = torch.zeros(1, 1, dtype=torch.long)
    if model.config.context_length > LONG_PROMPT:
        model(token.expand(1, LONG_PROMPT), last_only=True)
    taken = []
    for _ in range(1 + n_steps):
        began = time.perf_counter()
        model(token, cache, last_only=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[-n_steps:])

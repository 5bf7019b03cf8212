"""How attention is computed on this device: chosen once, by measuring where there are several ways.

It has three uses. Training computes whole rows, forward and backward; prompts are read without a gradient;
and a step of serving computes one new token of each of many texts, whose keys and values lie in blocks. The
ways:

    cpu     numba     our matrix products in blocks, or our kernel that reads blocks of keys where they lie
            pytorch   its kernel; keys in blocks are gathered first
    cuda    pytorch   its FlashAttention; keys in blocks are gathered first
            triton    our FlashAttention, and our kernel that reads blocks of keys where they lie
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from teachllm.stack.nn.attention import fused_causal_attention
from teachllm.stack.nn.attention_ways import Heads, Use, Way, take, usual_way
from teachllm.stack.nn.fast import paged_attention as fast_blocks
from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.measurements import LEAST_PARAMETERS, remembered
from teachllm.stack.nn.paged_attention import decode_attention

WARM, TIMES = 3, 7  # runs before those that count: kernels compile in the first
WORTHWHILE = 0.9  # of the usual way's time; a noisy computer must not choose
TEXTS, LONGEST = 8, 1024  # texts of a step that is measured; positions of a row or a text
LARGEST_TRITON_HEAD = 128  # tiles of larger heads do not fit into the on-chip memory of common GPUs

_WAYS: dict[str, tuple[Way, ...]] = {"cpu": ("numba", "pytorch"), "cuda": ("pytorch", "triton")}


@dataclass(frozen=True)
class AttentionChoice:
    """A way of computing attention, and why it was chosen, in English and Chinese."""

    way: Way
    reason: str
    reason_zh: str


def choose_attention(
    use: Use, heads: Heads, length: int, n_parameters: int, *, block_size: int = 16
) -> AttentionChoice:
    """The fastest way for this use over `length` positions. Models that compute attention of such heads in
    this process take it from now on; of "blocks", who makes the cache view must be given it.

    n_parameters: of the model; for a small one nothing is measured, and the usual way is taken. Measurements
    are kept on disk, so that another run takes the same way: ways differ in the order in which sums are
    rounded. block_size: of keys in blocks.
    """
    ways: tuple[Way, ...] = _WAYS.get(heads.device, ("pytorch",))
    obstacles: dict[Way, tuple[str, str] | None] = {way: why_not(use, way, heads, block_size) for way in ways}
    possible: list[Way] = [way for way in ways if obstacles[way] is None]
    usual = usual_way(use, heads.device, heads.dtype)
    if len(possible) < 2:
        way = possible[0]
        because = [
            (f"{_title(use, other)[0]} is not possible: {why[0]}", f"{_title(use, other)[1]}用不了：{why[1]}")
            for other, why in obstacles.items()
            if why is not None
        ] or [(f"the only one for {heads.device}", f"{heads.device} 上只有它")]
        chosen = _choice(use, way, *because[0])
    elif n_parameters < LEAST_PARAMETERS:
        chosen = _choice(use, usual, "not measured, since the model is small", "模型小，不必测量")
    else:
        chosen = _fastest(use, heads, min(length, LONGEST), possible, usual, block_size)
    if use != "blocks":
        take(use, heads, chosen.way)
    return chosen


def why_not(use: Use, way: Way, heads: Heads, block_size: int = 16) -> tuple[str, str] | None:
    """Why attention cannot be computed this way here, in English and Chinese; None if it can."""
    if way == "numba":
        if not threads.can_run(torch.empty(0)):
            return "this PyTorch does not bring its OpenMP threads", "这个 PyTorch 没带上它的 OpenMP 线程"
        if heads.dtype not in threads.NUMBERS:
            return f"it knows no {heads.dtype}", f"它不认识 {heads.dtype}"
        if use == "blocks":
            with torch.no_grad():
                if not fast_blocks.can_run(_empty_blocks(heads, block_size)):
                    sizes = f"head_dim = {heads.head_dim}, block_size = {block_size}"
                    return f"{sizes} are not in whole tiles", f"{sizes} 分不成整块"
    if way == "triton":
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed", "没有安装 Triton"
        if heads.head_dim > LARGEST_TRITON_HEAD:
            wide = f"head_dim = {heads.head_dim}"
            return f"{wide} is more than {LARGEST_TRITON_HEAD}", f"{wide}，超过 {LARGEST_TRITON_HEAD}"
    return None


def _fastest(
    use: Use, heads: Heads, length: int, possible: list[Way], usual: Way, block_size: int
) -> AttentionChoice:
    facts = (heads, length, possible, block_size, _triton_version() if "triton" in possible else None)
    taken = remembered(
        f"attention-{use}",
        facts,
        len(possible),
        lambda: _seconds([_run(use, way, heads, length, block_size) for way in possible], heads.device),
    )
    seconds: dict[Way, float] = dict(zip(possible, taken, strict=True))
    best: Way = min(possible, key=lambda way: seconds[way])
    way: Way = best if seconds[best] < WORTHWHILE * seconds[usual] else usual
    what, what_zh = {
        "training": (f"forward and backward of {length} tokens", f"{length} 个 token 的前向加反向"),
        "prompts": (f"a prompt of {length} tokens", f"{length} 个 token 的提示"),
        "blocks": (f"a token of {TEXTS} texts of {length}", f"{TEXTS} 段 {length} 长的文本各一个 token"),
    }[use]
    slower: list[Way] = [other for other in possible if other != way]
    figures = "".join(f"; {_title(use, other)[0]} {1e3 * seconds[other]:.2f} ms" for other in slower)
    figures_zh = "".join(f"；{_title(use, other)[1]} {1e3 * seconds[other]:.2f} ms" for other in slower)
    own = f"{1e3 * seconds[way]:.2f} ms"
    return _choice(use, way, f"{what}, a layer: {own}{figures}", f"每层，{what_zh}：{own}{figures_zh}")


def _choice(use: Use, way: Way, why: str, why_zh: str) -> AttentionChoice:
    title, title_zh = _title(use, way)
    return AttentionChoice(way, f"{title} ({why})", f"{title_zh}（{why_zh}）")


def _title(use: Use, way: Way) -> tuple[str, str]:
    if way == "triton":
        return "our Triton kernel", "自写的 Triton 内核"
    if use == "blocks":
        return {
            "numba": ("our kernel, which reads blocks where they lie", "就地读块的自写内核"),
            "pytorch": ("PyTorch's kernel over gathered keys", "先收集键值、再用 PyTorch 的算子"),
        }[way]
    return {
        "numba": ("our matrix products in blocks", "自写的分块矩阵乘法"),
        "pytorch": ("PyTorch's kernel", "PyTorch 的算子"),
    }[way]


def _triton_version() -> str:
    import triton

    return triton.__version__


# Measuring ---------------------------------------------------------------------------------------------


@torch.no_grad()
def _seconds(runs: list[Callable[[], object]], device: str) -> list[float]:
    """Median seconds of each, taken in turns."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(WARM + TIMES):
        for own, run in zip(taken, runs, strict=True):
            began = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            own.append(time.perf_counter() - began)
    return [statistics.median(own[WARM:]) for own in taken]


def _run(use: Use, way: Way, heads: Heads, length: int, block_size: int) -> Callable[[], object]:
    """Attention of one layer, once, as a model calls it."""
    if use == "blocks":
        return _blocks_run(way, heads, length, block_size)
    counts = heads.n_heads, heads.n_kv_heads, heads.n_kv_heads, heads.n_heads
    q, k, v, d_out = (_random((1, n, length, heads.head_dim), heads) for n in counts)
    given = [x.requires_grad_(use == "training") for x in (q, k, v)]

    def run() -> object:
        take(use, heads, way)
        with torch.set_grad_enabled(use == "training"):
            out = fused_causal_attention(*given)
            return torch.autograd.grad(out, given, d_out) if use == "training" else out

    return run


def _blocks_run(way: Way, heads: Heads, length: int, block_size: int) -> Callable[[], object]:
    each = -(-length // block_size)
    shape = (TEXTS * each, block_size, heads.n_kv_heads, heads.head_dim)
    q, keys, values = (_random(s, heads) for s in ((TEXTS, heads.n_heads, heads.head_dim), shape, shape))
    tables = torch.randperm(TEXTS * each, generator=torch.Generator().manual_seed(1)).view(TEXTS, each)
    if way == "numba":
        texts = np.arange(TEXTS)
        rows = fast_blocks.PagedRows(tables.numpy(), texts, texts, np.full(TEXTS, length))
        out = torch.empty_like(q)
        return partial(fast_blocks.paged_rows_attention, q, keys, values, rows, out)
    n_keys = torch.full((TEXTS,), length, device=heads.device)
    return partial(decode_attention(way), q, keys, values, tables.to(heads.device), n_keys)


def _random(shape: tuple[int, ...], heads: Heads) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return made.to(heads.device, heads.dtype)


def _empty_blocks(heads: Heads, block_size: int) -> Tensor:
    return torch.empty(0, block_size, heads.n_kv_heads, heads.head_dim, dtype=heads.dtype)

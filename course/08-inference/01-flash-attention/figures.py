"""Figures, labs and values of lesson 8.1: softmax in pieces, tiles, and what moves between memory and chip."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from teachllm.school.figures import (
    Bars,
    Both,
    Choice,
    Event,
    Heatmap,
    Lines,
    Metric,
    Predict,
    Progress,
    Sample,
    Say,
    Show,
    Slider,
    Table,
    Text,
    TextInput,
    Toggle,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import greedy_answer, model, question_ids
from teachllm.stack.inference.roofline import roofline_seconds
from teachllm.stack.nn.attention import use_attention
from teachllm.stack.nn.flash_attention import flash_forward, flash_forward_v1
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.nn.memory_traffic import (
    Hbm,
    flash_attention_bytes,
    flash_v1_bytes,
    standard_attention,
    standard_attention_bytes,
)
from teachllm.stack.nn.online_softmax import (
    SoftmaxState,
    empty_state,
    finish_softmax,
    merge_softmax,
    naive_softmax,
    online_softmax,
    safe_softmax,
    softmax_state,
    update_softmax,
)
from teachllm.stack.nn.tensor_memory import TensorMemory

MEGA = 1e6
PEAK, BANDWIDTH = 312e12, 2.039e12  # A100 80GB SXM, bf16, without sparsity: the data sheet


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- overflow


@value
def overflow_at(dtype: str) -> float:
    """The score from which e^score is no number of that dtype any more: ln of its largest number."""
    return math.log(torch.finfo(getattr(torch, dtype)).max)


@value
def matrix_megabytes(n: int, heads: int = 1) -> float:
    """The matrix of scores in 16 bits."""
    return heads * n * n * 2 / MEGA


@value
def row_block_megabytes(n: int, block: int) -> float:
    """The scores of `block` queries in float32."""
    return block * n * 4 / MEGA


# ---------------------------------------------------------------- four keys by hand

SCORES = torch.tensor([[1.0, 3.0, 2.0, 5.0]], dtype=torch.float64)
VALUES = torch.tensor([[10.0], [20.0], [30.0], [40.0]], dtype=torch.float64)


def by_hand() -> dict[str, SoftmaxState]:
    first = softmax_state(SCORES[:, :2], VALUES[:2])
    second = softmax_state(SCORES[:, 2:], VALUES[2:])
    return {"first": first, "second": second, "both": merge_softmax(first, second)}


@value
def hand(block: str, what: str) -> float:
    """m, total, acc or out of the first block, the second, or both."""
    m, total, acc = by_hand()[block]
    return {"m": m, "total": total, "acc": acc, "out": acc / total}[what].item()


@value
def hand_all_at_once() -> float:
    return (torch.softmax(SCORES, -1) @ VALUES).item()


# ---------------------------------------------------------------- one row, block by block

ROWS: dict[str, tuple[Both, list[float]]] = {
    "late": (
        Both("最大的在最后一块", "the largest comes last"),
        [1.0, 0.5, 2.0, 1.5, 0.0, 2.5, 1.0, 2.0, 1.5, 1.0, 4.5, 3.0],
    ),
    "early": (
        Both("最大的在第一块", "the largest comes first"),
        [4.5, 3.0, 1.0, 0.5, 2.0, 1.5, 0.0, 2.5, 1.0, 2.0, 1.5, 1.0],
    ),
    "rising": (Both("一路上升", "rising all the way"), [0.5 * i for i in range(12)]),
}


def states_of(scores: list[float], block: int) -> list[tuple[slice, SoftmaxState]]:
    """The real function, with unit vectors as values: the numerators then are the weights of single keys."""
    row, values = torch.tensor([scores], dtype=torch.float64), torch.eye(len(scores), dtype=torch.float64)
    state, states = empty_state((1,), len(scores), torch.float64), []
    for start in range(0, len(scores), block):
        columns = slice(start, min(start + block, len(scores)))
        state = update_softmax(state, row[:, columns], values[columns])
        states.append((columns, state))
    return states


def old_sum_factor(jump: float) -> float:
    """What the sum so far is multiplied by when the maximum grows by `jump`."""
    one = softmax_state(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    higher = softmax_state(
        torch.full((1, 1), jump, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    )
    return merge_softmax(one, higher)[2].item()


@figure(
    title=Both("一行分数，一块一块地来", "One row of scores, block by block"),
    predict=Predict(
        Both(
            "前面几块的最大值是 2.5，分母已经攒到了 ℓ。新来的一块最大值是 4.5。旧的 ℓ 要乘上多少，才能接着用？",
            "The maximum so far is 2.5 and the denominator has grown to ℓ. The next block has a maximum of 4.5. By what is the old ℓ multiplied before it can be used again?",
        ),
        low=0.0,
        high=2.0,
        step=0.01,
        answer=lambda: old_sum_factor(2.0),
        explain=lambda: Both(
            f"乘 e^(2.5 − 4.5) = {old_sum_factor(2.0):.3f}。旧的每一项都是 e^(s − 2.5)，乘上它就变成 e^(s − 4.5)，一项都不用重读。",
            f"By e^(2.5 − 4.5) = {old_sum_factor(2.0):.3f}. Each old term is e^(s − 2.5); multiplied by that it is e^(s − 4.5), and none has to be read again.",
        ),
    ),
)
def one_row(
    row: Annotated[
        str, Choice([(name, label) for name, (label, _) in ROWS.items()], label=Both("分数", "scores"))
    ] = "late",
    block: Annotated[int, Slider(1, 6, label=Both("每块几个 key", "keys in a block"))] = 3,
    seen: Annotated[int, Slider(1, 12, label=Both("已读到第几块", "blocks read so far"))] = 2,
) -> list[Bars | Table]:
    scores = ROWS[row][1]
    states = states_of(scores, block)
    seen = min(seen, len(states))
    final, now = finish_softmax(states[-1][1])[0][0], finish_softmax(states[seen - 1][1])[0][0]
    rows, m_before = [], -math.inf
    for number, (columns, (m, total, _)) in enumerate(states[:seen], start=1):
        factor = "—" if number == 1 else f"{math.exp(m_before - m.item()):.3f}"
        rows.append(
            [
                number,
                ", ".join(f"{s:g}" for s in scores[columns]),
                f"{m.item():g}",
                factor,
                f"{total.item():.3f}",
            ]
        )
        m_before = m.item()
    return [
        Bars(
            [f"{s:g}" for s in scores],
            series={
                Both("到目前为止的权重", "weights so far"): now,
                Both("读完之后的权重", "weights in the end"): final,
            },
            y_max=1.0,
            note=Both("每根柱子下面是那个 key 的分数", "each bar is named by the score of its key"),
        ),
        Table(
            [
                Both("第几块", "block"),
                Both("这一块的分数", "its scores"),
                Both("最大值 m", "maximum m"),
                Both("旧的和乘以", "old sums times"),
                Both("分母 ℓ", "denominator ℓ"),
            ],
            rows,
            highlight_row=seen - 1,
        ),
    ]


# ---------------------------------------------------------------- three ways, three dtypes

SOFTMAXES: dict[str, tuple[Both, Callable[[Tensor], Tensor]]] = {
    "naive": (Both("直接取指数", "naive"), naive_softmax),
    "safe": (Both("先减最大值", "safe"), safe_softmax),
    "online": (Both("在线，每块 8 个", "online, blocks of 8"), lambda x: online_softmax(x, 8)),
}
DTYPES = ("float16", "bfloat16", "float32")


@functools.lru_cache(maxsize=128)
def softmax_error(kind: str, dtype: str, largest: float) -> float:
    """The largest error of a weight, over 64 rows of 64 scores from −largest to largest; NaN after an overflow.

    Against float64, for the same rounded scores.
    """
    scores = normal(64, 64)
    scores = (scores / scores.abs().amax(-1, keepdim=True) * largest).to(getattr(torch, dtype))
    return (SOFTMAXES[kind][1](scores).double() - torch.softmax(scores.double(), -1)).abs().max().item()


SIZES = (1, 2, 3, 5, 7, 9, 10, 11, 12, 15, 20, 30, 50, 70, 85, 88, 90, 100, 150, 200)


@value
def online_error_ratio(dtype: str) -> float:
    """How many times as wrong the online softmax is as the safe one, each at its worst."""
    online, safe = (max(softmax_error(kind, dtype, size) for size in SIZES) for kind in ("online", "safe"))
    return online / safe


@figure(
    title=Both("三种 softmax 错多少", "How wrong three softmaxes are"),
    predict=Predict(
        Both(
            "用 float16，不减最大值，直接取指数。分数从多大开始，e 的分数次方就存不下了？",
            "In float16, exponentials taken as they are. From which score on does e^score no longer fit?",
        ),
        low=0.0,
        high=100.0,
        step=0.5,
        answer=lambda: overflow_at("float16"),
        explain=lambda: Both(
            f"{overflow_at('float16'):.2f}：float16 最大只到 65504。float32 和 bfloat16 要到 {overflow_at('float32'):.1f}。",
            f"{overflow_at('float16'):.2f}, as the largest float16 is 65,504. float32 and bfloat16 go up to {overflow_at('float32'):.1f}.",
        ),
    ),
)
def softmax_errors(
    dtype: Annotated[
        str, Choice([(name, Both.same(name)) for name in DTYPES], label=Both("数的格式", "format of numbers"))
    ] = "float16",
) -> Lines:
    series: dict[Both, tuple[list[int], list[float]]] = {}
    for kind, (name, _) in SOFTMAXES.items():
        errors = [(size, softmax_error(kind, dtype, size)) for size in SIZES]
        fine = [(size, max(error, 1e-12)) for size, error in errors if not math.isnan(error)]
        series[name] = ([size for size, _ in fine], [error for _, error in fine])
    return Lines(
        series,
        x_label=Both("最大的分数", "largest score"),
        y_label=Both("权重的最大误差", "largest error of a weight"),
        x_log=True,
        y_log=True,
        marks=[(overflow_at(dtype), Both("溢出", "overflow"))],
    )


# ---------------------------------------------------------------- the walk through the tiles

BLOCKS, BLOCK, WIDTH = 6, 4, 4
# What crosses beside the matrices: version 1 carries m and ℓ to and fro, version 2 writes L in the end.
STATE = {"keys": "m, ℓ", "queries": "L"}


class Diary(Hbm):
    """A meter that also writes down what crossed: ("read" or "write", which matrix, which block)."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, state: str) -> None:
        super().__init__()
        self.state = state
        self.names = {x.untyped_storage().data_ptr(): name for x, name in ((q, "Q"), (k, "K"), (v, "V"))}
        self.entries: list[tuple[str, str, int]] = []

    def read(self, tile: Tensor) -> Tensor:
        self._note("read", tile)
        return super().read(tile)

    def write(self, place: Tensor, tile: Tensor) -> None:
        self._note("write", place)
        super().write(place, tile)

    def _note(self, what: str, x: Tensor) -> None:
        wide = x.shape[-1] == WIDTH and x.dim() == 5
        name = self.names.get(x.untyped_storage().data_ptr(), "O" if wide else self.state)
        self.entries.append((what, name, x.storage_offset() // (BLOCK * (WIDTH if wide else 1))))


@functools.cache
def diary(order: str, causal: bool) -> list[tuple[str, str, int]]:
    """What the real forward pass reads and writes, for 6 × 6 tiles."""
    q, k, v = (normal(1, 1, BLOCKS * BLOCK, WIDTH, seed=seed) for seed in range(3))
    hbm = Diary(q, k, v, STATE[order])
    forward = flash_forward_v1 if order == "keys" else flash_forward
    forward(q, k, v, causal=causal, block_q=BLOCK, block_k=BLOCK, hbm=hbm)
    return hbm.entries


@functools.cache
def walk(order: str, causal: bool) -> list[tuple[int, int, int]]:
    """Each tile in the order of its computation: (block of queries, block of keys, entries of the diary so far)."""
    at, tiles = {"Q": 0, "V": 0}, []
    last = "Q" if order == "keys" else "V"  # what is read last before a tile is computed
    for count, (what, name, block) in enumerate(diary(order, causal), start=1):
        if what == "read" and name in at:
            at[name] = block
            if name == last:
                tiles.append((at["Q"], at["V"], count))
    return tiles


def entries_until(order: str, causal: bool, tile: int) -> list[tuple[str, str, int]]:
    """Everything that crossed up to the moment before the next tile begins."""
    tiles, entries = walk(order, causal), diary(order, causal)
    if tile >= len(tiles):
        return entries
    end = tiles[tile][2]
    # What the next tile needs was read just before its count.
    while end > 0 and entries[end - 1][0] == "read":
        end -= 1
    return entries[:end] if end > tiles[tile - 1][2] else entries[: tiles[tile - 1][2]]


@figure(
    title=Both("一块一块走过分数矩阵", "A walk through the matrix of scores"),
    predict=Predict(
        Both(
            "分数矩阵切成 6 × 6 块，加上因果掩码。一共要算几块？",
            "The matrix of scores is cut into 6 × 6 tiles. With a causal mask, how many of them must be computed?",
        ),
        low=0,
        high=36,
        step=1,
        tolerance=0,
        answer=lambda: len(walk("queries", True)),
        explain=lambda: Both(
            f"{len(walk('queries', True))} 块：对角线上 6 块，下面 15 块；上面的 15 块整块都看不见，读都不用读。块切得越细，越接近一半。",
            f"{len(walk('queries', True))}: the 6 on the diagonal and the 15 below it. The other 15 are hidden altogether, and nothing of them is even read. The finer the tiles, the closer to one half.",
        ),
    ),
)
def tile_walk(
    order: Annotated[
        str,
        Choice(
            [
                ("queries", Both("外层走 query（第二版）", "queries outside (version 2)")),
                ("keys", Both("外层走 key（第一版）", "keys outside (version 1)")),
            ],
            label=Both("循环的次序", "order of loops"),
        ),
    ] = "queries",
    causal: Annotated[bool, Toggle(label=Both("因果掩码", "causal mask"))] = False,
    computed: Annotated[int, Slider(1, 36, label=Both("算到第几块", "tiles computed"))] = 9,
) -> list[Heatmap | Table | Text]:
    tiles = walk(order, causal)
    computed = min(computed, len(tiles))
    cells: list[list[int | None]] = [[None] * BLOCKS for _ in range(BLOCKS)]
    for number, (row, column, _) in enumerate(tiles[:computed], start=1):
        cells[row][column] = number
    row, column, _ = tiles[computed - 1]
    entries = entries_until(order, causal, computed)
    rows = [
        [
            name,
            sum(entry[:2] == ("read", name) for entry in entries),
            sum(entry[:2] == ("write", name) for entry in entries),
        ]
        for name in ("Q", "K", "V", "O", STATE[order])
    ]
    stays = (
        Both(
            f"片上现在是 Q 的第 {row + 1} 块和它的 m、ℓ、acc；K、V 走到第 {column + 1} 块。",
            f"On the chip: block {row + 1} of Q with its m, ℓ and acc; of K and V, block {column + 1}.",
        )
        if order == "queries"
        else Both(
            f"片上现在是 K、V 的第 {column + 1} 块；Q 走到第 {row + 1} 块，它的 m、ℓ、O 刚从显存取来，马上又要写回去。",
            f"On the chip: block {column + 1} of K and V; of Q, block {row + 1}, whose m, ℓ and O just came from GPU memory and go back there at once.",
        )
    )
    return [
        Heatmap(
            cells,
            x_labels=[f"K{j + 1}" for j in range(BLOCKS)],
            y_labels=[f"Q{i + 1}" for i in range(BLOCKS)],
            domain=(0, len(tiles)),
            show_numbers=True,
            note=Both("数字：第几个算的", "numbers: in which order"),
        ),
        Text(stays),
        Table(
            [Both("矩阵", "matrix"), Both("读了几块", "blocks read"), Both("写了几块", "blocks written")],
            rows,
            title=Both("到目前为止的显存读写", "traffic with GPU memory so far"),
            note=Both(
                "m 和 ℓ 各算一块；开头给 O、m、ℓ 赋初值的那一遍不算",
                "m and ℓ count as a block each; setting O, m and ℓ at the very beginning is left out",
            )
            if order == "keys"
            else Both(
                "L：每个 query 一个数，留给反向传播，下一节讲",
                "L: one number a query, kept for the backward pass; see the next section",
            ),
        ),
    ]


# ---------------------------------------------------------------- bytes


def standard_bytes(n: int, d: int) -> int:
    return sum(standard_attention_bytes(n, d).values())


@value
def kernel_megabytes(kernel: str, n: int = 4096, d: int = 64) -> float:
    """Of ``scores``, ``softmax`` or ``output``, of all three (``standard``), or fused (``flash``), for one head."""
    if kernel == "flash":
        return flash_attention_bytes(n, d, block_q=128) / MEGA
    return {**standard_attention_bytes(n, d), "standard": standard_bytes(n, d)}[kernel] / MEGA


@value
def traffic_ratio(n: int = 4096, d: int = 64, block: int = 128) -> float:
    """How many times as many bytes the three kernels move."""
    return standard_bytes(n, d) / flash_attention_bytes(n, d, block)


def flops(n: int, d: int) -> int:
    """Multiplications and additions of the two matrix products of one head."""
    return 4 * n * n * d


@value
def intensity(kernel: str, n: int = 4096, d: int = 64, block: int = 128) -> float:
    """Operations for each byte of traffic."""
    if kernel == "flash":
        return flops(n, d) / flash_attention_bytes(n, d, block)
    if kernel == "standard":
        return flops(n, d) / standard_bytes(n, d)
    if kernel == "softmax":  # maximum, subtraction, exponential, sum, division: about five for each score
        return 5 * n * n / standard_attention_bytes(n, d)["softmax"]
    return 2 * n * n * d / standard_attention_bytes(n, d)[kernel]


@value
def a100_intensity() -> float:
    """Operations that an A100 can do in the time in which one byte arrives."""
    return PEAK / BANDWIDTH


@value
def gpt2_forward_gflop() -> float:
    """The two products of 16 heads over 64 texts of 1,024 tokens."""
    return 64 * 16 * flops(1024, 64) / 1e9


def roofline_milliseconds(kind: str, n: int, d: int, block: int) -> float:
    """One head on an A100, at best."""
    if kind == "flash":
        return 1e3 * roofline_seconds(flops(n, d), flash_attention_bytes(n, d, block), PEAK, BANDWIDTH)
    moved, product = standard_attention_bytes(n, d), flops(n, d) / 2
    work = {"scores": product, "softmax": 0.0, "output": product}  # exponentials do not use the matrix units
    return 1e3 * sum(roofline_seconds(work[name], moved[name], PEAK, BANDWIDTH) for name in moved)


@figure(
    title=Both("一个头要搬多少字节", "How many bytes one head moves"),
    predict=Predict(
        Both(
            "4096 个 token，每头 64 维，每块 128 个 query。融合成一个内核以后，搬的字节是原来三个内核的百分之几？",
            "4,096 tokens, 64 dimensions a head, blocks of 128 queries. How many per cent of the bytes of the three kernels does the fused one move?",
        ),
        low=0,
        high=100,
        step=1,
        unit="%",
        answer=lambda: 100 / traffic_ratio(4096, 64, 128),
        explain=lambda: Both(
            f"{100 / traffic_ratio(4096, 64, 128):.0f}%，也就是原来的 1/{traffic_ratio(4096, 64, 128):.1f}。文本长的时候，这个比值接近 d / (2 × 块大小)，和长度无关：两边都按 N² 增长。",
            f"{100 / traffic_ratio(4096, 64, 128):.0f}%, or 1/{traffic_ratio(4096, 64, 128):.1f} of it. For long texts it comes near d / (2 × block), whatever the length: both grow as N².",
        ),
    ),
)
def traffic(
    d: Annotated[
        int,
        Choice(
            [(64, Both.same("64")), (128, Both.same("128")), (256, Both.same("256"))],
            label=Both("每头几维 d", "dimensions of a head d"),
        ),
    ] = 64,
    block: Annotated[
        int,
        Choice(
            [(b, Both.same(str(b))) for b in (16, 32, 64, 128, 256)],
            label=Both("每块几行", "rows in a block"),
        ),
    ] = 128,
) -> list[Lines | Text]:
    lengths = [2**i for i in range(8, 16)]
    kinds: dict[Both, Callable[[int], float]] = {
        Both("三个内核", "three kernels"): lambda n: standard_bytes(n, d),
        Both("融合，第一版的次序", "fused, version 1"): lambda n: flash_v1_bytes(n, d, block),
        Both("融合，第二版的次序", "fused, version 2"): lambda n: flash_attention_bytes(n, d, block),
    }
    times: dict[Both, tuple[list[int], list[float]]] = {
        name: (lengths, [roofline_milliseconds(kind, n, d, block) for n in lengths])
        for kind, name in (
            ("standard", Both("三个内核", "three kernels")),
            ("flash", Both("融合，第二版", "fused, version 2")),
        )
    }
    times[Both("只算乘法，不管搬运", "arithmetic alone")] = (
        lengths,
        [1e3 * flops(n, d) / PEAK for n in lengths],
    )
    ratio = traffic_ratio(32768, d, block)
    return [
        Lines(
            {name: (lengths, [f(n) / MEGA for n in lengths]) for name, f in kinds.items()},
            x_label=Both("长度 N", "length N"),
            y_label="MB",
            x_log=True,
            y_log=True,
            title=Both("显存读写量", "traffic with GPU memory"),
        ),
        Lines(
            times,
            x_label=Both("长度 N", "length N"),
            y_label=Both("毫秒", "milliseconds"),
            x_log=True,
            y_log=True,
            title=Both("A100 上最快也要这么久（roofline）", "at best on an A100 (roofline)"),
        ),
        Text(
            Both(
                f"N = 32768 时，第二版的读写量是三个内核的 1/{ratio:.1f}。"
                if ratio > 1
                else f"N = 32768 时，第二版反而是三个内核的 {1 / ratio:.1f} 倍：块太小，K、V 要重读太多遍。",
                f"At N = 32,768 version 2 moves 1/{ratio:.1f} of the bytes of the three kernels."
                if ratio > 1
                else f"At N = 32,768 version 2 moves {1 / ratio:.1f} times the bytes of the three kernels: blocks are so small that K and V are read again too often.",
            )
        ),
    ]


# ---------------------------------------------------------------- labs


@lab(
    title=Both("三种算法，一路加长", "Three ways, longer and longer"),
    seconds=30,
    summary=Both(
        "在这台电脑上，用一个头真算：分数矩阵写出来的、分块的、PyTorch 融合好的。量内存峰值，数搬运的字节，对一对答案。",
        "One head, really computed on this computer: with the matrix written out, in tiles, and by PyTorch's fused kernel. Peak memory is measured, bytes moved are counted, answers compared.",
    ),
)
def longer_and_longer(
    longest: Annotated[
        int,
        Choice(
            [(n, Both.same(f"{n:,}")) for n in (2048, 4096, 8192)],
            label=Both("最长几个 token", "longest text"),
        ),
    ] = 8192,
    d: Annotated[
        int, Choice([(64, Both.same("64")), (128, Both.same("128"))], label=Both("每头几维", "dimensions"))
    ] = 64,
    block: Annotated[
        int,
        Choice([(b, Both.same(str(b))) for b in (128, 256, 512)], label=Both("每块几行", "rows in a block")),
    ] = 256,
) -> Iterator[Event]:
    lengths = [n for n in (512, 1024, 2048, 4096, 8192) if n <= longest]
    names = (
        Both("写出矩阵", "matrix written out"),
        Both("分块", "in tiles"),
        Both("PyTorch 融合", "PyTorch, fused"),
    )
    rows: list[list[str]] = []
    peaks: list[list[float]] = [[], [], []]
    for step, n in enumerate(lengths):
        yield Progress(step, len(lengths), Both.same(f"N = {n:,}"))
        q, k, v = (normal(1, 1, n, d, seed=seed) for seed in range(3))
        exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
        moved, took, errors = [], [], []
        for way, name in enumerate(names):
            began = time.perf_counter()
            attend(way, q, k, v, block, Hbm())
            took.append(f"{1e3 * (time.perf_counter() - began):,.0f}")
            hbm = Hbm()
            with TensorMemory() as memory:
                out = attend(way, q, k, v, block, hbm)
            moved.append(f"{hbm.bytes_moved / MEGA:,.0f}" if hbm.bytes_moved else "?")
            errors.append(f"{(out - exact).abs().max().item():.0e}")
            peaks[way].append(memory.peak_bytes / MEGA)
            yield Sample(
                name,
                x=n,
                y=peaks[way][-1],
                x_label=Both("长度 N", "length N"),
                y_label=Both("内存峰值，MB", "peak memory, MB"),
            )
        peak = [f"{of_way[-1]:,.1f}" for of_way in peaks]
        rows.append([f"{n:,}", *(" / ".join(cells) for cells in (peak, moved, took, errors))])
        yield Show(
            "table",
            Table(
                [
                    "N",
                    Both("内存峰值 MB", "peak memory MB"),
                    Both("搬运 MB", "moved MB"),
                    Both("毫秒", "ms"),
                    Both("误差", "error"),
                ],
                rows,
                note=Both(
                    "每格三个数：写出矩阵 / 分块 / PyTorch 融合（它搬了多少，从外面数不到）",
                    "three numbers in a cell: matrix written out / in tiles / PyTorch (what that moves cannot be counted from outside)",
                ),
            ),
        )
        yield Progress(step + 1, len(lengths))
    yield Metric(Both("长度变成几倍", "length times"), lengths[-1] / lengths[0])
    for name, peak in zip(names, peaks, strict=True):
        yield Metric(
            Both(f"{name.zh}：内存变成几倍", f"{name.en}: memory times"), round(peak[-1] / peak[0], 1)
        )


def attend(way: int, q: Tensor, k: Tensor, v: Tensor, block: int, hbm: Hbm) -> Tensor:
    if way == 0:
        return standard_attention(q, k, v, hbm=hbm)
    if way == 1:
        return flash_forward(q, k, v, block_q=block, block_k=block, hbm=hbm)[0]
    return F.scaled_dot_product_attention(q, k, v)  # its traffic cannot be counted from outside


@lab(
    title=Both("用你的合并函数跑 SmolLM2", "SmolLM2 on your merge"),
    seconds=30,
    summary=Both(
        "全部 30 层的注意力都改走第一版 FlashAttention，每一块算完就用 merge_softmax 并进去。打开“用我写的函数来跑”，它就换成你写的。",
        "The attention of all 30 layers goes by FlashAttention version 1, which merges each block by merge_softmax. Turn on “Run it with my function” and it becomes yours.",
    ),
)
def your_merge(
    question: Annotated[
        str, TextInput(max_length=200, label=Both("问它一句", "ask it something"))
    ] = "What is the capital of France?",
    n_tokens: Annotated[
        int, Slider(16, 64, step=8, label=Both("最多几个 token", "at most so many tokens"))
    ] = 32,
    block: Annotated[int, Slider(4, 64, step=4, label=Both("每块几个 key", "keys in a block"))] = 16,
) -> Iterator[Event]:
    yield Progress(0, n_tokens, Both("读入模型", "loading the model"))
    llama, ids = model(), question_ids(question)

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flash_forward_v1(q, k, v, causal=True, block_q=block, block_k=block)[0]

    with torch.inference_mode():
        reference = llama(torch.tensor([ids]))
        with use_attention(attention):
            mine = llama(torch.tensor([ids]))
    difference = (mine - reference).abs().max().item()
    yield Metric(
        Both(
            "logits 与 PyTorch 融合内核相差最多", "largest difference of logits from PyTorch's fused kernel"
        ),
        difference,
    )
    if not math.isfinite(difference):
        yield Say(Both("你的函数在真实的输入上得到了 NaN。", "Your function gave NaN on real inputs."))
        return

    def logits(tokens: Tensor, cache: KVCache) -> Tensor:
        with use_attention(attention):
            return llama(tokens, cache=cache, last_only=True)

    answer = ""
    for step, answer in enumerate(greedy_answer(ids, n_tokens, logits), start=1):
        yield Progress(step, n_tokens)
        yield Show("answer", Text(Both.same(answer)))
    yield Progress(n_tokens, n_tokens)
    yield Show("summary", Table([Both("问题", "question"), Both("回答", "answer")], [[question, answer]]))

"""Figures, labs and values of lesson 8.2: blocks that fit the chip, line 12, the backward pass, the kernels."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import os
import subprocess
import sys
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
from teachllm.school.figures.failure import CannotRun
from teachllm.school.figures.real_model import model, tokenizer
from teachllm.stack.nn.attention import repeat_kv_heads, use_attention
from teachllm.stack.nn.flash_attention import (
    flash_attention,
    flash_backward,
    flash_forward,
    flash_forward_v1,
)
from teachllm.stack.nn.flash_tiles import Tiles
from teachllm.stack.nn.memory_traffic import (
    Hbm,
    flash_attention_bytes,
    flash_v1_bytes,
    standard_attention,
    standard_attention_bytes,
)
from teachllm.stack.nn.tensor_memory import TensorMemory

MEGA = 1e6
CHIP = 102_400 // 2  # 100 KB of 16-bit numbers


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- blocks that fit the chip


def paper_blocks(m: int, d: int) -> tuple[int, int]:
    """Rows in a block of queries, and in one of keys: algorithm 1, line 1."""
    block_k = -(-m // (4 * d))
    return min(block_k, d), block_k


@value
def paper_block(which: str, d: int, m: int = CHIP) -> int:
    """``q`` or ``k``."""
    return paper_blocks(m, d)["qk".index(which)]


@value
def tile_kilobytes(rows: int, columns: int, bytes_per_number: int) -> float:
    """Of a tile on the chip."""
    return rows * columns * bytes_per_number / 1024


@value
def chip_numbers() -> int:
    """How many 16-bit numbers fit into 100 KB."""
    return CHIP


@value
def order_ratio(d: int, m: int = CHIP) -> float:
    """N² over N² d² / M: what the order of magnitude promises."""
    return m / d**2


def standard_bytes(n: int, d: int) -> int:
    return sum(standard_attention_bytes(n, d).values())


def v1_bytes(n: int, d: int, m: int) -> int:
    return flash_v1_bytes(n, d, paper_blocks(m, d)[1])


def v2_bytes(n: int, d: int, m: int) -> int:
    """Its outer loop goes over queries: they get the large block, keys the small one, and all fits as before."""
    return flash_attention_bytes(n, d, paper_blocks(m, d)[1])


@functools.cache
def crossover(n: int, d: int) -> int:
    """The smallest chip, in numbers, with which version 1 moves fewer bytes than the three kernels."""
    low, high = 4 * d, 4 * d * n
    while low < high:
        middle = (low + high) // 2
        if v1_bytes(n, d, middle) < standard_bytes(n, d):
            high = middle
        else:
            low = middle + 1
    return low


CHIPS = [2**i for i in range(9, 21)]
DIMENSIONS = [(d, Both.same(str(d))) for d in (32, 64, 128, 256)]


@figure(
    title=Both("片上内存多大才划算", "How large must the chip be?"),
    predict=Predict(
        Both(
            "4096 个 token，每头 64 维，每个数 2 字节。片上至少要放得下多少个数，第一版搬的字节才比三个内核少？",
            "4,096 tokens, heads of 64 dimensions, 2 bytes a number. How many numbers must the chip hold at least, before version 1 moves fewer bytes than three kernels?",
        ),
        low=0,
        high=60_000,
        step=500,
        answer=lambda: crossover(4096, 64),
        explain=lambda: Both(
            f"{crossover(4096, 64):,} 个，约 {2 * crossover(4096, 64) / 1024:.0f} KB。论文的量级只说 d² = {64**2:,} 远小于 M 就行；前面的系数（O、ℓ、m 来回搬，还是 float32）把门槛抬高了几倍。",
            f"{crossover(4096, 64):,}, or {2 * crossover(4096, 64) / 1024:.0f} KB. The paper's order only says that d² = {64**2:,} must be far below M. The factor in front of it (O, ℓ and m go to and fro, in float32) raises the bar several times.",
        ),
    ),
)
def chip_size(
    d: Annotated[int, Choice(DIMENSIONS, label=Both("每头几维 d", "dimensions of a head d"))] = 64,
    n: Annotated[
        int,
        Choice([(n, Both.same(f"{n:,}")) for n in (1024, 4096, 16384)], label=Both("长度 N", "length N")),
    ] = 4096,
) -> list[Lines | Text]:
    chips = [m for m in CHIPS if 4 * d <= m <= 4 * d * n]
    order = [n * n * d * d / m * 2 / MEGA for m in chips]
    where = crossover(n, d)
    return [
        Lines(
            {
                Both("三个内核", "three kernels"): (chips, [standard_bytes(n, d) / MEGA] * len(chips)),
                Both("第一版", "version 1"): (chips, [v1_bytes(n, d, m) / MEGA for m in chips]),
                Both("第二版", "version 2"): (chips, [v2_bytes(n, d, m) / MEGA for m in chips]),
                Both.same("N²d²/M"): (chips, order),
            },
            x_label=Both("片上能放几个数 M", "numbers that the chip holds, M"),
            y_label=Both("一个头的显存读写，MB", "traffic of one head, MB"),
            x_log=True,
            y_log=True,
            marks=[(CHIP, Both.same("100 KB"))],
        ),
        Text(
            Both(
                f"块按论文第 1 行取，第二版两种块对调。第一版从 M = {where:,} 起比三个内核搬得少；M = {CHIP:,} 时搬的是它的 {v1_bytes(n, d, CHIP) / standard_bytes(n, d):.0%}，第二版是 {v2_bytes(n, d, CHIP) / standard_bytes(n, d):.0%}。",
                f"Blocks follow line 1 of the paper; in version 2 they change places. Version 1 moves fewer bytes than the three kernels from M = {where:,} on. At M = {CHIP:,} it moves {v1_bytes(n, d, CHIP) / standard_bytes(n, d):.0%} of theirs, version 2 {v2_bytes(n, d, CHIP) / standard_bytes(n, d):.0%}.",
            )
        ),
    ]


@value
def chip_share(version: int, d: int = 64, n: int = 4096, m: int = CHIP) -> float:
    """Bytes of a version over those of the three kernels, in per cent."""
    return 100 * (v1_bytes if version == 1 else v2_bytes)(n, d, m) / standard_bytes(n, d)


@lab(
    title=Both("流量表对公式", "The meter against the formula"),
    seconds=15,
    summary=Both(
        "片上内存从小到大，块按论文第 1 行取，真的把两个版本的循环走一遍，数一数搬了多少字节，和 N²d²/M 比。",
        "From a small chip to a large one, with blocks by line 1 of the paper: the loops of both versions really run, their bytes are counted and held against N²d²/M.",
    ),
)
def meter_the_chip(
    n: Annotated[
        int, Choice([(n, Both.same(f"{n:,}")) for n in (512, 1024, 2048)], label=Both("长度 N", "length N"))
    ] = 1024,
    d: Annotated[
        int,
        Choice([(d, Both.same(str(d))) for d in (32, 64, 128)], label=Both("每头几维 d", "dimensions d")),
    ] = 64,
) -> Iterator[Event]:
    q, k, v = (normal(1, 1, n, d, seed=seed).bfloat16() for seed in range(3))
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    chips = [64 * d * 2**i for i in range(5)]
    standard = Hbm()
    standard_attention(q, k, v, hbm=standard)
    rows = []
    for step, m in enumerate(chips):
        block_q, block_k = paper_blocks(m, d)
        yield Progress(step, len(chips), Both.same(f"M = {m:,}"))
        moved, error = [], 0.0
        for forward, (of_q, of_k) in (
            (flash_forward_v1, (block_q, block_k)),
            (flash_forward, (block_k, block_q)),
        ):
            hbm = Hbm()
            out, _ = forward(q, k, v, block_q=of_q, block_k=of_k, hbm=hbm)
            moved.append(hbm.bytes_moved)
            error = max(error, (out - exact).abs().max().item())
        order = n * n * d * d / m * 2
        for name, y in (
            (Both("第一版", "version 1"), moved[0]),
            (Both("第二版", "version 2"), moved[1]),
            (Both("三个内核", "three kernels"), standard.bytes_moved),
            (Both.same("N²d²/M"), order),
        ):
            yield Sample(
                name,
                x=m,
                y=y / MEGA,
                x_label=Both("片上能放几个数 M", "numbers that the chip holds, M"),
                y_label=Both("读写，MB", "traffic, MB"),
            )
        rows.append(
            [
                f"{m:,}",
                f"{block_q} × {block_k}",
                *(f"{moved_bytes / order:.1f}" for moved_bytes in moved),
                *(f"{moved_bytes / standard.bytes_moved:.0%}" for moved_bytes in moved),
                f"{error:.0e}",
            ]
        )
        yield Show(
            "table",
            Table(
                [
                    "M",
                    Both("块 B_r × B_c", "blocks B_r × B_c"),
                    Both("第一版 ÷ N²d²/M", "version 1 ÷ N²d²/M"),
                    Both("第二版 ÷ N²d²/M", "version 2 ÷ N²d²/M"),
                    Both("第一版 ÷ 三个内核", "version 1 ÷ three kernels"),
                    Both("第二版 ÷ 三个内核", "version 2 ÷ three kernels"),
                    Both("误差", "error"),
                ],
                rows,
                note=Both(
                    "前两列比值变得很慢，就是 Θ 的意思；第二版外层走 query，两种块对调",
                    "that the first two ratios change so slowly is what Θ means; version 2 has queries outside, and its two blocks change places",
                ),
            ),
        )
        yield Progress(step + 1, len(chips))


# ---------------------------------------------------------------- line 12: a row fills from the left

N_FILL, D_FILL = 24, 4


class Snapshots(Hbm):
    """A meter that also copies the output, as it waits in the large memory, after each write to it."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def store(self, tile: Tensor) -> Tensor:
        self.stored.append(tile)
        return super().store(tile)

    def write(self, place: Tensor, tile: Tensor) -> None:
        super().write(place, tile)
        out = self.stored[2]  # m, ℓ and O are stored in this order
        if place.untyped_storage().data_ptr() == out.untyped_storage().data_ptr():
            self.outputs.append(out[0, 0, 0].clone())


@functools.lru_cache(maxsize=32)
def fill_errors(block: int, causal: bool) -> tuple[Tensor, Tensor]:
    """Per block of keys and query: |O so far − O| / |O|, by the real loop, and by averaging finished blocks."""
    q, k, v = (normal(1, 1, N_FILL, D_FILL, seed=seed) * 1.2 for seed in range(3))
    hbm = Snapshots()
    final = flash_forward_v1(q, k, v, causal=causal, block_q=N_FILL, block_k=block, hbm=hbm)[0][0, 0]
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=causal)[0, 0]
    averaged, done = torch.zeros_like(final), torch.zeros(N_FILL, 1)
    averages = []
    for start in range(0, N_FILL, block):
        mask = torch.zeros(1, N_FILL, dtype=torch.bool)
        mask[:, start : start + block] = True
        part, logsumexp = flash_forward(q, k, v, causal=causal, key_mask=mask)
        seen = logsumexp[0, 0].isfinite().unsqueeze(-1)
        done += seen
        averaged = torch.where(seen, averaged + (part[0, 0] - averaged) / done.clamp(min=1), averaged)
        averages.append(averaged.clone())

    def errors(outputs: list[Tensor]) -> Tensor:
        return torch.stack([(x - exact).norm(dim=-1) / exact.norm(dim=-1) for x in outputs]).float()

    return errors(hbm.outputs), errors(averages)


def finished_rows(blocks: int, block: int, causal: bool) -> int:
    """Queries whose output is final after so many blocks of keys."""
    return int((fill_errors(block, causal)[0][blocks - 1] < 1e-5).sum())


@figure(
    title=Both("一行从左边填起", "A row fills from the left"),
    predict=Predict(
        Both(
            "24 个 query、24 个 key，加因果掩码，每块 3 个 key。走完前 5 块 key，有几行输出已经是最终结果？",
            "24 queries and 24 keys with a causal mask, 3 keys in a block. After the first 5 blocks of keys, how many rows of the output are final?",
        ),
        low=0,
        high=24,
        step=1,
        tolerance=0,
        answer=lambda: finished_rows(5, 3, True),
        explain=lambda: Both(
            f"{finished_rows(5, 3, True)} 行：前 15 个 query 看不到第 15 个以后的 key，它们已经完事了。没有掩码时是 {finished_rows(5, 3, False)} 行，要等最后一块。",
            f"{finished_rows(5, 3, True)}: the first 15 queries see no key after the fifteenth, and are done. Without a mask it is {finished_rows(5, 3, False)}; all wait for the last block.",
        ),
    ),
)
def filling(
    block: Annotated[
        int,
        Choice(
            [(b, Both.same(str(b))) for b in (1, 2, 3, 4, 6)], label=Both("每块几个 key", "keys in a block")
        ),
    ] = 3,
    causal: Annotated[bool, Toggle(label=Both("因果掩码", "causal mask"))] = False,
) -> list[Heatmap | Lines]:
    errors, averages = fill_errors(block, causal)
    passed = list(range(1, len(errors) + 1))
    return [
        Heatmap(
            [[min(e, 1.0) for e in row] for row in errors.T.tolist()],
            x_labels=[str(j) for j in passed],
            y_labels=[str(i + 1) for i in range(N_FILL)],
            x_label=Both("走过几块 key", "blocks of keys passed"),
            y_label="query",
            domain=(0.0, 1.0),
            title=Both("显存里的 O 离最终结果多远", "How far O in GPU memory is from the result"),
            note=Both("相对误差，超过 1 的画成 1", "relative error; above 1 is drawn as 1"),
        ),
        Lines(
            {
                Both("第 12 行的合并", "merged by line 12"): (passed, errors.mean(1).tolist()),
                Both("各块输出取平均", "outputs of blocks averaged"): (passed, averages.mean(1).tolist()),
            },
            x_label=Both("走过几块 key", "blocks of keys passed"),
            y_label=Both("平均相对误差", "mean relative error"),
            title=Both("所有 query 的平均", "Mean over all queries"),
        ),
    ]


# ---------------------------------------------------------------- what a causal mask spares

SIZES = [(b, Both.same(str(b))) for b in (32, 64, 128, 256)]


@functools.lru_cache(maxsize=256)
def tile_counts(n: int, block_q: int, block_k: int) -> tuple[int, int, int]:
    """All tiles of n × n; those that a causal mask leaves; those of the latter that it cuts through."""
    x = torch.empty(1, 1, n, 1)
    tiles = Tiles.of(x, x, x, causal=True, block_q=block_q, block_k=block_k)
    everything = len(list(tiles.row_blocks())) * len(list(tiles.column_blocks()))
    left = [(rows, columns) for rows in tiles.row_blocks() for columns in tiles.columns_seen(rows)]
    cut = sum(columns.stop - 1 > rows.start for rows, columns in left)
    return everything, len(left), cut


@value
def causal_share(n: int = 4096, block: int = 128) -> float:
    """Tiles that are computed with a causal mask, in per cent of all."""
    everything, left, _ = tile_counts(n, block, block)
    return 100 * left / everything


@value
def masked_share(n: int = 4096, block: int = 128) -> float:
    """Tiles that need the mask, in per cent of those computed."""
    _, left, cut = tile_counts(n, block, block)
    return 100 * cut / left


@figure(
    title=Both("因果掩码省下几格", "What a causal mask spares"),
    predict=Predict(
        Both(
            "4096 个 token，每块 128 行。加因果掩码以后要算的格子里，百分之几真的需要去逐个比较“这个 key 看得见吗”？",
            "4,096 tokens, blocks of 128. Of the tiles that are computed with a causal mask, how many per cent really need to ask of each key whether it may be seen?",
        ),
        low=0,
        high=100,
        step=1,
        unit="%",
        answer=lambda: masked_share(4096, 128),
        explain=lambda: Both(
            f"{masked_share(4096, 128):.0f}%：只有对角线上的 {tile_counts(4096, 128, 128)[2]} 格。它们下面的 {tile_counts(4096, 128, 128)[1] - tile_counts(4096, 128, 128)[2]} 格整格可见，上面的连读都不读。",
            f"{masked_share(4096, 128):.0f}%: the {tile_counts(4096, 128, 128)[2]} on the diagonal. The {tile_counts(4096, 128, 128)[1] - tile_counts(4096, 128, 128)[2]} below it are seen altogether, and those above are not even read.",
        ),
    ),
)
def causal_tiles(
    block_q: Annotated[int, Choice(SIZES, label=Both("一块几个 query", "queries in a block"))] = 128,
    block_k: Annotated[int, Choice(SIZES, label=Both("一块几个 key", "keys in a block"))] = 128,
) -> list[Lines | Text]:
    lengths = [256, 512, 1024, 2048, 4096]
    counts = [tile_counts(n, block_q, block_k) for n in lengths]
    everything, left, cut = counts[-1]
    return [
        Lines(
            {
                Both("要算的格子", "tiles computed"): (lengths, [100 * b / a for a, b, _ in counts]),
                Both("其中压在对角线上、要加掩码的", "of all: those that need the mask"): (
                    lengths,
                    [100 * c / a for a, _, c in counts],
                ),
            },
            x_label=Both("长度 N", "length N"),
            y_label=Both("占全部格子的 %", "per cent of all tiles"),
            x_log=True,
            y_range=(0, 100),
        ),
        Text(
            Both(
                f"N = 4096：一共 {everything:,} 格，算 {left:,} 格，其中 {cut:,} 格要加掩码。",
                f"N = 4,096: {everything:,} tiles, {left:,} computed, {cut:,} of which need the mask.",
            )
        ),
    ]


# ---------------------------------------------------------------- the gradient of a row of scores


def row_gradient(scores: list[float], values: list[float]) -> dict[str, list[float]]:
    """One query with these scores, and a loss that is its output: P, P∘dP and dS, by the real functions.

    q = 1 and a scale of 1 make keys out of scores, so the gradient of the keys is that of the scores.
    """
    q = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    k, v = (torch.tensor(x, dtype=torch.float64).view(1, 1, -1, 1) for x in (scores, values))
    out, logsumexp = flash_forward(q, k, v, scale=1.0)
    _, d_scores, d_values = flash_backward(q, k, v, out, logsumexp, torch.ones_like(out), scale=1.0)
    weights = d_values.flatten()  # dO is 1
    return {
        "P": weights.tolist(),
        "P∘dP": (weights * v.flatten()).tolist(),
        "dS": d_scores.flatten().tolist(),
        "O": [out.item()],
    }


@value
def two_keys(what: str, key: int = 0) -> float:
    """P, P∘dP, dS of a key, or O: scores ln 3 and 0, values 10 and 30."""
    found = row_gradient([math.log(3), 0.0], [10.0, 30.0])[what]
    return found[key]


ROW_SCORES, ROW_VALUES = [0.5, -0.5, 1.0, 0.0, 1.5, -1.0], [4.0, 1.0, 2.5, 5.0, 0.5, 3.0]


@figure(
    title=Both("为什么要减去 D", "Why D is subtracted"),
    predict=Predict(
        Both(
            "一行 6 个分数，损失就是这一行的输出。6 个分数的梯度加起来是多少？",
            "A row of 6 scores; the loss is the output of the row. What do the gradients of the 6 scores add up to?",
        ),
        low=-1.0,
        high=3.0,
        step=0.1,
        answer=lambda: round(sum(row_gradient(ROW_SCORES, ROW_VALUES)["dS"]), 9),
        explain=lambda: Both(
            "0。整行分数加上同一个数，softmax 不变，损失也不变：往这个方向走，斜率是 0。减去 D 就是在保证这一点。",
            "0. Add one number to all scores of a row, and neither softmax nor loss changes: the slope in that direction is 0. Subtracting D sees to it.",
        ),
    ),
)
def score_gradients(
    key: Annotated[int, Slider(1, 6, label=Both("改哪个 key 的分数", "which key's score to change"))] = 3,
    score: Annotated[float, Slider(-3.0, 5.0, step=0.25, label=Both("它的分数", "its score"))] = 1.0,
) -> list[Bars | Text]:
    scores = [score if i == key - 1 else s for i, s in enumerate(ROW_SCORES)]
    found = row_gradient(scores, ROW_VALUES)
    labels = [Both(f"key {i + 1}，v = {v:g}", f"key {i + 1}, v = {v:g}") for i, v in enumerate(ROW_VALUES)]
    plain, right = sum(found["P∘dP"]), sum(found["dS"])
    return [
        Bars(labels, found["P"], y_max=1.0, title=Both("权重 P", "weights P"), highlight=key - 1),
        Bars(
            labels,
            series={
                Both("P∘dP，没减 D", "P∘dP, without D"): found["P∘dP"],
                Both("dS = P∘(dP − D)", "dS = P∘(dP − D)"): found["dS"],
            },
            title=Both("分数的梯度", "gradients of the scores"),
            highlight=key - 1,
        ),
        Text(
            Both(
                f"D = dO·O = {found['O'][0]:.3f}。没减 D，一行的和是 {plain:.3f}，正好是 D；减了以后是 {abs(right):.3f}。v 比 O 大的 key 分数该升，比 O 小的该降。",
                f"D = dO·O = {found['O'][0]:.3f}. Without it the row adds up to {plain:.3f}, which is D; with it, to {abs(right):.3f}. A key whose v is above O should score higher, one below it lower.",
            )
        ),
    ]


# ---------------------------------------------------------------- what the backward pass costs


@functools.cache
def metered(pass_: str, n: int = 1024, d: int = 64, block: int = 128) -> int:
    """Bytes of ``forward`` or ``backward`` as the meter counts them: one head, bfloat16, no mask."""
    q, k, v, d_out = (normal(1, 1, n, d, seed=seed).bfloat16() for seed in range(4))
    hbm, blocks = Hbm(), {"block_q": block, "block_k": block}
    out, logsumexp = flash_forward(q, k, v, **blocks, hbm=hbm)
    if pass_ == "forward":
        return hbm.bytes_moved
    hbm = Hbm()
    flash_backward(q, k, v, out, logsumexp, d_out, **blocks, hbm=hbm)
    return hbm.bytes_moved


def standard_backward_bytes(n: int, d: int, bytes_per_number: int = 2) -> int:
    """dV = PᵀdO, dP = dO Vᵀ, dS = P∘(dP − rowsum(P∘dP)), dQ = dS K, dK = dSᵀQ, as five kernels.

    P is read twice, dP written and read, dS written and read twice. Each kernel reads its inputs once.
    """
    square, matrix = n * n * bytes_per_number, n * d * bytes_per_number
    return 7 * square + 8 * matrix


@value
def backward_megabytes(way: str, pass_: str = "backward", n: int = 1024) -> float:
    """``flash`` or ``standard``."""
    if way == "flash":
        return metered(pass_, n) / MEGA
    return (standard_bytes(n, 64) if pass_ == "forward" else standard_backward_bytes(n, 64)) / MEGA


@value
def kept_megabytes(way: str, n: int = 4096, d: int = 64) -> float:
    """What is kept between the passes besides Q, K and V: P and nothing else, or O and L; one head."""
    return (n * n * 2 if way == "standard" else n * d * 2 + n * 4) / MEGA


@value
def kept_gigabytes(layers: int = 30, heads: int = 9) -> float:
    """P of every head of every layer, for one text of 4,096 tokens."""
    return layers * heads * kept_megabytes("standard") / 1000


# ---------------------------------------------------------------- programs of the kernels

T = 8


@functools.cache
def programs(kernel: str, causal: bool) -> tuple[tuple[int | None, ...], ...]:
    """Which program computes a tile, for 8 × 8 of them; None if none does."""
    x = torch.empty(1, 1, T, 1)
    tiles = Tiles.of(x, x, x, causal=causal, block_q=1, block_k=1)
    cells: list[list[int | None]] = [[None] * T for _ in range(T)]
    for rows in tiles.row_blocks():
        for columns in tiles.columns_seen(rows):
            cells[rows.start][columns.start] = (columns if kernel == "keys" else rows).start + 1
    return tuple(map(tuple, cells))


def tiles_of(kernel: str, causal: bool) -> list[int]:
    """How many tiles each program computes."""
    return [sum(cell == p for row in programs(kernel, causal) for cell in row) for p in range(1, T + 1)]


WRITES = {
    "forward": Both("自己那块 query 的 O 和 L", "O and L of its block of queries"),
    "keys": Both("自己那块 key 的 dK、dV", "dK and dV of its block of keys"),
    "queries": Both("自己那块 query 的 dQ", "dQ of its block of queries"),
}


@figure(
    title=Both("哪个程序算哪些格", "Which program computes which tiles"),
    predict=Predict(
        Both(
            "前向，因果掩码，8 块 query 分给 8 个程序。最忙的程序算的格数，是最闲的几倍？",
            "Forward with a causal mask, 8 blocks of queries for 8 programs. How many times as many tiles does the busiest program compute as the idlest?",
        ),
        low=1,
        high=12,
        step=1,
        tolerance=0,
        answer=lambda: max(tiles_of("forward", True)) / min(tiles_of("forward", True)),
        explain=lambda: Both(
            f"{max(tiles_of('forward', True)) // min(tiles_of('forward', True))} 倍：第 1 块 query 只看得见 1 块 key，最后一块要看 8 块。总量省了将近一半，可是最长的那个一点没短；程序比计算单元多得多时，这才摊得平。",
            f"{max(tiles_of('forward', True)) // min(tiles_of('forward', True))} times: the first block of queries sees 1 block of keys, the last one 8. Nearly half of the work is spared in all, but the longest program is no shorter. It evens out only if there are many more programs than processors.",
        ),
    ),
)
def kernel_programs(
    kernel: Annotated[
        str,
        Choice(
            [
                ("forward", Both("前向 _forward", "_forward")),
                ("keys", Both("反向 _backward_keys", "_backward_keys")),
                ("queries", Both("反向 _backward_queries", "_backward_queries")),
            ],
            label=Both("内核", "kernel"),
        ),
    ] = "forward",
    causal: Annotated[bool, Toggle(label=Both("因果掩码", "causal mask"))] = True,
) -> list[Heatmap | Bars | Text]:
    counts = tiles_of(kernel, causal)
    return [
        Heatmap(
            programs(kernel, causal),
            x_labels=[f"K{j + 1}" for j in range(T)],
            y_labels=[f"Q{i + 1}" for i in range(T)],
            domain=(0, T),
            show_numbers=True,
            note=Both("数字：第几个程序来算", "numbers: which program computes it"),
        ),
        Bars(
            [str(p) for p in range(1, T + 1)],
            counts,
            y_max=T,
            x_label=Both("程序", "program"),
            y_label=Both("要算几格", "tiles to compute"),
        ),
        Text(
            Both(
                f"每个程序只写{WRITES[kernel].zh}，没有两个程序写同一处。一共 {sum(counts)} 格。",
                f"Each program writes {WRITES[kernel].en} and nothing else; no two write to one place. {sum(counts)} tiles in all.",
            )
        ),
    ]


# ---------------------------------------------------------------- labs


def with_tiles(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return flash_attention(q, k, v, causal=True, block_q=128, block_k=128)


def with_matrix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return standard_attention(q, k, v, causal=True)


def gradients(
    attention: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, d_out: Tensor
) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in (q, k, v)]
    return list(torch.autograd.grad(attention(*leaves), leaves, d_out))


@lab(
    title=Both("前向加反向：梯度、格数、内存", "Forward and backward: gradients, tiles, memory"),
    seconds=30,
    summary=Both(
        "因果注意力，一个头，在这台电脑上真算：梯度和 autograd 比，格子数一数，内存量一量。",
        "Causal attention with one head, really computed here: gradients against autograd, tiles counted, memory measured.",
    ),
)
def backward_for_real(
    longest: Annotated[
        int,
        Choice(
            [(n, Both.same(f"{n:,}")) for n in (512, 1024, 2048, 4096)],
            label=Both("最长几个 token", "longest text"),
        ),
    ] = 4096,
    d: Annotated[
        int, Choice([(64, Both.same("64")), (128, Both.same("128"))], label=Both("每头几维", "dimensions"))
    ] = 64,
) -> Iterator[Event]:
    lengths = [n for n in (256, 512, 1024, 2048, 4096) if n <= longest]
    names = Both("写出矩阵", "matrix written out"), Both("分块、重算", "in tiles, computed again")
    rows, peaks, worst = [], [], 0.0
    for step, n in enumerate(lengths):
        yield Progress(step, len(lengths), Both.same(f"N = {n:,}"))
        q, k, v, d_out = (normal(1, 1, n, d, seed=seed) for seed in range(4))
        exact = gradients(with_matrix, *(x.double() for x in (q, k, v, d_out)))
        peak, took = [], []
        error = 0.0
        for name, attention in zip(names, (with_matrix, with_tiles), strict=True):
            began = time.perf_counter()
            found = gradients(attention, q, k, v, d_out)
            took.append(1e3 * (time.perf_counter() - began))
            error = max((x - y).abs().max().item() for x, y in zip(found, exact, strict=True))
            with TensorMemory() as memory:
                gradients(attention, q, k, v, d_out)
            peak.append(memory.peak_bytes / MEGA)
            yield Sample(
                name,
                x=n,
                y=peak[-1],
                x_label=Both("长度 N", "length N"),
                y_label=Both("内存峰值，MB", "peak memory, MB"),
            )
        worst = max(worst, error)  # of the tiles, which come last
        peaks.append(peak)
        everything, left, _ = tile_counts(n, 128, 128)
        rows.append(
            [
                f"{n:,}",
                f"{left} / {everything} = {left / everything:.0%}",
                f"{error:.0e}",
                " / ".join(f"{x:,.1f}" for x in peak),
                " / ".join(f"{x:,.0f}" for x in took),
            ]
        )
        yield Show(
            "table",
            Table(
                [
                    "N",
                    Both("算了几格", "tiles computed"),
                    Both("梯度最大误差（分块）", "largest error of a gradient (tiles)"),
                    Both("内存峰值 MB", "peak memory MB"),
                    Both("毫秒", "ms"),
                ],
                rows,
                note=Both(
                    "后两栏：写出矩阵 / 分块。误差是对 float64 的 autograd",
                    "last two columns: matrix written out / tiles. Errors are against autograd in float64",
                ),
            ),
        )
        yield Progress(step + 1, len(lengths))
    yield Metric(Both("梯度最大误差", "largest error of a gradient"), worst)
    for i, name in enumerate(names):
        yield Metric(
            Both(f"{name.zh}：内存变成几倍", f"{name.en}: memory times"), round(peaks[-1][i] / peaks[0][i], 1)
        )


def in_small_tiles(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Several blocks also for one sentence."""
    return flash_attention(q, k, v, causal=True, block_q=16, block_k=8)


SENTENCE = "FlashAttention computes the weights again in the backward pass, tile by tile, and keeps one number for each query."


@lab(
    title=Both("用你的反向训练 SmolLM2", "SmolLM2 trained by your backward pass"),
    seconds=40,
    summary=Both(
        "30 层注意力都走 flash_attention。先逐层对梯度，再拿一句话训练几步，和 PyTorch 的融合内核画在一起。打开“用我写的函数来跑”，反向就是你写的。",
        "All 30 layers attend by flash_attention. Gradients are compared layer by layer, then a few steps of training on one sentence are drawn beside PyTorch's fused kernel. Turn on “Run it with my function” and the backward pass is yours.",
    ),
)
def your_backward(
    text: Annotated[
        str, TextInput(max_length=300, lines=3, label=Both("拿哪句话训练", "the sentence to train on"))
    ] = SENTENCE,
    steps: Annotated[int, Slider(1, 8, label=Both("训练几步", "steps"))] = 5,
) -> Iterator[Event]:
    total = 2 * (steps + 1)
    yield Progress(0, total, Both("读入模型", "loading the model"))
    llama = model()
    ids = tokenizer().encode(text)
    if len(ids) < 2:
        raise CannotRun(Both("句子太短：至少要两个 token。", "Too short: at least two tokens are needed."))
    tokens = torch.tensor([ids])
    trained = [block.attention.qkv.weight for block in llama.blocks]
    before = [weight.detach().clone() for weight in trained]
    asked = [(p, p.requires_grad) for p in llama.parameters()]
    ways = (
        (Both("PyTorch 融合", "PyTorch, fused"), None),
        (Both.same("flash_attention"), in_small_tiles),
    )

    def loss_and_gradients(attention: Callable[..., Tensor] | None) -> tuple[float, list[Tensor]]:
        if attention is None:
            loss = F.cross_entropy(llama(tokens)[0, :-1], tokens[0, 1:])
        else:
            with use_attention(attention):
                loss = F.cross_entropy(llama(tokens)[0, :-1], tokens[0, 1:])
        return loss.item(), list(torch.autograd.grad(loss, trained))

    try:
        for p, _ in asked:
            p.requires_grad_(False)
        for p in trained:
            p.requires_grad_()
        first: list[list[Tensor]] = []
        done = 0
        for name, attention in ways:
            with torch.no_grad():
                for weight, start in zip(trained, before, strict=True):
                    weight.copy_(start)
            for step in range(steps + 1):
                loss, found = loss_and_gradients(attention)
                if step == 0:
                    first.append(found)
                if step == 0 and len(first) == 2:
                    yield from layer_errors(*first)
                yield Sample(name, x=step, y=loss, x_label=Both("步", "step"), y_label=Both("损失", "loss"))
                with torch.no_grad():
                    for weight, gradient in zip(trained, found, strict=True):
                        weight -= 0.02 * gradient
                done += 1
                yield Progress(done, total)
    finally:
        with torch.no_grad():
            for weight, start in zip(trained, before, strict=True):
                weight.copy_(start)
        for p, wanted in asked:
            p.requires_grad_(wanted)


def layer_errors(reference: list[Tensor], mine: list[Tensor]) -> Iterator[Event]:
    errors = [((x - y).norm() / y.norm()).item() for x, y in zip(mine, reference, strict=True)]
    yield Metric(Both("梯度相差最多（相对）", "largest difference of a gradient (relative)"), max(errors))
    if not all(map(math.isfinite, errors)):
        yield Say(Both("反向在真实的输入上得到了 NaN。", "The backward pass gave NaN on real inputs."))
        return
    yield Show(
        "layers",
        Bars(
            [str(i + 1) for i in range(len(errors))],
            errors,
            x_label=Both("层", "layer"),
            y_label=Both("qkv 权重的梯度，相对误差", "gradient of the qkv weights, relative error"),
            title=Both("逐层对梯度", "Gradients, layer by layer"),
        ),
    )


@lab(
    title=Both("跑一跑 Triton 内核", "Run the Triton kernels"),
    seconds=15,
    summary=Both(
        "有 NVIDIA 的 GPU 就在上面跑，和 PyTorch 的融合内核比时间；没有就用 Triton 自带的解释器一条一条执行，只对答案，不谈快慢。",
        "On an NVIDIA GPU, if there is one, with times beside PyTorch's fused kernel. Otherwise in Triton's interpreter, instruction by instruction: answers are compared, and speed means nothing.",
    ),
)
def triton_here(
    n: Annotated[
        int, Slider(16, 96, step=8, label=Both("解释器里几个 token", "tokens in the interpreter"))
    ] = 40,
    causal: Annotated[bool, Toggle(label=Both("因果掩码", "causal mask"))] = True,
) -> Iterator[Event]:
    yield Progress(0, 2)
    if importlib.util.find_spec("triton") is None:
        raise CannotRun(
            Both(
                "这里没有装 Triton。它只有 Linux 版：pip install triton。",
                "Triton is not installed here. It exists for Linux: pip install triton.",
            )
        )
    on_gpu = torch.cuda.is_available()
    yield Say(
        Both(
            f"在 {torch.cuda.get_device_name()} 上。" if on_gpu else "这台电脑上没有 GPU：用解释器。",
            f"On {torch.cuda.get_device_name()}." if on_gpu else "No GPU here: by the interpreter.",
        )
    )
    yield Progress(1, 2)
    found = compare(4096, causal) if on_gpu else interpreted(n, causal)
    yield Show(
        "answers",
        Table(
            [
                Both("张量", "tensor"),
                Both("形状", "shape"),
                Both("与 PyTorch 相差最多", "largest difference from PyTorch"),
            ],
            [[name, shape, f"{difference:.0e}"] for name, shape, difference in found],
            note="float32",
        ),
    )
    differences = [difference for *_, difference in found]
    yield Metric(Both("相差最多", "largest difference"), max(differences))
    if on_gpu:
        for name, took in zip((Both("我们的", "ours"), Both.same("PyTorch")), times(causal), strict=True):
            yield Metric(
                Both(f"{name.zh}：前向加反向，bfloat16", f"{name.en}: forward and backward, bfloat16"),
                took,
                "ms",
            )
    yield Progress(2, 2)


def two_ways(n: int, causal: bool) -> tuple[list[Callable[..., Tensor]], list[Tensor]]:
    """The Triton kernels and PyTorch's; q, k, v and the gradient of the output, on the GPU if there is one."""
    from teachllm.stack.nn.fast.flash_triton import triton_flash_attention

    on_gpu = torch.cuda.is_available()
    (batch, heads, kv_heads, d), device = ((4, 8, 2, 64), "cuda") if on_gpu else ((1, 4, 2, 16), "cpu")
    given = [
        normal(batch, h, n, d, seed=seed).to(device)
        for seed, h in enumerate((heads, kv_heads, kv_heads, heads))
    ]

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return triton_flash_attention(q, k, v, causal=causal)

    def pytorch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (repeat_kv_heads(x, heads // kv_heads) for x in (k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return [ours, pytorch], given


def compare(n: int, causal: bool) -> list[tuple[str, str, float]]:
    """Name, shape and largest difference of the output and the three gradients."""
    ways, (q, k, v, d_out) = two_ways(n, causal)
    mine, theirs = ([way(q, k, v), *gradients(way, q, k, v, d_out)] for way in ways)
    return [
        (name, " × ".join(map(str, x.shape)), (x - y).abs().max().item())
        for name, x, y in zip(("O", "dQ", "dK", "dV"), mine, theirs, strict=True)
    ]


def interpreted(n: int, causal: bool) -> list[tuple[str, str, float]]:
    """`compare` in a process of its own: the interpreter must be chosen before Triton is imported."""
    script = (
        "import json, runpy, sys; compare = runpy.run_path(sys.argv[1])['compare']; "
        "print(json.dumps(compare(int(sys.argv[2]), sys.argv[3] == 'True')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, __file__, str(n), str(causal)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [tuple(line) for line in json.loads(done.stdout.splitlines()[-1])]


def times(causal: bool) -> list[float]:
    """Milliseconds of forward and backward in bfloat16, 4,096 tokens, of both ways on a GPU."""
    ways, given = two_ways(4096, causal)
    half = [x.bfloat16() for x in given]
    return [milliseconds(lambda way=way: gradients(way, *half)) for way in ways]


def milliseconds(run: Callable[[], object]) -> float:
    """The median of nine runs on the GPU, after three to warm up."""
    taken = []
    for _ in range(12):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        taken.append(1e3 * (time.perf_counter() - began))
    return sorted(taken[3:])[4]

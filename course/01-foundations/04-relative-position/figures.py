"""Figures, labs and values of lesson 1.4: four terms of a score, buckets, shifts, decay, longer texts."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

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
    Toggle,
    figure,
    lab,
    value,
)
from teachllm.stack.data.corpora import stdlib_docs
from teachllm.stack.models.decoder import Decoder, DecoderConfig, Position
from teachllm.stack.nn.positions import (
    alibi_bias,
    alibi_slopes,
    relative_positions,
    rope_angles,
    rope_frequencies,
    sinusoidal_positions,
    t5_relative_bucket,
)
from teachllm.stack.nn.relative_positions import deberta_distance, relative_shift, xpos_decay
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import StepMetrics, train
from teachllm.stack.training.state import begin


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- the four terms of an absolute score

TERMS = {
    "cc": Both("内容·内容", "content · content"),
    "cp": Both("内容·位置", "content · position"),
    "pc": Both("位置·内容", "position · content"),
    "pp": Both("位置·位置", "position · position"),
}
N_WORDS, WIDTH = 6, 16


def terms_of(q_parts: tuple[Tensor, Tensor], k_parts: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """The four products of (content, position) of queries with (content, position) of keys."""
    (x_q, p_q), (x_k, p_k) = q_parts, k_parts
    return {"cc": x_q @ x_k.T, "cp": x_q @ p_k.T, "pc": p_q @ x_k.T, "pp": p_q @ p_k.T}


@value
def hand_term(term: str, i: int, j: int) -> float:
    """One of ``cc``, ``cp``, ``pc``, ``pp`` for x_i = (1, 2), x_j = (2, 1), W = 1 and sinusoids of two dimensions."""
    table = sinusoidal_positions(max(i, j) + 1, 2)
    contents = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]])
    return terms_of((contents[0], table[i : i + 1]), (contents[1], table[j : j + 1]))[term].item()


@functools.lru_cache(maxsize=128)
def random_terms(shift: int) -> dict[str, Tensor]:
    """Six random words behind random projections, the first of them at position ``shift``."""
    x = normal(N_WORDS, WIDTH, seed=1)
    p = sinusoidal_positions(shift + N_WORDS, WIDTH)[shift:]
    w_q, w_k = (normal(WIDTH, WIDTH, seed=seed) / math.sqrt(WIDTH) for seed in (2, 3))
    return terms_of((x @ w_q, p @ w_q), (x @ w_k, p @ w_k))


def change(term: str, shift: int) -> float:
    """Largest change of an entry when all words move."""
    return (random_terms(shift)[term] - random_terms(0)[term]).abs().max().item()


def terms_that_change(shift: int) -> int:
    return sum(change(term, shift) > 1e-4 for term in TERMS)


@figure(
    title=Both("一个分数里的四项", "The four terms of a score"),
    predict=Predict(
        Both(
            "六个词原样不动，整句往后挪 20 个位置，词与词的距离都没变。四项里有几项会变？",
            "The six words stay as they are and the whole sentence moves by 20 positions; no distance changes. How many of the four terms change?",
        ),
        low=0,
        high=4,
        step=1,
        answer=lambda: terms_that_change(20),
        explain=lambda: Both(
            f"{terms_that_change(20)} 项。只有“内容·内容”不变。“位置·位置”也变了：正弦向量自己的点积只看距离，可中间隔着 W_Q 和 W_K，这个性质就没了。",
            f"{terms_that_change(20)}: all but content · content. Position · position changes as well. Products of the sinusoids themselves depend on distance "
            "alone, but with W_Q and W_K in between that is lost.",
        ),
    ),
)
def four_terms(
    term: Annotated[
        str,
        Choice(
            [*TERMS.items(), ("all", Both("四项之和", "sum of all four"))], label=Both("哪一项", "which term")
        ),
    ] = "pp",
    shift: Annotated[int, Slider(0, 60, label=Both("整句往后挪", "move the sentence by"))] = 0,
) -> list[Heatmap | Bars]:
    terms = random_terms(shift)
    shown = sum(terms.values()) if term == "all" else terms[term]
    words = [Both(f"词 {i}", f"word {i}") for i in range(1, N_WORDS + 1)]
    return [
        Heatmap(
            shown,
            x_labels=words,
            y_labels=words,
            x_label="key",
            y_label="query",
            scale="diverging",
            domain=(-12.0, 12.0),
        ),
        Bars(
            list(TERMS.values()),
            [change(name, shift) for name in TERMS],
            y_label=Both("最大的变化", "largest change"),
            y_max=12.0,
            note=Both("和没挪的时候比", "compared with the sentence that was not moved"),
        ),
    ]


# ---------------------------------------------------------------- the relative shift, step by step

STEPS = [
    ("by_distance", Both("① 按距离排好", "1. in order of distance")),
    ("padded", Both("② 左边补一列", "2. one more column on the left")),
    ("reread", Both("③ 按短一格的行重读", "3. read again in shorter rows")),
    ("shifted", Both("④ 丢掉首行，再读回来", "4. drop the first row, read back")),
]


@figure(title=Both("相对移位：不查表，只重读", "The relative shift: no lookup, only reading again"))
def shift_steps(
    step: Annotated[str, Choice(STEPS, label=Both("走到哪一步", "step"))] = "by_distance",
    n: Annotated[int, Slider(2, 8, label=Both("token 数", "tokens"))] = 5,
) -> Heatmap:
    distances = torch.arange(n - 1, -1, -1.0).expand(n, n)
    padded = torch.cat([torch.full((n, 1), -1.0), distances], dim=1)
    matrix = {
        "by_distance": distances,
        "padded": padded,
        "reread": padded.reshape(n + 1, n),
        "shifted": relative_shift(distances + 1) - 1,  # the zeros that are padded become -1, an empty cell
    }[step]
    notes = {
        "by_distance": Both(
            "每个数是距离。第 i 行要的是：第 j 列放距离 i − j", "numbers are distances; row i wants i − j in column j"
        ),
        "padded": Both("空格是补上的", "the empty cells were added"),
        "reread": Both("内存里的数一个没动，只是每行少读一个，下一行就晚一格", "nothing has moved in memory; each row is one shorter, so the next begins one place later"),
        "shifted": Both("对角线是 0，往左每格加 1；右上角没有意义，由因果掩码去掉", "0 on the diagonal, one more for each step to the left; the upper right means nothing and is masked"),
    }  # fmt: skip
    cells = [[None if cell < 0 else cell for cell in row] for row in matrix.tolist()]
    return Heatmap(
        cells,
        x_labels=[str(j) for j in range(len(cells[0]))],
        y_labels=[str(i) for i in range(len(cells))],
        show_numbers=True,
        domain=(0.0, float(n - 1)),
        note=notes[step],
    )


# ---------------------------------------------------------------- buckets of T5


@value
def bucket(distance: int, n_buckets: int = 32, max_distance: int = 128, both: bool = False) -> int:
    """The bucket of a key ``distance`` places back."""
    return t5_relative_bucket(torch.tensor(-distance), n_buckets, max_distance, both).item()


def buckets_between(near: int, far: int) -> int:
    return len(t5_relative_bucket(-torch.arange(near, far + 1), bidirectional=False).unique())


@figure(
    title=Both(
        "T5 的桶：近处一格一个，远处越来越宽", "T5's buckets: one each nearby, wider and wider far away"
    ),
    predict=Predict(
        Both(
            "只看过去，32 个桶，最远 128。距离 64 到 127 一共 64 个距离，分到几个桶里？",
            "Looking back only, with 32 buckets up to 128. Into how many buckets do the 64 distances from 64 to 127 go?",
        ),
        low=1,
        high=32,
        step=1,
        answer=lambda: buckets_between(64, 127),
        explain=lambda: Both(
            f"{buckets_between(64, 127)} 个。后一半的 16 个桶按对数均分 16 到 128，三次翻倍，每次翻倍五个多一点。最近的 16 个距离却占了 16 个桶。",
            f"{buckets_between(64, 127)}. The later 16 buckets divide 16 to 128 evenly in the logarithm: three doublings, a little over five buckets each. "
            "The nearest 16 distances have 16 buckets to themselves.",
        ),
    ),
)
def buckets(
    n_buckets: Annotated[int, Slider(8, 64, step=4, label=Both("桶数", "buckets"))] = 32,
    max_distance: Annotated[int, Slider(64, 512, step=16, label=Both("最远距离", "largest distance"))] = 128,
    both: Annotated[bool, Toggle(label=Both("也看未来", "also look ahead"))] = False,
) -> Lines:
    relative = torch.arange(-160, 161 if both else 1)
    return Lines(
        {Both("桶", "bucket"): (relative, t5_relative_bucket(relative, n_buckets, max_distance, both))},
        x_label=Both("key 的位置 − query 的位置", "position of the key − position of the query"),
        y_label=Both("桶的编号", "bucket"),
        y_range=(0.0, float(n_buckets)),
        marks=[(0, Both("自己", "itself"))],
    )


# ---------------------------------------------------------------- what each method adds, as matrices


def equal_vectors(dim: int, length: int, decaying: bool) -> Tensor:
    """Scores of equal vectors, divided by that at distance 0: ``(query, key)``."""
    distances = -relative_positions(length)
    return expected_score(distances.clamp(min=0).float(), dim, 512.0 if decaying else None)


BIASES = [
    ("sinusoidal", Both("正弦：p_i · p_j", "sinusoids: p_i · p_j")),
    ("t5", Both("T5：桶的编号", "T5: bucket")),
    ("alibi", Both("ALiBi：第 3 个头（共 8 个）", "ALiBi: head 3 of 8")),
    ("deberta", Both("DeBERTa：表的行号，k = 8", "DeBERTa: row of the table, k = 8")),
    ("rope", Both("RoPE：q = k 时的平均", "RoPE: mean for q = k")),
    ("xpos", Both("xPos：q = k 时的平均", "xPos: mean for q = k")),
]  # fmt: skip


@figure(title=Both("每种办法看到的位置矩阵", "The matrix of positions that each method sees"))
def bias_maps(
    method: Annotated[str, Choice(BIASES, label=Both("办法", "method"))] = "t5",
    length: Annotated[int, Slider(8, 48, step=4, label=Both("token 数", "tokens"))] = 32,
) -> Heatmap:
    relative, scale, domain = relative_positions(length), "sequential", None
    if method == "sinusoidal":
        table = sinusoidal_positions(length, 64)
        matrix = table @ table.T
    elif method == "t5":
        matrix = t5_relative_bucket(relative, bidirectional=False)
    elif method == "alibi":
        matrix, domain = alibi_bias(8, length)[2], (-6.0, 0.0)
    elif method == "deberta":
        matrix = deberta_distance(-relative, 8)
    else:
        matrix, scale, domain = equal_vectors(64, length, method == "xpos"), "diverging", (-1.0, 1.0)
    hidden = (relative > 0) & (method not in ("sinusoidal", "deberta"))
    cells = [
        [None if is_hidden else cell for cell, is_hidden in zip(*row, strict=True)]
        for row in zip(matrix.tolist(), hidden.tolist(), strict=True)
    ]
    return Heatmap(
        cells,
        x_label="key",
        y_label="query",
        scale=scale,
        domain=domain,
        note=Both(
            "同一条斜线上数相同：只看距离。空格是因果掩码挡住的", "equal along each diagonal: only distance counts; empty cells are masked"
        ),
    )  # fmt: skip


@value
def spread_of_terms(n_terms: int, d: int = 64) -> float:
    """Standard deviation of a sum of so many products of independent random vectors, measured on 20,000."""
    pairs = [(normal(20_000, d, seed=10 + i), normal(20_000, d, seed=20 + i)) for i in range(n_terms)]
    return torch.stack([(a * b).sum(-1) for a, b in pairs]).sum(0).std().item()


# ---------------------------------------------------------------- RoPE and xPos far away

DIM = 64


def expected_score(distances: Tensor, dim: int = DIM, scale_base: float | None = None) -> Tensor:
    """Mean score of a random vector with itself, divided by that at distance 0: the mean of ζ_i^(Δ/b) cos(Δ θ_i)."""
    turned = torch.cos(distances[..., None] * rope_frequencies(dim))
    if scale_base is not None:
        turned = turned * xpos_decay(dim) ** (distances[..., None] / scale_base)
    return turned.mean(-1)


@value
def rope_mean(distance: int, dim: int = DIM) -> float:
    return expected_score(torch.tensor([float(distance)]), dim).item()


@value
def log_law(distance: int, base: float = 10_000.0) -> float:
    """1 - (ln Δ + γ) / ln base, with Euler's constant γ = 0.5772…"""
    return 1 - (math.log(distance) + 0.577216) / math.log(base)


def comes_back(dim: int = 4, nearest: int = 100, longest: int = 2000) -> int:
    """The distance from ``nearest`` to ``longest`` at which the mean RoPE score is highest.

    Much nearer, a slow pair has hardly begun to turn, so a high score there is no return.
    """
    scores = expected_score(torch.arange(nearest, longest + 1, dtype=torch.float64), dim)
    return int(scores.argmax()) + nearest


def turns(distance: int, dim: int = 4) -> tuple[float, float]:
    """How many turns the fastest and the slowest pair have made at a distance."""
    fastest, *_, slowest = (rope_frequencies(dim).double() * distance / (2 * math.pi)).tolist()
    return fastest, slowest


@value
def zeta(pair: int, dim: int = DIM) -> float:
    return xpos_decay(dim)[pair].item()


@value
def reach(dtype: str, centred: bool = False) -> int:
    """Positions until ζ_0^(-position / 512) is above the largest number of a dtype; centred: twice as many."""
    largest = torch.finfo({"float16": torch.float16, "float32": torch.float32}[dtype]).max
    return int(512 * math.log(largest) / -math.log(zeta(0))) * (2 if centred else 1)


@value
def bound_term(distance: int, dim: int = DIM) -> float:
    """The distance term of the bound: mean over j of |S_j|, divided by its value at distance 0."""
    angles = rope_angles(torch.tensor([distance]), dim)[0]
    sums = torch.polar(torch.ones_like(angles), angles).cumsum(-1).abs().mean().item()
    return sums / ((dim // 2 + 1) / 2)


@figure(
    title=Both("RoPE 和 xPos：期望的分数随距离", "RoPE and xPos: the expected score over distance"),
    predict=Predict(
        Both(
            "下面是 64 维。换成 4 维，只剩两对，一对每步转 1 弧度，一对转 0.01。RoPE 那条线在距离 100 到 2000 之间，还会回到 0.95 以上吗？",
            "Below there are 64 dimensions. With 4 there are two pairs, one turning 1 radian a step and one 0.01. Between the distances 100 and 2000, does "
            "the RoPE line ever come back above 0.95?",
        ),
        choices=[Both("不会，只会衰减", "no, it only decays"), Both("会", "yes")],
        answer=lambda: int(rope_mean(comes_back(), 4) > 0.95),
        explain=lambda: Both(
            "会，在距离 {} 是 {:.4f}：快的一对转了 {:.2f} 圈，慢的一对转了 {:.2f} 圈，同时接近整圈。再多几对，也会有这样的距离，只是远得多，所以“趋于零”不成立。".format(
                comes_back(), rope_mean(comes_back(), 4), *turns(comes_back())
            ),
            "Yes: at distance {} it is {:.4f}. The fast pair has made {:.2f} turns and the slow one {:.2f}: both near whole turns at once. With more pairs there are "
            "such distances too, only much farther; so the score does not tend to zero.".format(
                comes_back(), rope_mean(comes_back(), 4), *turns(comes_back())
            ),
        ),
    ),
)
def expected_scores(
    dim: Annotated[int, Slider(4, 128, step=4, label=Both("头的维度", "dimensions of a head"))] = DIM,
    scale_base: Annotated[
        float, Slider(32, 2048, log=True, label=Both("xPos 的 scale_base", "scale_base of xPos"))
    ] = 512.0,
    longest: Annotated[int, Slider(64, 16_384, log=True, label=Both("画到多远", "up to distance"))] = 2048,
) -> Lines:
    distances = torch.linspace(0, longest, min(longest, 600) + 1)
    far = distances[1:]
    return Lines(
        {
            "RoPE": (distances, expected_score(distances, dim)),
            "xPos": (distances, expected_score(distances, dim, scale_base)),
            Both("对数律", "logarithmic law"): (far, [log_law(distance) for distance in far.tolist()]),
        },
        x_label=Both("距离", "distance"),
        y_label=Both("q = k 时的平均分数（距离 0 为 1）", "mean score for q = k (1 at distance 0)"),
        y_range=(-0.6, 1.05),
        note=Both(
            "对数律：1 − (ln Δ + γ) / ln 10000，对无穷多对成立", "logarithmic law: 1 − (ln Δ + γ) / ln 10000, for infinitely many pairs"
        ),
    )  # fmt: skip


# ---------------------------------------------------------------- why ALiBi goes on working

NEAREST = 32


@functools.lru_cache(maxsize=4)
def content_scores(length: int, seed: int) -> Tensor:
    """Normal scores of the newest query with its keys, newest first."""
    return normal(length, seed=seed)


def weight_nearby(slope: float, lengths: list[int], seed: int) -> list[float]:
    """Share of the weight on the nearest 32 keys, in texts of these lengths."""
    scores = content_scores(max(lengths), seed) - slope * torch.arange(max(lengths))
    return [F.softmax(scores[:length], -1)[:NEAREST].sum().item() for length in lengths]


def nearby(head: int, length: int) -> float:
    """Share of the nearest 32 keys; head 0 has no bias, 1 to 8 are ALiBi's."""
    slope = 0.0 if head == 0 else alibi_slopes(8)[head - 1].item()
    return weight_nearby(slope, [length], seed=7)[0]


@figure(
    title=Both(
        "文章变长，最近 32 个 key 还占多少权重", "As the text grows: how much weight the nearest 32 keys keep"
    ),
    predict=Predict(
        Both(
            "没有偏置时，64 个 key 里最近的 32 个拿到一半左右。key 增加到 4096 个，它们还剩百分之几？",
            "Without a bias, the nearest 32 of 64 keys have about half of the weight. With 4096 keys, what percentage do they keep?",
        ),
        low=0,
        high=100,
        step=1,
        unit="%",
        answer=lambda: round(100 * nearby(0, 4096)),
        explain=lambda: Both(
            f"{nearby(0, 4096):.1%}。权重被几千个远处的 key 摊薄了。同样的内容，ALiBi 第 4 个头还有 {nearby(4, 4096):.0%}。",
            f"{nearby(0, 4096):.1%}: thousands of far keys have diluted it. With the same contents, head 4 of ALiBi keeps {nearby(4, 4096):.0%}.",
        ),
    ),
)
def dilution(
    seed: Annotated[int, Slider(1, 20, label=Both("第几组内容", "which contents"))] = 7,
) -> Lines:
    lengths = [32, 64, 128, 256, 512, 1024, 2048, 4096]
    slopes = alibi_slopes(8).tolist()
    lines = {Both("没有偏置", "no bias"): 0.0} | {
        Both(f"ALiBi 第 {head} 个头", f"ALiBi, head {head}"): slopes[head - 1] for head in (4, 6, 8)
    }
    return Lines(
        {name: (lengths, weight_nearby(slope, lengths, seed)) for name, slope in lines.items()},
        x_label=Both("key 的个数", "number of keys"),
        y_label=Both("最近 32 个的权重", "weight of the nearest 32"),
        x_log=True,
        y_range=(0.0, 1.05),
        note=Both(
            "内容的分数是随机的，均值 0、方差 1", "content scores are random, of mean 0 and variance 1"
        ),
    )


@value
def tail_bound(head: int, window: int, spread: float = 2.0, n_heads: int = 8) -> float:
    """e^(2c) e^(-m w): the most weight that keys at least ``window`` back can have; c = ``spread``."""
    return math.exp(2 * spread - alibi_slopes(n_heads)[head - 1].item() * window)


# ---------------------------------------------------------------- trained short, read long

SHORT, LONG, ROWS, TEST_ROWS, BIN = 32, 256, 32, 64, 16
METHODS: dict[Position, Both] = {
    "sinusoidal": Both("正弦", "sinusoidal"),
    "rope": Both.same("RoPE"),
    "xpos": Both.same("xPos"),
    "alibi": Both.same("ALiBi"),
    "t5": Both.same("T5"),
    "transformer_xl": Both.same("Transformer-XL"),
    "deberta": Both.same("DeBERTa"),
    "none": Both("没有位置", "no positions"),
}


@dataclass(frozen=True)
class Windows:
    """A batch for the training loop; every row is one document."""

    tokens: Tensor
    targets: Tensor
    document_ids: Tensor


class RandomWindows:
    """Windows of ``SHORT`` bytes from random places of a text, the same for the same seed."""

    def __init__(self, text: Tensor, seed: int) -> None:
        self.text, self.generator = text, torch.Generator().manual_seed(seed)

    def __next__(self) -> Windows:
        rows = draw(self.text, ROWS, SHORT, self.generator)
        return Windows(rows[:, :-1], rows[:, 1:], torch.zeros(ROWS, SHORT, dtype=torch.long))

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state().tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(torch.tensor(state["generator"], dtype=torch.uint8))


def draw(text: Tensor, rows: int, length: int, generator: torch.Generator) -> Tensor:
    starts = torch.randint(len(text) - length, (rows,), generator=generator)
    return torch.stack([text[start : start + length + 1] for start in starts.tolist()])


@functools.cache
def bytes_of_docs() -> tuple[Tensor, Tensor]:
    """Documentation of Python's standard library as bytes: nine parts to train on, one to test."""
    text = "\n\n".join(stdlib_docs(max_bytes=600_000)).encode()
    whole = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    return whole[: len(whole) * 9 // 10], whole[len(whole) * 9 // 10 :]


def small_decoder(position: Position, seed: int) -> Decoder:
    model = Decoder(
        DecoderConfig(
            vocab_size=256,
            d_model=64,
            n_layers=2,
            n_heads=4,
            n_kv_heads=4,
            head_dim=16,
            hidden=256,
            context_length=SHORT,
            feed_forward="gelu",
            position=position,
        )
    )
    initialize(model, torch.Generator().manual_seed(seed))
    return model


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices this small are slower on several threads than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training(model: Decoder, text: Tensor, steps: int, seed: int) -> Iterator[StepMetrics]:
    """Trains on windows of ``SHORT`` bytes with the loop of the stack."""
    config = TrainingConfig(
        steps=steps, micro_rows=ROWS, learning_rate=4e-3, warmup_steps=min(30, steps // 4), weight_decay=0.01,
        precision="float32", within_documents=False,
    )  # fmt: skip
    for event in train(begin(model, RandomWindows(text, seed), config), config):
        if isinstance(event, StepMetrics):
            yield event


@torch.inference_mode()
def loss_by_position(model: Decoder, text: Tensor) -> list[float]:
    """Mean loss of each ``BIN`` places in windows of ``LONG`` bytes."""
    rows = draw(text, TEST_ROWS, LONG, torch.Generator().manual_seed(1))
    logits = model.eval()(rows[:, :-1])
    losses = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    return losses.view(TEST_ROWS, LONG // BIN, BIN).mean((0, 2)).tolist()


@lab(
    title=Both("训练只看 32 个字节，考试读 256 个", "Trained on 32 bytes, tested on 256"),
    seconds=75,
    summary=Both(
        "同一个两层小解码器，只换位置编码，各用课程的训练循环训练一遍，在 Python 文档上读到训练长度的 8 倍。",
        "One small decoder of two layers, trained once for each position encoding with the stack's own loop, then read to 8 times its training length on Python's documentation.",
    ),
)
def longer_than_trained(
    methods: Annotated[
        str,
        Choice(
            [
                ("six", Both("六种", "six of them")),
                ("all", Both("全部八种", "all eight")),
                ("three", Both("正弦、RoPE、ALiBi", "sinusoidal, RoPE, ALiBi")),
            ],
            label=Both("比较哪些", "which to compare"),
        ),
    ] = "six",
    steps: Annotated[int, Slider(20, 2000, step=20, label=Both("训练步数", "training steps"))] = 400,
    seed: Annotated[int, Slider(0, 9, label=Both("种子", "seed"))] = 0,
) -> Iterator[Event]:
    chosen = list(METHODS)[: {"six": 6, "all": 8}.get(methods, 0)] or ["sinusoidal", "rope", "alibi"]
    total = len(chosen) * steps
    yield Progress(0, total, Both("读入文本", "loading the text"))
    train_text, test_text = bytes_of_docs()
    within, beyond = SHORT // BIN, LONG // 2 // BIN
    rows: list[list[Any]] = []
    with one_thread():
        for number, position in enumerate(chosen):
            name = METHODS[position]
            model = small_decoder(position, seed)
            for metrics in training(model, train_text, steps, seed):
                if metrics.step % 20 == 0:
                    yield Progress(number * steps + metrics.step, total, name)
            losses = loss_by_position(model, test_text)
            for index, loss in enumerate(losses):
                yield Sample(
                    name,
                    x=index * BIN + BIN // 2,
                    y=loss,
                    x_label=Both("在文章里的位置（字节）", "place in the text (bytes)"),
                    y_label=Both("损失（nat）", "loss (nats)"),
                )
            near = sum(losses[1:within]) / (within - 1)
            far = sum(losses[beyond:]) / (len(losses) - beyond)
            rows.append([name, round(near, 2), round(far, 2), round(far - near, 2)])
            columns = [
                Both("位置编码", "positions"),
                Both(f"第 {BIN} 到 {SHORT} 字节", f"bytes {BIN} to {SHORT}"),
                Both(f"第 {LONG // 2} 到 {LONG} 字节", f"bytes {LONG // 2} to {LONG}"),
                Both("变坏了", "worse by"),
            ]
            yield Show("losses", Table(columns, rows))
    best = min(rows, key=lambda row: row[2])
    yield Metric(Both("最远处损失最低", "lowest loss far away"), best[2])
    yield Say(
        Both(
            f"远处最好的是{best[0].zh}。这是两层的小模型、{SHORT} 字节的训练长度、一个种子，别当成排行榜。",
            f"Best far away: {best[0].en}. This is a model of two layers, a training length of {SHORT} bytes and one seed, not a ranking.",
        )
    )


def far_loss(model: Decoder, text: Tensor, reached: int, bias: Tensor | float) -> float:
    """Loss in the second half of long texts, with ``bias`` in the buckets behind bucket ``reached``."""
    table = model.distances.weight.data
    trained = table.clone()
    table[reached + 1 :] = bias
    losses = loss_by_position(model, text)[LONG // 2 // BIN :]
    table.copy_(trained)
    return sum(losses) / len(losses)


SHUT = -20.0
"""A bias that leaves a key no weight worth speaking of."""


@lab(
    title=Both("用你的分桶函数训练 T5 式的解码器", "A T5-style decoder trained with your buckets"),
    seconds=30,
    summary=Both(
        "解码器的相对偏置由 t5_relative_bucket 查表。打开“用我写的函数来跑”，它就换成你写的。",
        "The decoder's relative bias is looked up by t5_relative_bucket. Turn on “Run it with my function” and it becomes yours.",
    ),
)
def your_buckets(
    steps: Annotated[int, Slider(20, 1000, step=20, label=Both("训练步数", "training steps"))] = 400,
) -> Iterator[Event]:
    yield Progress(0, steps, Both("读入文本", "loading the text"))
    train_text, test_text = bytes_of_docs()
    distances = torch.arange(LONG)
    yield Show(
        "buckets",
        Lines(
            {Both("桶", "bucket"): (distances, t5_relative_bucket(-distances, bidirectional=False))},
            x_label=Both("往前多远", "places back"),
            y_label=Both("桶的编号", "bucket"),
        ),
    )
    with one_thread():
        model = small_decoder("t5", seed=0)
        for metrics in training(model, train_text, steps, seed=0):
            if metrics.step % 10 == 0:
                yield Progress(metrics.step, steps)
                yield Sample(
                    Both("训练损失", "training loss"),
                    x=metrics.step,
                    y=metrics.loss,
                    x_label=Both("步", "step"),
                    y_label=Both("损失（nat）", "loss (nats)"),
                )
        losses = loss_by_position(model, test_text)
        table = model.distances.weight.detach()
        buckets_of = t5_relative_bucket(-distances, bidirectional=False)
        biases, reached = table[buckets_of], int(buckets_of[SHORT - 1])
        trials = [
            (Both("原样：随机的初值", "as they are: random first values"), table[reached + 1 :].clone()),
            (Both(f"都改成第 {reached - 1} 号桶的值", f"all like bucket {reached - 1}"), table[reached - 1].clone()),
            (Both(f"都改成 {SHUT:.0f}：等于不看", f"all {SHUT:.0f}: out of sight"), SHUT),
        ]  # fmt: skip
        far = [[name, round(far_loss(model, test_text, reached, bias), 2)] for name, bias in trials]
    yield Show(
        "biases",
        Lines(
            {
                Both(f"第 {head + 1} 个头", f"head {head + 1}"): (distances, biases[:, head])
                for head in range(biases.shape[1])
            },
            x_label=Both("往前多远", "places back"),
            y_label=Both("学到的偏置", "learned bias"),
            marks=[(SHORT, Both("训练长度", "training length"))],
        ),
    )
    yield Show(
        "causes",
        Table(
            [
                Both(f"第 {reached} 号以后的桶，训练没到过", f"buckets behind {reached}, never reached in training"),
                Both(f"第 {LONG // 2} 到 {LONG} 字节的损失", f"loss at bytes {LONG // 2} to {LONG}"),
            ],
            far,
        ),
    )  # fmt: skip
    yield Metric(Both("32 字节以内的损失", "loss within 32 bytes"), losses[1])
    yield Metric(Both("256 字节处的损失", "loss at 256 bytes"), losses[-1])

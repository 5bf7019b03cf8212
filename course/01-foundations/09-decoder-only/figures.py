"""Figures, lab and values of lesson 1.9: why large models are decoder-only."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from teachllm.school.figures import (
    Both,
    Choice,
    Event,
    Heatmap,
    Lines,
    Predict,
    Progress,
    Sample,
    Say,
    Show,
    Slider,
    Table,
    Text,
    figure,
    lab,
    value,
)
from teachllm.stack.data.corpora import stdlib_docs
from teachllm.stack.models.decoder import Decoder, DecoderConfig
from teachllm.stack.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from teachllm.stack.nn.attention import scaled_dot_product_attention
from teachllm.stack.nn.masks import Architecture, attention_rank, effective_rank, visibility
from teachllm.stack.tokenizer import Tokenizer

NAMES: dict[str, Both] = {
    "encoder": Both("纯编码器（BERT）", "encoder (BERT)"),
    "causal": Both("纯解码器（GPT）", "decoder-only (GPT)"),
    "prefix": Both("前缀语言模型", "prefix LM"),
    "encoder_decoder": Both("编码器-解码器（T5）", "encoder–decoder (T5)"),
}

# ---------------------------------------------------------------- who reads whom


@figure(title=Both("谁能读谁：一行是一个读者", "Who reads whom: a row is a reader"))
def who_reads_whom(
    architecture: Annotated[
        str, Choice(list(NAMES.items()), label=Both("架构", "architecture"))
    ] = "encoder_decoder",
    n_source: Annotated[int, Slider(1, 8, label=Both("输入的 token 数", "source tokens"))] = 4,
    n_target: Annotated[int, Slider(1, 8, label=Both("要写的 token 数", "target tokens"))] = 3,
) -> list[Heatmap | Text]:
    kind: Architecture = architecture  # pyright: ignore[reportAssignmentType]
    mask = visibility(kind, n_source, n_target)
    names = [f"s{i}" for i in range(1, n_source + 1)] + [f"t{i}" for i in range(1, n_target + 1)]
    # Which attention a cell belongs to: 1 within the source, 2 target reads source, 3 within the target.
    part = torch.ones(n_source + n_target, n_source + n_target)
    part[n_source:, :n_source] = 2
    part[n_source:, n_source:] = 3
    part[:n_source, n_source:] = 3
    shown = part if architecture == "encoder_decoder" else torch.ones_like(part)
    rows = [
        [cell if allowed else None for cell, allowed in zip(*both, strict=True)]
        for both in zip(shown.tolist(), mask.tolist(), strict=True)
    ]
    said = {
        "encoder": Both("每个 token 都读全部。它能理解一段话，却不能一个接一个地往下写。",
                        "Every token reads all. It can take in a text, but cannot write on, token after token."),
        "causal": Both("每个 token 只读自己和前面的。输入和要写的，用的是同一套规则、同一套权重。",
                       "Each token reads itself and what stands before it: one rule and one set of weights for what is given and what is written."),
        "prefix": Both("输入之间互相都读，要写的部分只读左边。一套权重。",
                       "Source tokens all read each other; the target reads to its left. One set of weights."),
        "encoder_decoder": Both("格子和前缀语言模型一模一样。不同的是三种深浅：编码器、交叉注意力、解码器各有一套权重，而且交叉注意力只读编码器最后一层的输出。",
                                "The cells are those of the prefix LM. The three shades differ: encoder, cross-attention and decoder have weights of their own, and cross-attention reads only what the encoder's last layer gives."),
    }  # fmt: skip
    return [
        Heatmap(
            rows,
            x_labels=names,
            y_labels=names,
            x_label=Both("被读的", "read"),
            y_label=Both("读者", "reader"),
            domain=(0, 3),
        ),
        Text(said[architecture]),
    ]


# ---------------------------------------------------------------- how many tokens teach


@value
def predictions(architecture: str, length: int) -> float:
    """How many predictions one text of `length` tokens is trained on; half of it is the source."""
    return {
        "causal": length - 1,
        "prefix": length / 2,
        "encoder_decoder": length / 2,
        "masked": 0.15 * length,
    }[architecture]


# ---------------------------------------------------------------- a conversation


def positions_read(turns: int, question: int, answer: int, cached: bool) -> list[int]:
    """Positions that have gone through the model after each turn.

    cached: what was read stays valid, so a turn adds only its own tokens. Otherwise each new question changes
    what every earlier token would have seen, and the conversation so far is read again before the answer.
    """
    total, history, after = 0, 0, []
    for _ in range(turns):
        total += (0 if cached else history) + question + answer
        history += question + answer
        after.append(total)
    return after


@value
def reread_ratio(turns: int, question: int = 50, answer: int = 150) -> float:
    return (
        positions_read(turns, question, answer, False)[-1] / positions_read(turns, question, answer, True)[-1]
    )


@figure(
    title=Both("聊天越久，重读越贵", "The longer the chat, the more rereading costs"),
    predict=Predict(
        Both(
            "聊 10 轮，每轮提问 50、回答 150 个 token。输入要双向读的模型，一共算过的位置是因果模型的多少倍？",
            "Ten turns of 50 tokens asked and 150 answered. A model that reads its input in both directions computes how many times as many positions as a causal one?",
        ),
        low=1,
        high=12,
        step=0.5,
        answer=lambda: reread_ratio(10),
        explain=lambda: Both(
            f"{reread_ratio(10):.1f} 倍。第 n 轮要把前 n−1 轮重读一遍，加起来按轮数的平方增长。",
            f"{reread_ratio(10):.1f} times. Turn n reads the n−1 turns before it once more, which adds up like the square of the turns.",
        ),
    ),
)
def conversation_cost(
    turns: Annotated[int, Slider(1, 30, label=Both("轮数", "turns"))] = 3,
    question: Annotated[int, Slider(10, 500, step=10, label=Both("每轮提问的 token", "tokens asked a turn"))] = 50,
    answer: Annotated[int, Slider(10, 500, step=10, label=Both("每轮回答的 token", "tokens answered a turn"))] = 150,
) -> Lines:  # fmt: skip
    xs = list(range(1, turns + 1))
    return Lines(
        {
            Both("因果：缓存一直有效", "causal: the cache stays valid"): (
                xs,
                positions_read(turns, question, answer, True),
            ),
            Both("输入双向读：每轮重读", "input read in both directions: reread each turn"): (
                xs,
                positions_read(turns, question, answer, False),
            ),
        },
        x_label=Both("轮", "turn"),
        y_label=Both("算过的位置（累计）", "positions computed so far"),
    )


# ---------------------------------------------------------------- rank

HEADS = 8  # random heads that are averaged


@functools.lru_cache(maxsize=64)
def random_attention(causal: bool, length: int, d: int, sharpness: float) -> Tensor:
    """Weights of `HEADS` random heads, (heads, length, length), in float64."""
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, HEADS, length, d, generator=draw, dtype=torch.float64)
    values = torch.eye(length, dtype=torch.float64).expand(1, HEADS, length, length)
    mask = visibility("causal" if causal else "encoder", 0, length)
    return scaled_dot_product_attention(q * sharpness, k, values, mask)[0]


@value
def smallest_singular(causal: bool, length: int = 128, d: int = 64, sharpness: float = 1.0) -> float:
    """Power of ten of the smallest singular value, averaged over the heads."""
    weights = random_attention(causal, length, d, sharpness)
    if not causal:
        return torch.linalg.svdvals(weights)[:, -1].log10().mean().item()
    # A decomposition is exact to 1e-16 of the *largest* value, and the smallest lies far below. The inverse of a
    # triangular matrix is computed well entry by entry; its norm is one over the smallest value.
    ones = torch.eye(length, dtype=weights.dtype).expand_as(weights)
    inverse = torch.linalg.solve_triangular(weights, ones, upper=False)
    return -torch.linalg.matrix_norm(inverse, 2).log10().mean().item()


@value
def rank_in_float32(causal: bool, length: int = 128, d: int = 64, sharpness: float = 1.0) -> float:
    return attention_rank(random_attention(causal, length, d, sharpness).float()).float().mean().item()


@value
def rank_by_entropy(causal: bool, length: int = 128, d: int = 64, sharpness: float = 1.0) -> float:
    return effective_rank(random_attention(causal, length, d, sharpness)).mean().item()


@value
def small_determinant() -> float:
    """Of the three-by-three matrix in the text."""
    return torch.linalg.det(torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]])).item()


RESOLVED = -14  # powers of ten: below this, what a decomposition in float64 returns is rounding


@figure(
    title=Both("奇异值，从大到小", "Singular values, from large to small"),
    predict=Predict(
        Both(
            "长度 128、每头 64 维的因果注意力矩阵，定理说秩是 128。用 float32 去数，128 个奇异值里有几个分得清不是 0？",
            "A causal attention matrix of length 128 with heads of 64 dimensions: by the theorem its rank is 128. In float32, how many of the 128 singular values can be told from 0?",
        ),
        low=0,
        high=128,
        step=1,
        answer=lambda: rank_in_float32(True),
        explain=lambda: Both(
            f"8 个头平均 {rank_in_float32(True):.1f} 个。双向的矩阵没有定理保证，却是 {rank_in_float32(False):.1f} 个。",
            f"{rank_in_float32(True):.1f}, averaged over 8 heads. The bidirectional matrix, which no theorem protects, has {rank_in_float32(False):.1f}.",
        ),
    ),
)
def spectra(
    length: Annotated[int, Slider(8, 128, step=8, label=Both("序列长度", "length"))] = 32,
    d: Annotated[int, Slider(2, 128, label=Both("每头的维度 d", "head dimension d"), log=True)] = 64,
    sharpness: Annotated[
        float, Slider(0.25, 4.0, step=0.25, label=Both("分数放大多少倍", "scores multiplied by"))
    ] = 1.0,
) -> list[Lines | Table]:
    curves, rows = {}, []
    for causal, name in ((True, Both("因果", "causal")), (False, Both("双向", "bidirectional"))):
        weights = random_attention(causal, length, d, sharpness)
        values = torch.linalg.svdvals(weights).log10().mean(0)
        resolved = values[values > RESOLVED].tolist()
        curves[name] = (list(range(1, len(resolved) + 1)), resolved)
        rows.append(
            [
                name,
                f"{attention_rank(weights.float()).float().mean().item():.1f} / {length}",
                f"{effective_rank(weights).mean().item():.1f}",
                f"{smallest_singular(causal, length, d, sharpness):.1f}",
            ]
        )
    return [
        Lines(
            curves,
            x_label=Both("第几个", "number"),
            y_label=Both("奇异值的对数（底为 10）", "log10 of the singular value"),
            note=Both("小于 10⁻¹⁴ 的不画：双精度分不清它们和 0 了。", "Values below 10⁻¹⁴ are not drawn: double precision cannot tell them from 0."),
        ),
        Table(
            [
                Both("掩码", "mask"),
                Both("float32 里的秩", "rank in float32"),
                Both("有效秩", "effective rank"),
                Both("最小奇异值，10 的几次方", "smallest, power of ten"),
            ],
            rows,
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- the lab: three architectures, one budget

D_MODEL, N_LAYERS, N_HEADS, HIDDEN = 64, 2, 4, 176
STEPS, WARMUP, LEARNING_RATE, POINTS = 480, 40, 3e-3, 12
Kind = Literal["causal", "prefix", "encoder_decoder", "causal_target_only"]
RUNS: dict[Kind, Both] = {
    "causal": Both("纯解码器", "decoder-only"),
    "causal_target_only": Both("纯解码器，只算后一半的损失", "decoder-only, loss on the target only"),
    "prefix": Both("前缀语言模型", "prefix LM"),
    "encoder_decoder": Both("编码器-解码器", "encoder–decoder"),
}


@dataclass(frozen=True)
class Pairs:
    """Where sources and targets come from: `draw(rows, generator)`; the last token of the vocabulary starts."""

    vocab_size: int
    rows: int
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
    held_out: tuple[Tensor, Tensor]


def text_pairs() -> Pairs:
    """32 tokens of English prose and the 32 that follow them."""
    texts = list(stdlib_docs(max_bytes=1_200_000))
    tokenizer = Tokenizer.train(texts[: len(texts) // 3], 1024)
    ids = torch.from_numpy(tokenizer.encode_to_array("\n".join(texts)).astype("int64"))
    cut = int(0.95 * len(ids))

    def draw(rows: int, generator: torch.Generator, ids: Tensor = ids[:cut]) -> tuple[Tensor, Tensor]:
        begins = torch.randint(0, len(ids) - 64, (rows, 1), generator=generator)
        drawn = ids[begins + torch.arange(64)]
        return drawn[:, :32], drawn[:, 32:]

    held_out = draw(128, torch.Generator().manual_seed(9), ids[cut:])
    return Pairs(tokenizer.vocab_size + 1, 16, draw, held_out)


def made_pairs(task: str) -> Pairs:
    """12 random symbols, and the same backwards or in order."""

    def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        source = torch.randint(0, 20, (rows, 12), generator=generator)
        return source, source.flip(1) if task == "reverse" else source.sort(1).values

    return Pairs(21, 32, draw, draw(256, torch.Generator().manual_seed(9)))


def build(kind: Kind, vocab_size: int) -> nn.Module:
    """A model in which every token passes through N_LAYERS layers of one width; same seed, same beginning."""
    if kind == "encoder_decoder":
        model: nn.Module = EncoderDecoder(
            EncoderDecoderConfig(vocab_size, D_MODEL, N_LAYERS, N_LAYERS, N_HEADS, HIDDEN)
        )
    else:
        model = Decoder(
            DecoderConfig(
                vocab_size,
                D_MODEL,
                N_LAYERS,
                N_HEADS,
                N_HEADS,
                D_MODEL // N_HEADS,
                HIDDEN,
                context_length=65,
                attention="prefix" if kind == "prefix" else "causal",
            )
        )
    draw = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            std = 0.02 if name.startswith("embedding") else 0.7 / math.sqrt(weight.shape[1])
            nn.init.normal_(weight, std=std, generator=draw)
    return model


def losses(kind: Kind, model: nn.Module, source: Tensor, target: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """What is trained on, and the mean loss over the target, which all four are compared by."""
    starts = torch.full_like(target[:, :1], start)
    if kind == "encoder_decoder":
        logits = model(source, torch.cat([starts, target[:, :-1]], dim=1))
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        return loss, loss
    n, whole = source.shape[1], torch.cat([source, starts, target], dim=1)
    logits = model(whole[:, :-1], prefix_length=n) if kind == "prefix" else model(whole[:, :-1])
    on_target = F.cross_entropy(logits[:, n:].flatten(0, 1), target.flatten())
    if kind != "causal":
        return on_target, on_target
    wanted = whole[:, 1:].clone()
    wanted[:, n - 1] = -100  # that the start token follows is nothing to learn
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100), on_target


def train(kind: Kind, pairs: Pairs, steps: int) -> Iterator[tuple[int, float]]:
    """The held-out loss over the target, at POINTS moments."""
    torch.manual_seed(0)
    model, start = build(kind, pairs.vocab_size), pairs.vocab_size - 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    batches = torch.Generator().manual_seed(0)
    for step in range(steps + 1):
        if step % (steps // POINTS) == 0:
            with torch.inference_mode():
                yield step, losses(kind, model, *pairs.held_out, start)[1].item()
        rate = LEARNING_RATE * min(1.0, step / WARMUP) * max(0.1, 1 - step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        losses(kind, model, *pairs.draw(pairs.rows, batches), start)[0].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@lab(
    title=Both("三种架构，同样的步数", "Three architectures, equal steps"),
    seconds=80,
    summary=Both(
        "同样的层数、宽度、数据和步数，训练四次，比较同一批后半段的损失。每个 token 都过同样多的层；编码器-解码器因为有两摞层，参数约为两倍。",
        "Four trainings with equal depth, width, data and steps; the loss over the same held-out targets. Every token passes through equally many layers; the encoder–decoder, which has two stacks, has about twice the parameters.",
    ),
)
def three_architectures(
    task: Annotated[
        str,
        Choice(
            [
                ("text", Both("续写英文", "continue English prose")),
                ("reverse", Both("把 12 个符号倒过来写", "write 12 symbols backwards")),
                ("sort", Both("把 12 个符号排好序", "sort 12 symbols")),
            ],
            label=Both("任务", "task"),
        ),
    ] = "text",
    steps: Annotated[int, Slider(120, 2400, step=120, label=Both("步数", "steps"))] = STEPS,
) -> Iterator[Event]:
    torch.set_num_threads(1)  # at this size a second thread costs more than it gives
    yield Progress(0, 4 * POINTS, Both("准备数据", "preparing the data"))
    pairs = text_pairs() if task == "text" else made_pairs(task)
    done, rows = 0, []
    for kind, name in RUNS.items():
        loss = math.nan
        for step, loss in train(kind, pairs, steps):
            yield Sample(
                name,
                x=step,
                y=loss,
                x_label=Both("步", "step"),
                y_label=Both("后半段的损失", "loss on the target"),
            )
            done += step > 0
            yield Progress(done, 4 * POINTS, name)
        n_parameters = sum(weight.numel() for weight in build(kind, pairs.vocab_size).parameters())
        taught = pairs.held_out[1].shape[1] + (pairs.held_out[0].shape[1] - 1) * (kind == "causal")
        rows.append([name, n_parameters, taught, f"{loss:.3f}"])
        yield Show(
            "results",
            Table(
                [
                    Both("架构", "architecture"),
                    Both("参数", "parameters"),
                    Both("一条样本里算损失的 token", "tokens with a loss in a sample"),
                    Both("后半段的损失", "loss on the target"),
                ],
                list(rows),
            ),
        )
    yield Say(
        Both(
            "先比头两行：同一个模型，只差前一半算不算损失。再看后面两行离哪一行近。",
            "Compare the first two rows: one model, with and without the loss on the first half. Then see which of them the last two are close to.",
        )
    )

"""Figures, labs and values of lesson 8.11: why inference pads on the left."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Annotated

import torch
from torch import Tensor

from teachllm.school.figures import (
    Bars,
    Both,
    Choice,
    Event,
    Heatmap,
    Metric,
    Predict,
    Progress,
    Sample,
    Say,
    Show,
    Slider,
    Table,
    Text,
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import model, tokenizer
from teachllm.stack.data.packing import IGNORED, next_token_targets, padding_of_packing
from teachllm.stack.data.tasks.spelling import made_up_word
from teachllm.stack.inference.padding import (
    PADDING,
    RowsCache,
    gather_last,
    left_pad,
    pack,
    right_pad,
    visible,
)
from teachllm.stack.inference.static_batch import static_batch_generate
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.attention import scaled_dot_product_attention
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.nn.positions import rope, sinusoidal_positions
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loss import cross_entropy

GREY, BLUE, ORANGE = 7, 0, 1  # tones

# ---------------------------------------------------------------- three texts in one rectangle

SENTENCES = (("A1", "A2", "A3", "A4"), ("B1", "B2"), ("C1", "C2", "C3", "C4", "C5"))
LAYOUTS = {
    "left": Both("左填充", "padded on the left"),
    "right": Both("右填充", "padded on the right"),
    "packed": Both("打包成一行", "packed into one row"),
}


@figure(title=Both("三段文字，排成一个长方形", "Three texts in one rectangle"))
def rectangle(
    layout: Annotated[str, Choice(list(LAYOUTS.items()), label=Both("排法", "layout"))] = "left",
    row: Annotated[int, Slider(1, 3, label=Both("看第几段的掩码", "mask of text"))] = 2,
) -> list[Tokens | Heatmap | Text]:
    ids = [list(range(len(words))) for words in SENTENCES]
    if layout == "packed":
        _, texts, positions = pack(ids)
        mask = torch.ones_like(texts, dtype=torch.bool)
        letters = [[word for words in SENTENCES for word in words]]
        last = {(0, end - 1) for end in torch.tensor([len(one) for one in ids]).cumsum(0).tolist()}
        shown = visible(texts, texts.shape[1])[0]
        labels = [Both("一行", "one row")]
    else:
        pad = left_pad if layout == "left" else right_pad
        tokens, mask, positions = pad(ids, 0)
        texts = torch.where(mask, 0, PADDING)
        letters = [
            [words[token] if real else "·" for token, real in zip(*one, strict=True)]
            for words, *one in zip(SENTENCES, tokens.tolist(), mask.tolist(), strict=True)
        ]
        columns = torch.arange(mask.shape[1]).expand_as(mask)
        ends = gather_last(columns[..., None].float(), mask).flatten().int().tolist()
        last = set(enumerate(ends))
        shown = visible(texts, texts.shape[1])[row - 1]
        labels = [Both(f"第 {number} 段", f"text {number}") for number in (1, 2, 3)]
    rows = [
        [
            Token(letter, id=at, tone=ORANGE if (r, c) in last else BLUE)
            if real
            else Token(letter, tone=GREY)
            for c, (letter, at, real) in enumerate(zip(*columns, strict=True))
        ]
        for r, columns in enumerate(zip(letters, positions.tolist(), mask.tolist(), strict=True))
    ]
    names = letters[0 if layout == "packed" else row - 1]
    read = {
        "left": Both("下一个 token 全从最后一列读，一个切片 [:, -1] 就够。", "The next token of every row is read in the last column: one slice, [:, -1]."),
        "right": Both("每行的最后一个真 token 不在同一列，要按长度取（gather）。最后一列对短的行来说是填充。", "The last real tokens stand in different columns and must be gathered. For short rows the last column is padding."),
        "packed": Both("没有填充。每段只看自己，位置各自从 0 数起。", "No padding. Each text sees itself only and counts its positions from 0."),
    }[layout]  # fmt: skip
    return [
        Tokens(
            rows,
            labels=labels,
            note=Both("数字是位置；橙色是读下一个 token 的地方；灰点是填充", "numbers are positions; orange: where the next token is read; grey dots: padding"),
        ),
        Heatmap(
            [[1.0 if cell else None for cell in line] for line in shown.tolist()],
            x_labels=names,
            y_labels=names,
            x_label=Both("被看的", "seen"),
            y_label=Both("在看的", "sees"),
            domain=(0, 1),
        ),
        Text(read),
    ]  # fmt: skip


# ---------------------------------------------------------------- what a real model says after padding

PROMPT = "The capital of France is"
SETTINGS = {
    "alone": Both("单独跑", "alone"),
    "left": Both("左填充，掩码和位置都对", "left, with mask and positions"),
    "no_mask": Both("左填充，没有掩码", "left, without the mask"),
    "no_positions": Both("左填充，位置按列数", "left, columns as positions"),
    "naive": Both("右填充，读最后一列", "right, last column read"),
    "gathered": Both("右填充，读最后一个真 token", "right, last real token read"),
}


def padding_token() -> int:
    return tokenizer().special_tokens["<|im_end|>"]


@functools.lru_cache(maxsize=16)
def after_padding(n_padding: int) -> dict[str, Tensor]:
    """Probabilities of the next token in each setting; all padded ones are rows of one batch."""
    ids = tokenizer().encode(PROMPT)
    rows = [ids, ids + [padding_token()] * n_padding]  # the second makes the rectangle wide
    (left, left_mask, left_at), (right, right_mask, right_at) = (
        (tokens[0], mask[0], at[0])
        for tokens, mask, at in (left_pad(rows, padding_token()), right_pad(rows, padding_token()))
    )
    columns = torch.arange(len(left))
    real = torch.ones_like(left_mask)
    settings = {
        "left": (left, left_mask, left_at),
        "no_mask": (left, real, left_at),
        "no_positions": (left, left_mask, columns),
        "naive": (right, real, columns),
        "gathered": (right, right_mask, right_at),
    }
    tokens, masks, positions = (torch.stack(parts) for parts in zip(*settings.values(), strict=True))
    llama = model()
    view = RowsCache(KVCache.for_model(llama.config, tokens.shape[1], len(tokens)))
    view.expect(torch.where(masks, 0, PADDING), positions)
    with torch.inference_mode():
        features = llama.features(tokens, view)
        read = gather_last(features, masks)
        alone = llama(torch.tensor([ids]), last_only=True)[0]
        logits = torch.cat([alone, llama.head(read)])
    return dict(zip(["alone", *settings], logits.softmax(-1), strict=True))


@value
def right_token_probability(setting: str, n_padding: int = 16) -> float:
    """In percent, of the token that the prompt alone makes most probable."""
    found = after_padding(n_padding)
    return 100 * found[setting][found["alone"].argmax()].item()


@value
def furthest(setting: str, n_padding: int = 16) -> float:
    """The largest difference of a probability from that of the prompt alone, in millionths."""
    found = after_padding(n_padding)
    return 1e6 * (found[setting] - found["alone"]).abs().max().item()


@figure(
    title=Both("填充以后，模型接着写什么", "What the model writes after padding"),
    predict=Predict(
        Both(
            "SmolLM2 读 “The capital of France is”，左边补 16 个填充。掩码对，但位置从填充数起，整体错开 16。Paris 的概率会怎样？",
            "SmolLM2 reads “The capital of France is” behind 16 columns of padding. The mask is right, but positions count from the padding, so all are shifted by 16. What happens to the probability of Paris?",
        ),
        choices=[
            Both("几乎不变", "hardly anything"),
            Both("降到一半左右", "it about halves"),
            Both("降到接近 0", "it falls to nearly 0"),
        ],
        answer=lambda: min(
            range(3),
            key=lambda i: abs(
                (1.0, 0.5, 0.0)[i]
                - right_token_probability("no_positions") / right_token_probability("alone")
            ),
        ),
        explain=lambda: Both(
            f"从 {right_token_probability('alone'):.1f}% 到 {right_token_probability('no_positions'):.1f}%，所有概率最多差百万分之 {furthest('no_positions'):.1f}。这个模型用 RoPE，只看距离；整行一起错开，距离没变。换成学出来的绝对位置就不行了，见下一张图。",
            f"From {right_token_probability('alone'):.1f}% to {right_token_probability('no_positions'):.1f}%, and no probability differs by more than {furthest('no_positions'):.1f} millionths. This model uses RoPE, which sees distances only, and a shift of the whole row leaves them. With learned absolute positions it would not do, see the next figure.",
        ),
    ),
)
def next_after_padding(
    n_padding: Annotated[
        int,
        Choice([(0, "0"), (1, "1"), (4, "4"), (16, "16")], label=Both("填充的个数", "columns of padding")),
    ] = 16,
) -> Table:
    found, words = after_padding(n_padding), tokenizer()
    wanted = int(found["alone"].argmax())
    rows = []
    for setting, name in SETTINGS.items():
        top = int(found[setting].argmax())
        rows.append(
            [
                name,
                repr(words.decode([top]))[1:-1],
                f"{100 * found[setting][top].item():.1f}%",
                f"{100 * found[setting][wanted].item():.1f}%",
                f"{furthest(setting, n_padding) / 1e6:.7f}",
            ]
        )
    return Table(
        [
            Both("排法", "setting"),
            Both("最可能的 token", "most probable token"),
            Both("概率", "probability"),
            Both(f"“{words.decode([wanted])}”的概率", f"probability of “{words.decode([wanted])}”"),
            Both("和单独跑最多差", "largest difference"),
        ],
        rows,
    )


# ---------------------------------------------------------------- a row that is shifted as a whole

LENGTH, WIDTH = 12, 64


@functools.lru_cache(maxsize=1)
def vectors() -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (position, width) and two projections, random."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(LENGTH, WIDTH, generator=draw)
    w_q, w_k = torch.randn(2, WIDTH, WIDTH, generator=draw) / math.sqrt(WIDTH)
    return x, w_q, w_k


def last_weights(kind: str, shift: int) -> Tensor:
    """What the last position gives to each, when positions begin at `shift`."""
    x, w_q, w_k = vectors()
    positions = torch.arange(shift, shift + LENGTH)
    if kind == "rope":
        q, k = rope(x @ w_q, positions), rope(x @ w_k, positions)
    else:
        x = x + sinusoidal_positions(shift + LENGTH, WIDTH)[shift:]
        q, k = x @ w_q, x @ w_k
    return scaled_dot_product_attention(
        q[None, None, -1:], k[None, None], torch.eye(LENGTH)[None, None]
    ).flatten()


@value
def weights_moved(kind: str, shift: int) -> float:
    """The share of attention, in percent, that goes elsewhere than without the shift."""
    return 50 * (last_weights(kind, shift) - last_weights(kind, 0)).abs().sum().item()


@figure(title=Both("整行错开几个位置，注意力变多少", "A whole row is shifted: how attention changes"))
def shifted_row(
    shift: Annotated[int, Slider(0, 64, label=Both("错开几个位置", "shift"))] = 16,
) -> list[Bars | Text]:
    return [
        Bars(
            [str(position) for position in range(1, LENGTH + 1)],
            series={
                Both("不错开", "unshifted"): last_weights("absolute", 0),
                Both(f"错开 {shift}", f"shifted by {shift}"): last_weights("absolute", shift),
            },
            title=Both("位置加在嵌入上（绝对位置）", "positions added to the embeddings (absolute)"),
            x_label=Both("被看的 token", "token looked at"),
            y_label=Both("权重", "weight"),
        ),
        Text(
            Both(
                f"绝对位置：{weights_moved('absolute', shift):.1f}% 的注意力换了地方。RoPE：{weights_moved('rope', shift):.6f}%，只是舍入。",
                f"Absolute positions: {weights_moved('absolute', shift):.1f}% of the attention moved. RoPE: {weights_moved('rope', shift):.6f}%, mere rounding.",
            )
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- what padding wastes

N_TEXTS, MEDIAN, ROW = 1024, 128, 2048


@functools.lru_cache(maxsize=16)
def lengths(spread: float) -> tuple[int, ...]:
    """Of many texts: log-normal, so that a few are far longer than most."""
    draw = torch.Generator().manual_seed(1)
    drawn = (math.log(MEDIAN) + spread * torch.randn(N_TEXTS, generator=draw)).exp()
    return tuple(drawn.round().clamp(1, ROW).int().tolist())


def share_of_padding(lengths_: list[int], batch: int) -> float:
    """When every `batch` texts in a row become a rectangle."""
    batches = [lengths_[at : at + batch] for at in range(0, len(lengths_), batch)]
    return 1 - sum(lengths_) / sum(len(one) * max(one) for one in batches)


@value
def padding_percent(how: str, spread: float = 1.0, batch: int = 32) -> float:
    drawn = list(lengths(spread))
    if how == "packed":
        return 100 * padding_of_packing(drawn, ROW)
    return 100 * share_of_padding(sorted(drawn) if how == "sorted" else drawn, batch)


@figure(
    title=Both("有多少计算花在填充上", "How much of the work is padding"),
    predict=Predict(
        Both(
            "1024 段文字，长度的中位数 128，有长有短（对数标准差 1）。随手 32 段一批补齐，多少计算花在填充上？",
            "1024 texts with a median length of 128, some short and some long (log standard deviation 1), 32 to a batch as they come. How much of the work is padding?",
        ),
        low=0,
        high=100,
        step=1,
        unit="%",
        answer=lambda: padding_percent("random"),
        explain=lambda: Both(
            f"{padding_percent('random'):.0f}%：每一批都要迁就最长的那段。先按长度排序再分批，剩 {padding_percent('sorted'):.1f}%；打包成 2048 一行，剩 {padding_percent('packed'):.1f}%。",
            f"{padding_percent('random'):.0f}%, as every batch follows its longest text. Sorted by length first it is {padding_percent('sorted'):.1f}%, packed into rows of 2048 {padding_percent('packed'):.1f}%.",
        ),
    ),
)
def waste(
    spread: Annotated[float, Slider(0.0, 1.5, step=0.25, label=Both("长度差多少（对数标准差）", "spread of lengths (log standard deviation)"))] = 1.0,
    batch: Annotated[int, Choice([(1, "1"), (8, "8"), (32, "32"), (128, "128")], label=Both("几段一批", "texts in a batch"))] = 32,
) -> Bars:  # fmt: skip
    hows = {
        "random": Both("随手分批", "as they come"),
        "sorted": Both("按长度排序", "sorted"),
        "packed": Both("打包", "packed"),
    }
    return Bars(
        list(hows.values()),
        [padding_percent(how, spread, batch) for how in hows],
        unit="%",
        y_label=Both("填充占的份额", "share of padding"),
        note=Both("左填充和右填充一样浪费；按 token 摊平、不补齐的引擎是 0", "left and right waste the same; engines that flatten tokens waste nothing"),
    )  # fmt: skip


# ---------------------------------------------------------------- the lab: one batch, six settings

PROMPTS = (
    "The capital of France is",
    "2 + 2 =",
    "Once upon a time, there was a little girl who lived in a small house near the forest. One day, she",
    "The opposite of hot is",
    "My favourite season is autumn, because the leaves turn red and gold, and",
    "Roses are red,",
)


@dataclass(frozen=True)
class Rows:
    """A batch as a person may have laid it out, right or wrong: what each column is, where the next token is
    read, and the position of what is written next.
    """

    tokens: Tensor
    texts: Tensor
    positions: Tensor
    read: Tensor
    next_position: Tensor


IN_LAB = {name: label for name, label in SETTINGS.items() if name != "alone"} | {
    "jump": Both("左填充，续写从列号接着数", "left, new tokens count on from the columns")
}


def laid_out(setting: str, ids: list[list[int]]) -> Rows:
    pad = right_pad if setting in ("naive", "gathered") else left_pad
    tokens, mask, positions = pad(ids, padding_token())
    columns = torch.arange(mask.shape[1]).expand_as(mask)
    count = mask.sum(-1)
    last_column = torch.full_like(count, mask.shape[1] - 1)
    seen = torch.ones_like(mask) if setting in ("no_mask", "naive") else mask
    by_column = setting in ("no_positions", "naive")
    return Rows(
        tokens,
        torch.where(seen, 0, PADDING),
        columns if by_column else positions,
        (columns * mask).argmax(-1) if setting == "gathered" else last_column,
        last_column + 1 if by_column or setting == "jump" else count,
    )


@torch.inference_mode()
def continued(llama: Llama, rows: Rows, n_tokens: int) -> Iterator[Tensor]:
    """Greedily, one new column at a time behind the rectangle: the chosen token of each row."""
    n_rows, width = rows.tokens.shape
    view = RowsCache(KVCache.for_model(llama.config, width + n_tokens, n_rows))
    view.expect(rows.texts, rows.positions)
    features = llama.features(rows.tokens, view)[torch.arange(n_rows), rows.read]
    for step in range(n_tokens):
        chosen = llama.head(features).argmax(-1)
        yield chosen
        view.expect(torch.zeros(n_rows, 1, dtype=torch.long), (rows.next_position + step)[:, None])
        features = llama.features(chosen[:, None], view)[:, -1]


@lab(
    title=Both("同一批提示，六种排法", "One batch of prompts, six layouts"),
    seconds=40,
    summary=Both(
        "六个长短不一的英文提示，SmolLM2 先一个一个单独续写，再放进一批，用六种排法各续写一遍，看有几个和单独写的一字不差。",
        "Six English prompts of different lengths. SmolLM2 continues each alone, then all in one batch in six layouts; how many come out word for word as alone?",
    ),
)
def one_batch(
    n_tokens: Annotated[int, Slider(4, 24, step=4, label=Both("各写几个 token", "tokens of each"))] = 12,
) -> Iterator[Event]:
    total = 1 + len(IN_LAB)
    yield Progress(0, total, Both("单独续写", "each alone"))
    llama, words = model(), tokenizer()
    ids = [words.encode(prompt) for prompt in PROMPTS]
    alone = [continued_alone(llama, one, n_tokens) for one in ids]
    rows = []
    for done, (setting, name) in enumerate(IN_LAB.items(), start=1):
        yield Progress(done, total, name)
        written = torch.stack(list(continued(llama, laid_out(setting, ids), n_tokens)), dim=1).tolist()
        same = [mine == theirs for mine, theirs in zip(written, alone, strict=True)]
        first = [mine[0] == theirs[0] for mine, theirs in zip(written, alone, strict=True)]
        rows.append(
            [
                name,
                f"{sum(first)} / {len(ids)}",
                f"{sum(same)} / {len(ids)}",
                words.decode(written[0]),
                words.decode(written[-1]),
            ]
        )
        yield Show(
            "table",
            Table(
                [
                    Both("排法", "layout"),
                    Both("第一个 token 相同", "same first token"),
                    Both("整段相同", "same throughout"),
                    Both(f"“{PROMPTS[0]}”之后", f"after “{PROMPTS[0]}”"),
                    Both(f"“{PROMPTS[-1]}”之后", f"after “{PROMPTS[-1]}”"),
                ],
                list(rows),
                note=Both(
                    f"单独写的是：{words.decode(alone[0])}｜{words.decode(alone[-1])}",
                    f"alone it writes: {words.decode(alone[0])} | {words.decode(alone[-1])}",
                ),
            ),
        )
    batch = static_batch_generate(llama, ids, max_tokens=n_tokens)
    yield Metric(Both("这一批里白算的", "computed for nothing in this batch"), 100 * batch.wasted, "%")
    yield Progress(total, total)


@lab(
    title=Both("用你的左填充批量续写", "A batch on your left padding"),
    seconds=25,
    summary=Both(
        "SmolLM2 把六个提示放进一批续写，和单独写的比。打开“用我写的函数来跑”，排批的就是你的函数。",
        "SmolLM2 continues six prompts in one batch, compared with each alone. Turn on “Run it with my function” and your function lays out the batch.",
    ),
)
def your_left_pad(
    n_tokens: Annotated[int, Slider(4, 24, step=4, label=Both("各写几个 token", "tokens of each"))] = 8,
) -> Iterator[Event]:
    yield Progress(0, 1, Both("读入模型", "loading the model"))
    llama, words = model(), tokenizer()
    ids = [words.encode(prompt) for prompt in PROMPTS]
    batch = static_batch_generate(llama, ids, max_tokens=n_tokens).answers
    rows, same = [], 0
    for done, (prompt, one, answer) in enumerate(zip(PROMPTS, ids, batch, strict=True), start=1):
        alone = continued_alone(llama, one, n_tokens)
        same += answer == alone
        rows.append([prompt, words.decode(answer), "✓" if answer == alone else words.decode(alone)])
        yield Progress(done, len(ids))
        yield Show(
            "answers",
            Table(
                [Both("提示", "prompt"), Both("批里写的", "in the batch"), Both("单独写的", "alone")],
                list(rows),
            ),
        )
    if same < len(ids):
        yield Say(
            Both(
                "有的行和单独写的不一样：检查掩码和位置。最长的那一行没有填充，它对不能说明什么。",
                "Some rows differ from what they give alone: look at the mask and the positions. The longest row has no padding, so its being right proves nothing.",
            )
        )


def continued_alone(llama: Llama, ids: list[int], n_tokens: int) -> list[int]:
    """Without any padding or batch, so that it does not depend on `left_pad`."""
    cache = KVCache.for_model(llama.config, len(ids) + n_tokens)
    fed, written = ids, []
    with torch.inference_mode():
        for _ in range(n_tokens):
            fed = [int(llama(torch.tensor([fed]), cache, last_only=True)[0, -1].argmax())]
            written += fed
    return written


# ---------------------------------------------------------------- the lab: padding with the end-of-text token

LETTERS = "abcdefghiklmnoprstuvwz:-"
END = len(LETTERS)
TINY = LlamaConfig(len(LETTERS) + 1, 64, 2, 4, 2, 16, 128, 64, tied_head=True)


def spelled(word: str) -> list[int]:
    """`bat:b-a-t` and the end of the text."""
    return [*(LETTERS.index(letter) for letter in f"{word}:{'-'.join(word)}"), END]


def words_of(seed: int, n: int) -> list[str]:
    random = Random(seed)
    return [made_up_word(random, random.randint(2, 7)) for _ in range(n)]


def targets_by_token(tokens: Tensor) -> Tensor:
    """The mistake: every end-of-text is taken for padding, the real one too."""
    return next_token_targets(tokens, torch.ones_like(tokens, dtype=torch.bool)).masked_fill(
        tokens.roll(-1, dims=1) == END, IGNORED
    )


def held_out_stop(llama: Llama) -> tuple[float, float]:
    """Mean probability of the end where a word is spelled out, and where it is not."""
    tokens, mask, _ = right_pad([spelled(word) for word in words_of(1, 64)], END)
    targets = next_token_targets(tokens, mask)
    with torch.inference_mode():
        stop = llama(tokens).softmax(-1)[..., END]
    return stop[targets == END].mean().item(), stop[(targets != END) & (targets != IGNORED)].mean().item()


@lab(
    title=Both(
        "拿结束符当填充，模型还学得会停吗", "The end token as padding: does the model still learn to stop?"
    ),
    seconds=40,
    summary=Both(
        "两个一样的小模型学拼写（bat:b-a-t），填充都用结束符。一个按掩码决定哪里不学，一个把所有结束符都当成填充。",
        "Two equal small models learn to spell (bat:b-a-t), both padded with the end token. One leaves out what the mask says, the other every end token.",
    ),
)
def learn_to_stop(
    steps: Annotated[int, Slider(100, 600, step=50, label=Both("训练几步", "steps of training"))] = 250,
) -> Iterator[Event]:
    names = {
        "mask": Both("按掩码：真的结束符要学", "by mask: the real end is learned"),
        "token": Both("按 token：结束符全都不学", "by token: no end is learned"),
    }
    rows = []
    for number, (kind, name) in enumerate(names.items()):
        llama = Llama(TINY)
        initialize(llama, torch.Generator().manual_seed(0))
        optimizer = torch.optim.AdamW(llama.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01)
        for step in range(1, steps + 1):
            tokens, mask, _ = right_pad([spelled(word) for word in words_of(100 + step, 64)], END)
            targets = next_token_targets(tokens, mask) if kind == "mask" else targets_by_token(tokens)
            loss = cross_entropy(llama(tokens), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step % 10 == 0 or step == steps:
                yield Progress(number * steps + step, 2 * steps, name)
                yield Sample(
                    name,
                    x=step,
                    y=held_out_stop(llama)[0],
                    x_label=Both("步", "step"),
                    y_label=Both("该停时停下的概率", "probability to stop where it should"),
                )
        at_end, elsewhere = held_out_stop(llama)
        asked = words_of(1, 64)
        written = static_batch_generate(
            llama, [spelled(word)[: len(word) + 1] for word in asked], max_tokens=30, end_tokens={END}
        ).answers
        right = [spelled(word)[len(word) + 1 : -1] for word in asked]
        stopped = sum(len(answer) < 30 for answer in written)
        exact = sum(answer == one for answer, one in zip(written, right, strict=True))
        rows.append(
            [
                name,
                f"{loss.item():.2f}",
                f"{at_end:.3f}",
                f"{elsewhere:.4f}",
                f"{stopped} / 64",
                f"{exact} / 64",
                "".join(LETTERS[token] for token in written[0]),
            ]
        )
        yield Show(
            "table",
            Table(
                [
                    Both("怎样定标签", "how targets are made"),
                    Both("最后的训练损失", "last training loss"),
                    Both("该停时停的概率", "stops where it should"),
                    Both("不该停时停的概率", "stops elsewhere"),
                    Both("30 个 token 内停下", "ended within 30 tokens"),
                    Both("拼对并停下", "right, and ended"),
                    Both(f"“{asked[0]}:”之后", f"after “{asked[0]}:”"),
                ],
                list(rows),
            ),
        )

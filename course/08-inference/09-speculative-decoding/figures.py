"""Figures, labs and values of lesson 8.9: the acceptance rule, what it gains, and drafts for the real model."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import torch
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
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import config, model, question_ids, tokenizer
from teachllm.stack.inference.roofline import decode_cost, roofline_seconds
from teachllm.stack.inference.sampling import Sampling, token_at
from teachllm.stack.inference.speculation import (
    ModelDrafter,
    NgramDrafter,
    Step,
    Tally,
    Verdict,
    acceptance,
    acceptance_rate,
    best_k,
    expected_tokens,
    first_layers,
    residual,
    speculative_steps,
    speed_up,
)
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.training.accounting import parameters_by_part

KEPT, OWN, WRONG = 0, 7, 1  # tones: blue, grey, orange


# ---------------------------------------------------------------- the rule, by hand

ANIMALS = [Both("猫", "cat"), Both("狗", "dog"), Both("鸟", "bird")]
P_HAND, Q_HAND = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.6, 0.2])


@value
def by_hand(what: str, token: int = 0) -> float:
    """``alpha``; or for one of cat, dog, bird: ``accepted``, ``residual``, ``written`` by the rule, and ``naive``, written if a
    rejected token is drawn again from the target.
    """
    alpha = acceptance_rate(P_HAND, Q_HAND)
    accepted, left = torch.minimum(P_HAND, Q_HAND), residual(P_HAND, Q_HAND)
    found = {
        "accepted": accepted,
        "residual": left,
        "written": accepted + (1 - alpha) * left,
        "naive": accepted + (1 - alpha) * P_HAND,
    }
    return alpha.item() if what == "alpha" else found[what][token].item()


WORDS = ["the", "a", "his", "one", "this"]
P = torch.tensor([0.45, 0.25, 0.15, 0.10, 0.05])


def draft_that_errs(wrong: float) -> Tensor:
    """P mixed with its mirror image: 0 is the target itself, 1 likes best what the target likes least."""
    return (1 - wrong) * P + wrong * P.flip(0)


def written(wrong: float, again: str) -> Tensor:
    """What comes out if the token behind a rejection is drawn ``again`` from the residual, the target or the draft."""
    q = draft_that_errs(wrong)
    source = {"residual": residual(P, q), "target": P, "draft": q}[again]
    return torch.minimum(P, q) + (1 - acceptance_rate(P, q)) * source


@figure(
    title=Both(
        "草稿猜，目标验：写出来的是什么分布", "The draft guesses, the target verifies: what is written"
    ),
    predict=Predict(
        Both(
            "目标给 the 的概率是 0.45。下面按规则来，写出来的正好是 0.45。如果拒绝以后改成从目标分布 p 里重抽，写出 the 的概率是多少？",
            "The target gives “the” 0.45. With the rule, as below, exactly 0.45 is written. If a rejected token were drawn again from the "
            "target's distribution p, how probable would “the” be?",
        ),
        low=0.0,
        high=1.0,
        step=0.01,
        answer=lambda: round(written(0.75, "target")[0].item(), 2),
        explain=lambda: Both(
            f"{written(0.75, 'target')[0].item():.2f}，少了。草稿已经把它那一份 {draft_that_errs(0.75)[0].item():.2f} 交出来了，缺的全在“目标多、草稿少”的地方，"
            "重抽必须只补缺的。从 p 重抽，会把一部分补给早就够了的词。",
            f"{written(0.75, 'target')[0].item():.2f}: too little. The draft has delivered its {draft_that_errs(0.75)[0].item():.2f}; what is missing lies only where the target has more than "
            "the draft. Drawing from p gives part of it to words that already have enough.",
        ),
    ),
)
def rule(
    wrong: Annotated[
        float, Slider(0.0, 1.0, step=0.05, label=Both("草稿错得多厉害", "how wrong the draft is"))
    ] = 0.75,
    again: Annotated[
        str,
        Choice(
            [
                ("residual", Both("残差（正确）", "the residual (right)")),
                ("target", Both("目标 p", "the target p")),
                ("draft", Both("草稿 q", "the draft q")),
            ],
            label=Both("拒绝以后从哪里重抽", "after a rejection, draw from"),
        ),
    ] = "residual",
) -> list[Bars | Text]:
    q = draft_that_errs(wrong)
    alpha = acceptance_rate(P, q).item()
    result = written(wrong, again)
    off = (result - P).abs().sum().item() / 2
    return [
        Bars(
            WORDS,
            series={
                Both("目标 p", "target p"): P.tolist(),
                Both("草稿 q", "draft q"): q.tolist(),
                Both("接受的部分 min(p, q)", "accepted part min(p, q)"): torch.minimum(P, q).tolist(),
                Both("写出来的", "written"): result.tolist(),
            },
            y_label=Both("概率", "probability"),
            y_max=0.6,
        ),
        Text(
            Both(
                f"接受率 α = Σ min(p, q) = {alpha:.2f}。写出来的和 p 的总变差距离是 {off:.3f}。",
                f"Acceptance rate α = Σ min(p, q) = {alpha:.2f}. The total variation distance between what is written and p is {off:.3f}.",
            )
        ),
    ]


# ---------------------------------------------------------------- what it gains


@value
def gain(what: str, alpha: float = 0.8, k: int = 4, cost: float = 0.05, verify_cost: float = 1.0) -> float:
    """``tokens`` a pass, ``speed_up``, ``best_k`` or ``best_speed_up``."""
    best = best_k(alpha, cost)
    return {
        "tokens": expected_tokens(alpha, k),
        "speed_up": speed_up(alpha, k, cost, verify_cost),
        "best_k": best,
        "best_speed_up": speed_up(alpha, best, cost),
    }[what]


LONGEST = 16


@figure(
    title=Both("一次猜几个", "How many to guess"),
    predict=Predict(
        Both(
            f"下面 α = 0.8，猜一个的代价是目标一步的 0.05，最好一次猜 {best_k(0.8, 0.05)} 个。代价涨到 0.2，最好猜几个？",
            f"Below, α = 0.8 and a guess costs 0.05 of the target's step: {best_k(0.8, 0.05)} guesses are best. If a guess costs 0.2, "
            "how many are best?",
        ),
        low=0,
        high=16,
        step=1,
        answer=lambda: best_k(0.8, 0.2),
        explain=lambda: Both(
            f"{best_k(0.8, 0.2)} 个，加速从 {gain('best_speed_up', cost=0.05):.2f} 倍掉到 {gain('best_speed_up', cost=0.2):.2f} 倍。第 k 个猜中的机会是 α 的 k 次方，越往后越不值那份钱。",
            f"{best_k(0.8, 0.2)}, and the speed-up falls from {gain('best_speed_up', cost=0.05):.2f} to {gain('best_speed_up', cost=0.2):.2f}. Guess number k is used with "
            "probability α to the power of k: the later ones are not worth their price.",
        ),
        tolerance=1.0,
    ),
)
def how_many(
    alpha: Annotated[float, Slider(0.0, 0.99, step=0.01, label=Both("接受率 α", "acceptance rate α"))] = 0.8,
    cost: Annotated[
        float, Slider(0.0, 1.0, step=0.01, label=Both("猜一个的代价 c", "cost c of a guess"))
    ] = 0.05,
) -> list[Lines | Text]:
    ks = list(range(LONGEST + 1))
    best = best_k(alpha, cost, LONGEST)
    return [
        Lines(
            {
                Both("目标每走一步写出的 token", "tokens a pass of the target"): (
                    ks,
                    [expected_tokens(alpha, k) for k in ks],
                ),
                Both("加速（倍）", "speed-up"): (ks, [speed_up(alpha, k, cost) for k in ks]),
            },
            x_label=Both("一次猜 k 个", "k guesses a pass"),
            marks=[(best, Both("最好", "best"))],
        ),
        Text(
            Both(
                f"最好一次猜 {best} 个，快 {speed_up(alpha, best, cost):.2f} 倍。"
                if best
                else "猜一个都不划算：猜的代价比省下的多。",
                f"Best are {best} guesses: {speed_up(alpha, best, cost):.2f} times as fast."
                if best
                else "Not even one guess pays: it costs more than it saves.",
            )
        ),
    ]


ALPHAS = [round(0.1 * i, 1) for i in range(9, 0, -1)]
COSTS = [0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9]


@figure(title=Both("猜得准、猜得便宜，缺一不可", "Good guesses and cheap guesses: both are needed"))
def worth_it(
    verify_cost: Annotated[
        float,
        Slider(1.0, 4.0, step=0.1, label=Both("验一遍的代价（倍）", "cost of a verifying pass")),
    ] = 1.0,
) -> Heatmap:
    def best(alpha: float, cost: float) -> float:
        return max(1.0, *(speed_up(alpha, k, cost, verify_cost) for k in range(1, LONGEST + 1)))

    rows = [[round(best(alpha, cost), 2) for cost in COSTS] for alpha in ALPHAS]
    return Heatmap(
        rows,
        x_labels=[f"{cost:g}" for cost in COSTS],
        y_labels=[f"{alpha:g}" for alpha in ALPHAS],
        x_label=Both("猜一个的代价 c", "cost c of a guess"),
        y_label=Both("接受率 α", "acceptance rate α"),
        domain=(1.0, 6.0),
        show_numbers=True,
        note=Both(
            "最好的 k（1 到 16）的加速；1.00 是不如不猜",
            "speed-up with the best k from 1 to 16; 1.00: better not to guess",
        ),
    )


# ---------------------------------------------------------------- why a pass over several tokens costs one

H100_PEAK, H100_BANDWIDTH = (
    989e12,
    3.35e12,
)  # bf16 without sparsity, HBM3: NVIDIA's data sheet of the SXM card


def pass_seconds(batch: int, n_tokens: int, length: int) -> float:
    """A pass of Llama-3-8B that reads ``n_tokens`` more tokens in each of ``batch`` texts, by the roofline.

    Weights and caches cross once, whatever ``n_tokens`` is; only the operations grow.
    """
    cost = decode_cost(PRESETS["llama3-8b"], batch, length)
    return roofline_seconds(n_tokens * cost.flops, cost.bytes, H100_PEAK, H100_BANDWIDTH)


@value
def ridge() -> float:
    """Operations that an H100 can do for each byte that it reads."""
    return H100_PEAK / H100_BANDWIDTH


@value
def intensity(batch: int, n_tokens: int = 1, length: int = 512) -> float:
    """Operations for each byte read in a pass of Llama-3-8B over ``n_tokens`` tokens of ``batch`` texts, in bf16."""
    cost = decode_cost(PRESETS["llama3-8b"], batch, length)
    return n_tokens * cost.flops / cost.bytes


@value
def batch_gain(batch: int, k: int = 4, alpha: float = 0.6, length: int = 512) -> float:
    """The speed-up with a draft that costs nothing, such as n-grams."""
    return speed_up(alpha, k, 0.0, pass_seconds(batch, k + 1, length) / pass_seconds(batch, 1, length))


BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


@figure(
    title=Both("同时服务的请求多了，还快吗", "Does it still pay with many requests at once?"),
    predict=Predict(
        Both(
            f"Llama-3-8B，一张 H100，一次猜 4 个，α = 0.6，猜不要钱。只有一个请求时快 {batch_gain(1):.1f} 倍。同时有 512 个请求呢？",
            f"Llama-3-8B on an H100, four free guesses a pass, α = 0.6. With one request it is {batch_gain(1):.1f} times as fast. And with 512 "
            "at once?",
        ),
        choices=[
            Both("一样快", "as fast"),
            Both("还是更快，只是没那么多", "still faster, but less so"),
            Both("比不猜还慢", "slower than without"),
        ],
        answer=lambda: 2 if batch_gain(512) < 1 else (1 if batch_gain(512) < batch_gain(1) else 0),
        explain=lambda: Both(
            f"{batch_gain(512):.2f} 倍。512 个请求，一步本来就要算 512 个 token，运算单元已经有一半多的时间在忙；每个请求再多验 4 个，运算是 5 倍，剩下的时间装不下。",
            f"{batch_gain(512):.2f} times. A step for 512 requests computes 512 tokens and keeps the arithmetic units busy more than half of the time; verifying "
            "four more for each of them is five times the work, more than the idle rest can take.",
        ),
    ),
)
def with_many_requests(
    alpha: Annotated[float, Slider(0.1, 0.95, step=0.05, label=Both("接受率 α", "acceptance rate α"))] = 0.6,
    length: Annotated[
        int, Slider(128, 4096, log=True, label=Both("每个请求多长", "length of each request"), unit="token")
    ] = 512,
) -> Lines:
    return Lines(
        {
            Both(f"一次猜 {k} 个", f"{k} guesses"): (
                BATCHES,
                [batch_gain(batch, k, alpha, length) for batch in BATCHES],
            )
            for k in (2, 4, 8)
        },
        x_label=Both("同时的请求数", "requests at once"),
        y_label=Both("加速（倍）", "speed-up"),
        x_log=True,
        note=Both(
            "Roofline 估计：Llama-3-8B，bf16，H100，猜的代价为 0；没有算激活和内核启动，也没管显存装不装得下",
            "by the roofline: Llama-3-8B, bf16, H100, free guesses; activations, launches and the size of the memory are left out",
        ),
    )


# ---------------------------------------------------------------- drafts for the real model

PASSAGE = (
    "The harbour was built in 1874 by fishermen from three villages. Its lighthouse, 31 metres tall, was the first on "
    "this coast with an electric lamp. Every August the villages race their old boats around it, and the winner keeps "
    "the brass bell for a year."
)
REWRITE = (
    "Rewrite the following text, but replace the word lighthouse by tower. Change nothing else.\n\n" + PASSAGE
)
FREE = "Explain in a few sentences why the sky is blue."


def ends() -> set[int]:
    return {tokenizer().special_tokens["<|im_end|>"]}


def readable(token_id: int) -> str:
    token = tokenizer().vocabulary.tokens.get(token_id, b"?")
    try:
        return token.decode().replace(" ", "␣").replace("\n", "⏎")
    except UnicodeDecodeError:
        return token.hex(" ").upper()


@value
def model_size(what: str) -> float:
    return getattr(config(), what)


@value
def exit_cost(n_layers: int) -> float:
    """c of an early exit after this many layers: the weights that it reads, as a share of the model's."""
    parts = parameters_by_part(config())
    blocks = parts["attention"] + parts["feed_forward"]
    return 1 - (1 - n_layers / config().n_layers) * blocks / sum(parts.values())


@functools.cache
def exit_distributions(n_layers: int) -> Tensor:
    """What the exit after ``n_layers`` expects behind every token of the passage; with all layers, the model itself."""
    ids = torch.tensor([tokenizer().encode(PASSAGE)])
    reader = model() if n_layers == config().n_layers else first_layers(model(), n_layers)
    with torch.inference_mode():
        return reader(ids)[0].softmax(-1)


@value
def exit_alpha(n_layers: int) -> float:
    """The mean acceptance rate of the exit on the passage, without a temperature."""
    rates = acceptance_rate(exit_distributions(config().n_layers), exit_distributions(n_layers))
    return rates.mean().item()


@lab(
    title=Both("SmolLM2 自己的前几层，猜得准吗", "Do the first layers of SmolLM2 guess well?"),
    seconds=12,
    summary=Both(
        "从深到浅，一层一层地提前退出，量接受率 α，算出能快几倍。",
        "Leave the model after ever fewer layers, measure the acceptance rate α, and compute the speed-up.",
    ),
)
def exits(
    shallowest: Annotated[int, Slider(12, 28, label=Both("最浅到第几层", "shallowest exit"))] = 18,
) -> Iterator[Event]:
    layers = list(range(config().n_layers - 1, shallowest - 1, -1))
    rows: list[list[object]] = []
    for done, n_layers in enumerate(layers):
        yield Progress(done, len(layers))
        alpha, cost = exit_alpha(n_layers), exit_cost(n_layers)
        yield Sample(
            Both("接受率 α", "acceptance rate α"),
            x=n_layers,
            y=alpha,
            x_label=Both("退出前走几层", "layers before the exit"),
        )
        yield Sample(Both("代价 c", "cost c"), x=n_layers, y=cost)
        one = speed_up(alpha, 1, cost)
        rows.append([n_layers, round(alpha, 2), round(cost, 2), round(one, 2), best_k(alpha, cost)])
        columns = [
            Both("层", "layers"),
            "α",
            "c",
            Both("猜 1 个的加速", "speed-up, one guess"),
            Both("最好猜几个", "best k"),
        ]
        yield Show("exits", Table(columns, list(rows)))
    yield Progress(len(layers), len(layers))
    yield Say(
        Both(
            "“最好猜几个”那一列是 0，意思是不如不猜。",
            "Where the last column says 0, not guessing is best.",
        )
    )


def step_row(step: Step) -> list[Token]:
    """One pass: what was kept of the draft, the token that the model wrote itself, and the first wrong guess."""
    right, own = Both("猜中的", "guessed right"), Both("模型自己写的", "written by the model")
    wrong = Both("第一个猜错的", "the first wrong guess")
    n = step.n_accepted
    return [
        *(Token(readable(token), tone=KEPT, note=right) for token in step.tokens[:n]),
        *(Token(readable(token), tone=OWN, note=own) for token in step.tokens[n:]),
        *(Token(readable(token), tone=WRONG, note=wrong) for token in step.drafted[n : n + 1]),
    ]


COLOURS = Both(
    "蓝：猜中的；灰：模型自己写的；橙：第一个猜错的",
    "blue: guessed right; grey: the model's own; orange: the first wrong guess",
)
SHOWN_STEPS = 14


@lab(
    title=Both("抄原文和自由写，n-gram 能猜中多少", "Copying and free writing: how much do n-grams guess?"),
    seconds=25,
    summary=Both(
        "SmolLM2-135M 先改写一段给定的文字，再自由回答一个问题。每行是模型走的一步。",
        "SmolLM2-135M rewrites a given text, then answers a question freely. Each row is one pass of the model.",
    ),
)
def copy_or_free(
    question: Annotated[
        str, TextInput(max_length=300, lines=2, label=Both("自由的问题（英文）", "the free question"))
    ] = FREE,
    k: Annotated[int, Slider(1, 12, label=Both("一次猜几个", "guesses a pass"))] = 8,
    n_tokens: Annotated[int, Slider(16, 64, step=16, label=Both("写多少个 token", "tokens to write"))] = 48,
) -> Iterator[Event]:
    texts = (
        (Both("改写", "rewriting"), REWRITE),
        (Both("自由回答", "free answer"), question.strip() or FREE),
    )
    for part, (name, asked) in enumerate(texts):
        tally, rows = Tally(), []
        steps = speculative_steps(
            model(), NgramDrafter(), question_ids(asked), k=k, max_tokens=n_tokens, end_tokens=ends()
        )
        for step in steps:
            tally.count(step)
            rows.append(step_row(step))
            yield Progress(part * n_tokens + tally.written, 2 * n_tokens)
            yield Show(name.en, Tokens(rows[-SHOWN_STEPS:], title=name, note=COLOURS))
            yield Metric(
                Both(f"{name.zh}：每步写出", f"{name.en}: tokens a pass"), tally.tokens_per_step, "token"
            )
            yield Metric(Both(f"{name.zh}：接受", f"{name.en}: accepted"), 100 * tally.acceptance, "%")
    yield Progress(2 * n_tokens, 2 * n_tokens)


# ---------------------------------------------------------------- is the distribution really unchanged?

TARGET_CHAIN = torch.tensor(
    [[0.50, 0.30, 0.15, 0.05], [0.05, 0.05, 0.40, 0.50], [0.25, 0.25, 0.25, 0.25], [0.70, 0.05, 0.05, 0.20]]
)
DRAFT_CHAIN = torch.tensor(
    [[0.25, 0.25, 0.25, 0.25], [0.10, 0.60, 0.10, 0.20], [0.40, 0.30, 0.20, 0.10], [0.50, 0.20, 0.20, 0.10]]
)
Rule = Callable[[Tensor, Tensor, Sequence[int], Tensor], Verdict]


def draws_from_the_target(target: Tensor, draft: Tensor, drafted: Sequence[int], uniform: Tensor) -> Verdict:
    return _one_by_one(target, draft, drafted, uniform, lambda p, q: p / q, lambda p, q: p)


def accepts_what_is_likely(target: Tensor, draft: Tensor, drafted: Sequence[int], uniform: Tensor) -> Verdict:
    """Keeps every guess that the target gives at least 0.2: a lossy rule."""
    return _one_by_one(target, draft, drafted, uniform, lambda p, q: (p >= 0.2).float(), residual)


def _one_by_one(
    target: Tensor,
    draft: Tensor,
    drafted: Sequence[int],
    uniform: Tensor,
    accept: Callable[[Tensor, Tensor], Tensor],
    again: Callable[[Tensor, Tensor], Tensor],
) -> Verdict:
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] >= accept(p, q)[token]:
            return Verdict(place, token_at(again(p, q), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


def p_value(counts: Tensor, expected: Tensor) -> float:
    """χ² test: how probable counts at least this far from the expected ones are, if the rule is exact."""
    statistic = ((counts - expected) ** 2 / expected).sum().double()
    freedom = torch.tensor((counts.numel() - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


def count_pairs(how: Rule, n: int, seed: int) -> Iterator[Tensor]:
    """How often each pair of tokens was written behind token 0, after every 500 of ``n``; two guesses a pass."""
    generator = torch.Generator().manual_seed(seed)
    firsts = torch.multinomial(DRAFT_CHAIN[0], n, replacement=True, generator=generator)
    seconds = torch.multinomial(DRAFT_CHAIN[firsts], 1, generator=generator)[:, 0]
    uniform = torch.rand(n, 4, dtype=torch.float64, generator=generator)
    counts = torch.zeros(4, 4)
    for done, (first, second) in enumerate(zip(firsts.tolist(), seconds.tolist(), strict=True), start=1):
        chance = uniform[done - 1]
        n_accepted, token = how(
            TARGET_CHAIN[[0, first, second]], DRAFT_CHAIN[[0, first]], [first, second], chance[:3]
        )
        if n_accepted == 0:  # one token only; the next pass begins behind it
            pair = token, how(TARGET_CHAIN[token : token + 1], DRAFT_CHAIN[:0], [], chance[3:])[1]
        else:
            pair = first, token if n_accepted == 1 else second
        counts[pair] += 1
        if done % 500 == 0 or done == n:
            yield counts


EXPECTED = (TARGET_CHAIN[0][:, None] * TARGET_CHAIN).flatten()
PAIRS = [f"{one}{other}" for one in "abcd" for other in "abcd"]


def show_pairs(counts: Tensor) -> Show:
    return Show(
        "pairs",
        Bars(
            PAIRS,
            series={
                Both("目标", "target"): EXPECTED.tolist(),
                Both("写出来的", "written"): (counts.flatten() / counts.sum()).tolist(),
            },
            y_label=Both("这一对的频率", "share of the pair"),
        ),
    )


@lab(
    title=Both("五万次，看分布变没变", "Fifty thousand draws: is the distribution the same?"),
    seconds=20,
    summary=Both(
        "四个 token 的马尔可夫小语言模型，草稿是另一条链。数写出的每一对 token，和目标比，做 χ² 检验。",
        "A Markov chain over four tokens as the language model, another chain as the draft. Count every pair that is written, compare with "
        "the target, test with χ².",
    ),
)
def exactness(
    how: Annotated[
        str,
        Choice(
            [
                ("rule", Both("正确的规则", "the right rule")),
                ("target", Both("拒绝后从目标重抽", "after a rejection, draw from the target")),
                ("likely", Both("目标给 0.2 以上就收", "keep what the target gives 0.2")),
            ],
            label=Both("规则", "rule"),
        ),
    ] = "rule",
    n: Annotated[int, Slider(2_000, 50_000, step=2_000, label=Both("写多少对", "pairs"))] = 50_000,
    seed: Annotated[int, Slider(0, 20, label=Both("随机种子", "seed"))] = 0,
) -> Iterator[Event]:
    rules: dict[str, Rule] = {
        "rule": acceptance.verify,
        "target": draws_from_the_target,
        "likely": accepts_what_is_likely,
    }
    for counts in count_pairs(rules[how], n, seed):
        total = int(counts.sum())
        yield Progress(total, n)
        if total % 2_000 == 0 or total == n:
            probability = p_value(counts.flatten(), total * EXPECTED)
            yield Metric(Both("χ² 检验的 p 值", "p-value of the χ² test"), probability)
            yield Sample(
                Both("p 值", "p-value"), x=total, y=probability, x_label=Both("写了多少对", "pairs written")
            )
            yield show_pairs(counts)
    yield Say(
        Both(
            "规则正确时，p 值在 0 和 1 之间到处都可能，小于百万分之一才算抓到；规则错了，样本越多它越接近 0。",
            "For an exact rule the p-value may lie anywhere from 0 to 1; below one in a million counts as caught. For a wrong rule it goes to 0 as samples come in.",
        )
    )


@lab(
    title=Both("用你的规则来验", "Verify with your rule"),
    seconds=30,
    summary=Both(
        "先用它写 10,000 对 token，做 χ² 检验；再让 SmolLM2-135M 用前 27 层打草稿，温度 0.7，写一段话。",
        "First 10,000 pairs of tokens and a χ² test; then SmolLM2-135M writes a text at temperature 0.7, drafted by its first 27 layers.",
    ),
)
def your_verify(
    question: Annotated[str, TextInput(max_length=120, label=Both("问题（英文）", "question"))] = FREE,
    n_tokens: Annotated[int, Slider(8, 48, step=8, label=Both("写多少个 token", "tokens to write"))] = 24,
) -> Iterator[Event]:
    pairs = 10_000
    for counts in count_pairs(acceptance.verify, pairs, seed=1):
        yield Progress(int(counts.sum()), 2 * pairs)
    yield show_pairs(counts)
    yield Metric(
        Both("χ² 检验的 p 值", "p-value of the χ² test"), p_value(counts.flatten(), pairs * EXPECTED)
    )
    tally, rows = Tally(), []
    steps = speculative_steps(
        model(),
        ModelDrafter(first_layers(model(), 27)),
        question_ids(question.strip() or FREE),
        k=3,
        sampling=Sampling(temperature=0.7, top_p=0.9, seed=1),
        max_tokens=n_tokens,
        end_tokens=ends(),
    )
    for step in steps:
        tally.count(step)
        rows.append(step_row(step))
        yield Progress(pairs + pairs * tally.written // n_tokens, 2 * pairs)
        yield Show("steps", Tokens(rows[-SHOWN_STEPS:], note=COLOURS))
        yield Metric(Both("每步写出", "tokens a pass"), tally.tokens_per_step, "token")
        yield Metric(Both("接受", "accepted"), 100 * tally.acceptance, "%")
    yield Progress(2 * pairs, 2 * pairs)


# ---------------------------------------------------------------- on this computer


@lab(
    title=Both("这台电脑上，多验几个要多久", "On this computer: what verifying more tokens takes"),
    seconds=20,
    summary=Both(
        "量 SmolLM2-135M 一步读 1、2、4、8、16 个 token 各要多少毫秒，取几次里最快的。",
        "Measure how many milliseconds a pass of SmolLM2-135M over 1, 2, 4, 8 and 16 tokens takes, the fastest of several.",
    ),
)
def pass_times(
    cached: Annotated[int, Slider(16, 256, step=16, label=Both("前面已有多少 token", "tokens before"))] = 64,
    runs: Annotated[int, Slider(3, 15, step=2, label=Both("各量几次", "runs each"))] = 7,
) -> Iterator[Event]:
    sizes = [1, 2, 4, 8, 16]
    cache = KVCache.for_model(config(), cached + max(sizes))
    ids = torch.tensor([(tokenizer().encode(PASSAGE) * 8)[: cached + max(sizes)]])
    times: list[float] = []
    with torch.inference_mode():
        model().features(ids[:, :cached], cache)
        for done, size in enumerate(sizes):
            yield Progress(done, len(sizes))
            taken = []
            for _ in range(runs + 1):
                cache.truncate(cached)
                begun = time.perf_counter()
                model()(ids[:, cached : cached + size], cache)
                taken.append(1000 * (time.perf_counter() - begun))
            times.append(min(taken[1:]))  # a busy neighbour can only add to it
            yield Sample(
                Both("一步的时间", "time of a pass"),
                x=size,
                y=times[-1],
                x_label=Both("一步读几个 token", "tokens in the pass"),
                y_label=Both("毫秒", "milliseconds"),
            )
    rows = [
        [size, round(t, 1), round(t / times[0], 2), round(times[0] * size / t, 2)]
        for size, t in zip(sizes, times, strict=True)
    ]
    columns = [
        Both("一步读几个", "tokens in the pass"),
        Both("毫秒", "milliseconds"),
        Both("是读一个的几倍", "times a pass of one"),
        Both("全猜中的加速", "speed-up if all are right"),
    ]
    yield Show("times", Table(columns, rows))
    yield Progress(len(sizes), len(sizes))

"""Figures, labs and values of lesson 1.5: norms, gates, and how the next token is chosen."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from teachllm.school.figures import (
    Bars,
    Both,
    Choice,
    Event,
    Lines,
    Metric,
    Predict,
    Progress,
    Sample,
    Show,
    Slider,
    Table,
    Text,
    TextInput,
    Toggle,
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import model, tokenizer
from teachllm.stack.data.corpora import stdlib_docs
from teachllm.stack.inference.beam_search import Beams, beam_search, beam_search_steps, best_extensions
from teachllm.stack.inference.contrastive_search import contrastive_search
from teachllm.stack.inference.generation import generate_tokens
from teachllm.stack.inference.sampling import (
    Sampling,
    choose_token,
    min_p,
    temperature,
    top_k,
    top_p,
    typical_p,
)
from teachllm.stack.models.decoder import Decoder, DecoderConfig
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.nn.norms import layer_norm, rms_norm
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.parameter_groups import parameter_groups

SURE = "The capital of France is"
OPEN = "I went to the shop and bought a"
STORY = "The old lighthouse keeper looked out at the sea and"
PROMPTS = {"sure": SURE, "open": OPEN, "story": STORY}


# ---------------------------------------------------------------- LayerNorm and RMSNorm

EXAMPLE = torch.tensor([1.0, 2.0, 3.0, 6.0])
ONES, ZEROS = torch.ones(4), torch.zeros(4)


def normalized(x: Tensor) -> dict[str, Tensor]:
    return {"LayerNorm": layer_norm(x, ONES, ZEROS), "RMSNorm": rms_norm(x, ONES)}


@value
def norm_by_hand(norm: str, index: int, shift: float = 0.0, scale: float = 1.0) -> float:
    """One component of the normalized (1, 2, 3, 6), after scale and shift; ``norm`` is LayerNorm or RMSNorm."""
    return normalized(scale * EXAMPLE + shift)[norm][index].item()


def changed_by_shift() -> int:
    """Which outputs differ when 10 is added to every component: 0 neither, 1 LayerNorm's, 2 RMSNorm's, 3 both."""
    before, after = normalized(EXAMPLE), normalized(EXAMPLE + 10)
    moved = [not torch.allclose(before[name], after[name], atol=1e-2) for name in before]
    return moved[0] + 2 * moved[1]


@figure(
    title=Both("(1, 2, 3, 6) 放大、平移以后，归一化成什么", "What (1, 2, 3, 6) becomes, scaled and shifted"),
    predict=Predict(
        Both("给四个数都加上 10，谁的输出会变？", "Add 10 to all four numbers. Whose output changes?"),
        choices=[
            Both("都不变", "neither"),
            Both("只有 LayerNorm", "only LayerNorm's"),
            Both("只有 RMSNorm", "only RMSNorm's"),
            Both("都变", "both"),
        ],
        answer=changed_by_shift,
        explain=lambda: Both(
            "LayerNorm 先减均值，加上的 10 被减掉了。RMSNorm 不减，四个数都被这个 10 拉到 1 附近。把平移拖到 10 看看。",
            "LayerNorm subtracts the mean, and the 10 with it. RMSNorm does not: the 10 pulls all four towards 1. "
            "Drag the shift to 10 and see.",
        ),
    ),
)
def two_norms(
    scale: Annotated[float, Slider(0.1, 10.0, log=True, label=Both("放大", "scale"))] = 1.0,
    shift: Annotated[float, Slider(-10.0, 10.0, step=0.5, label=Both("平移", "shift"))] = 0.0,
) -> Bars:
    x = scale * EXAMPLE + shift
    return Bars(
        [f"{number:.3g}" for number in x.tolist()],
        series={name: out.tolist() for name, out in normalized(x).items()},
        x_label=Both("输入的四个分量", "the four components of the input"),
        y_label=Both("输出", "output"),
    )


# ---------------------------------------------------------------- where the norm stands


@functools.lru_cache(maxsize=64)
def layer_gradients(n_layers: int, place: str) -> tuple[float, ...]:
    """Gradient size of each layer's last matrix at the start of training, from the first layer to the last.

    Every sublayer is drawn to keep the size of its input, as the theory assumes.
    """
    d = 64
    decoder = Decoder(
        DecoderConfig(
            vocab_size=256,
            d_model=d,
            n_layers=n_layers,
            n_heads=4,
            n_kv_heads=4,
            head_dim=16,
            hidden=4 * d,
            context_length=64,
            norm="layer",
            norm_place=place,  # pyright: ignore[reportArgumentType]
            feed_forward="relu",
        )
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.weight.shape[1] ** -0.5, generator=generator)
        for block in decoder.blocks:
            block.feed_forward.down.weight.mul_(math.sqrt(2))  # ReLU lets half of the variance through
    tokens = torch.randint(256, (4, 33), generator=generator)
    logits = decoder(tokens[:, :-1])
    F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    return tuple(block.feed_forward.down.weight.grad.norm().item() for block in decoder.blocks)


@value
def last_gradient_ratio(place: str, shallow: int = 6, deep: int = 24) -> float:
    """Gradient of the last layer in a deep model, as a multiple of that in a shallow one."""
    return layer_gradients(deep, place)[-1] / layer_gradients(shallow, place)[-1]


@figure(
    title=Both("训练开始时，每层的梯度有多大", "How large each layer's gradient is when training starts"),
    predict=Predict(
        Both(
            "从 6 层加深到 24 层，Pre-Norm 里最后一层的梯度变成原来的几倍？",
            "From 6 layers to 24: what multiple does the gradient of the last layer become with pre-norm?",
        ),
        low=0.0,
        high=4.0,
        step=0.05,
        answer=lambda: last_gradient_ratio("pre"),
        explain=lambda: Both(
            f"{last_gradient_ratio('pre'):.2f} 倍，接近 √(6/24) = 0.5。Post-Norm 是 {last_gradient_ratio('post'):.2f} 倍，几乎不随深度变小。",
            f"{last_gradient_ratio('pre'):.2f}, near √(6/24) = 0.5. With post-norm it is {last_gradient_ratio('post'):.2f}: "
            "depth hardly makes it smaller.",
        ),
        tolerance=0.25,
    ),
)
def depth_gradients(
    n_layers: Annotated[int, Slider(2, 24, label=Both("层数", "layers"))] = 6,
) -> Lines:
    layers = list(range(1, n_layers + 1))
    return Lines(
        {
            "Pre-Norm": (layers, layer_gradients(n_layers, "pre")),
            "Post-Norm": (layers, layer_gradients(n_layers, "post")),
        },
        x_label=Both("第几层（右边靠近输出）", "layer (right: next to the output)"),
        y_label=Both("梯度的范数", "norm of the gradient"),
        y_range=(0.0, 1.6),
    )


# ---------------------------------------------------------------- gates


@value
def swiglu_hidden(d_model: int) -> float:
    """8/3 · d_model: three matrices of this width have as many parameters as two of 4 · d_model."""
    return 8 / 3 * d_model


@figure(title=Both("三种非线性和它们的斜率", "Three nonlinearities and their slopes"))
def gates(
    slope: Annotated[bool, Toggle(label=Both("画斜率", "draw the slope"))] = False,
) -> Lines:
    x = torch.linspace(-6, 6, 121, requires_grad=True)
    curves = {}
    for name, function in {"ReLU": F.relu, "SiLU": F.silu, "sigmoid": torch.sigmoid}.items():
        y = function(x)
        (dy,) = torch.autograd.grad(y.sum(), x)
        curves[name] = (x.tolist(), (dy if slope else y).tolist())
    return Lines(curves, x_label="z", y_label=Both("斜率", "slope") if slope else Both("输出", "output"))


# ---------------------------------------------------------------- the next token, by hand

BY_HAND = torch.tensor([0.664, 0.199, 0.105, 0.032])


@value
def nucleus_by_hand(what: str, p: float = 0.9, index: int = 0) -> float:
    """Of (66.4, 19.9, 10.5, 3.2) %: the ``size`` of the nucleus, its ``mass``, or one ``share`` of it, in %."""
    kept = top_p(BY_HAND.log(), p)
    if what == "size":
        return kept.isfinite().sum().item()
    if what == "mass":
        return 100 * BY_HAND[kept.isfinite()].sum().item()
    return 100 * kept.softmax(-1)[index].item()


@value
def hot_nucleus_by_hand(T: float, p: float = 0.9, temperature_first: bool = True) -> int:
    """How many of the four are in the nucleus, if the temperature comes before or after."""
    logits = BY_HAND.log()
    kept = top_p(temperature(logits, T), p) if temperature_first else temperature(top_p(logits, p), T)
    return int(kept.isfinite().sum())


# Two steps of a tree: after A all is open, after B nearly all goes one way.
FIRST = torch.tensor([[0.5, 0.4, 0.1]])
SECOND = torch.tensor([[0.4, 0.3, 0.3], [0.9, 0.05, 0.05], [0.4, 0.3, 0.3]])


@value
def tree_best(num_beams: int) -> float:
    """The probability of the best text of two tokens that a beam of this width finds."""
    scores, _, tokens = best_extensions(torch.zeros(1), FIRST.log(), num_beams)
    return best_extensions(scores, SECOND[tokens].log(), 1)[0].exp().item()


# ---------------------------------------------------------------- the next token of the real model


@functools.lru_cache(maxsize=16)
def next_logits(prompt: str) -> Tensor:
    with torch.inference_mode():
        return model()(torch.tensor([tokenizer().encode(prompt.strip() or "The")]), last_only=True)[0, -1]


def entropy(logits: Tensor) -> float:
    logprobs = logits.log_softmax(-1)
    return -(logprobs.exp() * logprobs).nansum().item()


def n_kept(prompt: str, keeps: str, at: float) -> int:
    """How many tokens remain after ``top_p``, ``min_p`` or ``typical_p``."""
    cut = {"top_p": top_p, "min_p": min_p, "typical_p": typical_p}[keeps]
    return int(cut(next_logits(prompt), at).isfinite().sum())


@figure(title=Both("三个开头，同一个 p", "Three beginnings and one p"))
def beginnings(
    p: Annotated[float, Slider(0.5, 0.99, step=0.01, label="p (top-p)")] = 0.9,
    ratio: Annotated[float, Slider(0.01, 0.5, step=0.01, label="p (min-p)")] = 0.1,
) -> Table:
    rows = []
    for prompt in (SURE, STORY, OPEN):
        logits = next_logits(prompt)
        probability, first = logits.softmax(-1).max(-1)
        likeliest = f"{readable(int(first))} {probability.item():.0%}"
        kept = [n_kept(prompt, "top_p", p), n_kept(prompt, "min_p", ratio)]
        ending = " ".join(prompt.split()[-3:])
        rows.append([f"… {ending}", likeliest, round(entropy(logits), 2), *kept])
    columns = [
        Both("开头", "beginning"),
        Both("第一名", "first"),
        Both("熵（奈特）", "entropy (nats)"),
        Both("top-p 留下", "kept by top-p"),
        Both("min-p 留下", "kept by min-p"),
    ]
    return Table(columns, rows)


SHOWN = 10


@figure(
    title=Both(
        "下一个 token：谁被留下，各有多少概率", "The next token: who stays, and with what probability"
    ),
    predict=Predict(
        Both(
            f"top-p = 0.9，接在“{SURE}”后面的 token 只留下十来个。接在“{OPEN}”后面的呢？",
            f"After “{SURE}”, top-p = 0.9 keeps about ten tokens. How many does it keep after “{OPEN}”?",
        ),
        low=0,
        high=1000,
        step=10,
        answer=lambda: n_kept(OPEN, "top_p", 0.9),
        explain=lambda: Both(
            f"{n_kept(OPEN, 'top_p', 0.9)} 个：可以买的东西太多了。前一句只留 {n_kept(SURE, 'top_p', 0.9)} 个。同一个 p，候选的多少由模型有多确定来决定。",
            f"{n_kept(OPEN, 'top_p', 0.9)}: there is much that can be bought. After the first sentence it keeps "
            f"{n_kept(SURE, 'top_p', 0.9)}. With one p, how sure the model is decides how many remain.",
        ),
        tolerance=150,
    ),
)
def cut(
    prompt: Annotated[str, TextInput(max_length=120, label=Both("开头（英文）", "beginning"))] = STORY,
    keeps: Annotated[
        str,
        Choice(
            [
                ("all", Both("不筛", "keep all")),
                ("top_k", "top-k"),
                ("top_p", "top-p"),
                ("min_p", "min-p"),
                ("typical_p", "typical"),
            ],
            label=Both("筛法", "filter"),
        ),
    ] = "top_p",
    T: Annotated[float, Slider(0.1, 2.0, step=0.1, label=Both("温度 T", "temperature T"))] = 1.0,
    k: Annotated[int, Slider(1, 100, log=True, label="k (top-k)")] = 10,
    p: Annotated[
        float, Slider(0.02, 1.0, step=0.02, label=Both("p（其余三种）", "p (the three others)"))
    ] = 0.9,
) -> list[Bars | Text]:
    before = next_logits(prompt)
    logits = temperature(before, T)
    if keeps == "top_k":
        logits = top_k(logits, k)
    elif keeps != "all":
        logits = {"top_p": top_p, "min_p": min_p, "typical_p": typical_p}[keeps](logits, p)
    probabilities, after = before.softmax(-1), logits.softmax(-1)
    shown = probabilities.topk(SHOWN).indices
    stays = logits.isfinite()
    count, mass = int(stays.sum()), probabilities[stays].sum().item()
    return [
        Bars(
            [readable(token) for token in shown.tolist()],
            series={
                Both("模型给的", "the model's"): probabilities[shown].tolist(),
                Both("用来抽签的", "drawn from"): after[shown].tolist(),
            },
            y_max=1.0,
            y_label=Both("概率", "probability"),
            note=Both(f"只画了最可能的 {SHOWN} 个", f"only the {SHOWN} most probable are drawn"),
        ),
        Text(
            Both(
                f"留下 {count:,} 个 token，模型原来给它们的概率一共 {mass:.1%}。熵从 {entropy(before):.2f} 变成 {entropy(logits):.2f} 奈特。",
                f"{count:,} tokens stay, to which the model gave {mass:.1%} together. The entropy goes from "
                f"{entropy(before):.2f} to {entropy(logits):.2f} nats.",
            )
        ),
    ]


def readable(token_id: int) -> str:
    text = tokenizer().decode([token_id])
    return text.replace(" ", "␣").replace("\n", "⏎") or f"#{token_id}"


@figure(
    title=Both(
        "核里有几个 token：温度放在 top-p 的前面和后面",
        "Size of the nucleus: temperature before and behind top-p",
    )
)
def order(
    which: Annotated[
        str,
        Choice(
            [("sure", SURE + " …"), ("story", STORY + " …"), ("open", OPEN + " …")],
            label=Both("开头", "beginning"),
        ),
    ] = "story",
    p: Annotated[float, Slider(0.5, 0.99, step=0.01, label="p")] = 0.9,
) -> Lines:
    logits = next_logits(PROMPTS[which])
    temperatures = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]
    first = [int(top_p(temperature(logits, T), p).isfinite().sum()) for T in temperatures]
    last = int(top_p(logits, p).isfinite().sum())
    return Lines(
        {
            Both("温度在前（常见的实现）", "temperature first (as is usual)"): (temperatures, first),
            Both("温度在后", "temperature behind"): (temperatures, [last] * len(temperatures)),
        },
        x_label=Both("温度 T", "temperature T"),
        y_label=Both("核里的 token 数", "tokens in the nucleus"),
        y_log=True,
    )


# ---------------------------------------------------------------- beams


@functools.lru_cache(maxsize=8)
def story_beams(width: int) -> tuple[Beams, ...]:
    steps = beam_search_steps(model(), tokenizer().encode(STORY), num_beams=width, max_tokens=11)
    return tuple(beams for beams in steps if beams.running)


@figure(title=Both("束里的几条路，一步一步", "The paths of a beam, step by step"))
def beam_tree(
    width: Annotated[int, Slider(1, 5, label=Both("束宽", "beams"))] = 3,
    step: Annotated[int, Slider(1, 10, label=Both("第几步", "step"))] = 6,
) -> list[Tokens | Text]:
    beams = story_beams(width)[step - 1]
    before = story_beams(width)[step - 2].running if step > 1 else []
    best = beams.running[0].tokens
    rows = []
    for beam, parent in zip(beams.running, beams.parents, strict=True):
        note = Both(f"接在上一步第 {parent + 1} 条后面", f"goes on from path {parent + 1} of the step before")
        rows.append(
            [
                Token(readable(token), tone=7 if beam.tokens[: i + 1] == best[: i + 1] else 1, note=note)
                for i, token in enumerate(beam.tokens)
            ]
        )
    died = [str(i + 1) for i in range(len(before)) if i not in beams.parents]
    parents = ", ".join(str(parent + 1) for parent in beams.parents)
    return [
        Tokens(
            rows,
            labels=[f"ln p = {beam.log_probability:.2f}" for beam in beams.running],
            note=Both("灰色：和第一条相同的开头", "grey: the beginning shared with the first path"),
        ),
        Text(
            Both(
                f"这些路分别接在上一步的第 {parents} 条后面。"
                + (f"第 {', '.join(died)} 条断了。" if died else "没有路断掉。"),
                f"These paths go on from paths {parents} of the step before. "
                + (f"Path {', '.join(died)} died." if died else "None died."),
            )
        ),
    ]


# ---------------------------------------------------------------- what the labs measure


def repeated(tokens: Sequence[int], n: int = 3) -> float:
    """The share of the runs of ``n`` tokens that were there before."""
    runs = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct_2(texts: Sequence[Sequence[int]]) -> float:
    """Different pairs of neighbours over all pairs, across the texts."""
    pairs = [pair for tokens in texts for pair in itertools.pairwise(tokens)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def surprise(prompt: Sequence[int], tokens: Sequence[int]) -> float:
    """Mean -ln p of the tokens by the model itself, whatever way they were chosen, in nats."""
    with torch.inference_mode():
        logits = model()(torch.tensor([[*prompt, *tokens]]))[0, len(prompt) - 1 : -1]
    return F.cross_entropy(logits, torch.tensor(tokens)).item()


def ends() -> set[int]:
    special = tokenizer().special_tokens
    return {special["<|im_end|>"], special["<|endoftext|>"]}


# ---------------------------------------------------------------- labs


@lab(
    title=Both("同一个开头，十一种写法", "One beginning, eleven ways of going on"),
    seconds=60,
    summary=Both(
        "SmolLM2-135M 用每一种解码方法各写一段。平均意外是模型自己给每个 token 的 −ln p 的平均。",
        "SmolLM2-135M writes once in each way. The mean surprise is the mean −ln p that the model itself gives to the tokens.",
    ),
)
def every_strategy(
    prompt: Annotated[str, TextInput(max_length=120, label=Both("开头（英文）", "beginning"))] = STORY,
    n_tokens: Annotated[int, Slider(16, 64, step=8, label=Both("写多少个 token", "tokens to write"))] = 40,
    seed: Annotated[int, Slider(0, 20, label=Both("随机种子", "seed"))] = 1,
) -> Iterator[Event]:
    ids = tokenizer().encode(prompt.strip() or "The")

    def drawn(**options: float) -> list[int]:
        sampling = Sampling(**options, seed=seed)  # pyright: ignore[reportArgumentType]
        *tokens, _ = generate_tokens(model(), ids, sampling=sampling, max_tokens=n_tokens, end_tokens=ends())
        return [token for token in tokens if isinstance(token, int)]

    def beams(length_penalty: float) -> list[int]:
        found = beam_search(
            model(), ids, num_beams=4, max_tokens=n_tokens, end_tokens=ends(), length_penalty=length_penalty
        )
        return list(found[0].tokens)

    def contrast() -> list[int]:
        *tokens, _ = contrastive_search(
            model(), ids, top_k=4, alpha=0.6, max_tokens=n_tokens, end_tokens=ends()
        )
        return [token for token in tokens if isinstance(token, int)]

    ways = {
        Both("贪心", "greedy"): lambda: drawn(),
        Both("贪心 + 重复惩罚 1.3", "greedy, repetition penalty 1.3"): lambda: drawn(repetition_penalty=1.3),
        Both("束搜索，4 束", "beam search, 4 beams"): lambda: beams(1.0),
        Both("束搜索，不罚长度", "beam search, no length penalty"): lambda: beams(0.0),
        Both("对比搜索，k=4，α=0.6", "contrastive search, k=4, α=0.6"): contrast,
        Both("采样，T=1", "sampling, T=1"): lambda: drawn(temperature=1.0),
        Both("采样，T=1.5", "sampling, T=1.5"): lambda: drawn(temperature=1.5),
        Both("top-k = 40", "top-k = 40"): lambda: drawn(temperature=1.0, top_k=40),
        Both("top-p = 0.9", "top-p = 0.9"): lambda: drawn(temperature=1.0, top_p=0.9),
        Both("min-p = 0.1", "min-p = 0.1"): lambda: drawn(temperature=1.0, min_p=0.1),
        Both("typical = 0.2", "typical = 0.2"): lambda: drawn(temperature=1.0, typical_p=0.2),
    }
    columns = [
        Both("方法", "way"),
        Both("写出来的", "what was written"),
        Both("平均意外", "mean surprise"),
        Both("重复的三连", "repeated triples"),
    ]
    rows: list[list[object]] = []
    for number, (name, write) in enumerate(ways.items(), start=1):
        yield Progress(number - 1, len(ways), name)
        tokens = write()
        if tokens:
            numbers = [f"{surprise(ids, tokens):.2f}", f"{repeated(tokens):.0%}"]
            rows.append([name, tokenizer().decode(tokens, skip_special=True), *numbers])
        else:
            rows.append([name, Both("（马上就结束了）", "(ended at once)"), "", ""])
        yield Show("texts", Table(columns, list(rows)))
    yield Progress(len(ways), len(ways))


@torch.inference_mode()
def sampled_together(
    prompt: list[int], sampling: Sampling, n_rows: int, n_tokens: int
) -> tuple[list[list[int]], float, float]:
    """``n_rows`` continuations in one batch; the mean entropy of what they were drawn from, and their mean −ln p."""
    cache = KVCache.for_model(model().config, len(prompt) + n_tokens)
    logits = model()(torch.tensor([prompt]), cache, last_only=True)[:, -1].expand(n_rows, -1)
    cache.select(torch.zeros(n_rows, dtype=torch.long))
    generator, seen = sampling.generator(), torch.tensor([prompt] * n_rows)
    entropies, surprises = [], []
    for _ in range(n_tokens):
        tokens = torch.tensor(
            [choose_token(row, before, sampling, generator) for row, before in zip(logits, seen, strict=True)]
        )
        logprobs = logits.log_softmax(-1)
        entropies.append(-(logprobs.exp() * logprobs).sum(-1).mean().item())
        surprises.append(-logprobs.gather(1, tokens[:, None]).mean().item())
        seen = torch.cat([seen, tokens[:, None]], dim=1)
        logits = model()(tokens[:, None], cache, last_only=True)[:, -1]
    return seen[:, len(prompt) :].tolist(), sum(entropies) / n_tokens, sum(surprises) / n_tokens


KNOBS = {
    "temperature": [0.1, 0.4, 0.7, 1.0, 1.3, 1.6],
    "top_k": [1, 3, 10, 40, 200, 1000],
    "top_p": [0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
    "min_p": [0.5, 0.3, 0.1, 0.05, 0.02, 0.0],
}


@lab(
    title=Both("拧一个旋钮，看三个数", "Turn one knob and watch three numbers"),
    seconds=50,
    summary=Both(
        "每个取值写 6 段，量它们的多样性、意外，和模型写到那里时有多不确定。",
        "Six texts at each setting: how varied they are, how surprising, and how unsure the model is along the way.",
    ),
)
def turn_a_knob(
    knob: Annotated[
        str,
        Choice(
            [
                ("temperature", Both("温度", "temperature")),
                ("top_k", "top-k"),
                ("top_p", "top-p"),
                ("min_p", "min-p"),
            ],
            label=Both("旋钮", "knob"),
        ),
    ] = "temperature",
    n_tokens: Annotated[int, Slider(16, 48, step=8, label=Both("每段多少个 token", "tokens a text"))] = 24,
) -> Iterator[Event]:
    ids = tokenizer().encode(STORY)
    rows: list[list[object]] = []
    for number, at in enumerate(KNOBS[knob], start=1):
        yield Progress(number - 1, len(KNOBS[knob]), Both.same(f"{knob} = {at}"))
        options = {"temperature": 1.0, knob: at}
        sampling = Sampling(**options, seed=number)  # pyright: ignore[reportArgumentType]
        texts, unsure, surprised = sampled_together(ids, sampling, 6, n_tokens)
        varied = distinct_2(texts)
        axis = {
            "x": at,
            "x_label": Both.same(knob),
            "y_label": Both("奈特；distinct-2 没有单位", "nats; distinct-2 has no unit"),
        }
        yield Sample(Both("模型的熵", "entropy of the model"), y=unsure, **axis)
        yield Sample(Both("平均意外 −ln p", "mean surprise −ln p"), y=surprised, **axis)
        yield Sample("distinct-2", y=varied, **axis)
        rows.append(
            [at, round(unsure, 2), round(surprised, 2), round(varied, 2), tokenizer().decode(texts[0])]
        )
        columns = [
            Both.same(knob),
            Both("熵", "entropy"),
            Both("意外", "surprise"),
            "distinct-2",
            Both("六段之一", "one of the six"),
        ]
        yield Show("texts", Table(columns, list(rows)))
    yield Progress(len(KNOBS[knob]), len(KNOBS[knob]))


@lab(
    title=Both("束宽、概率和重复", "Beam width, probability and repetition"),
    seconds=30,
    summary=Both(
        "两个开头，束宽 1、2、4、8。看整段的 ln p 和重复的三连词各怎样变。",
        "Two beginnings, beams of 1, 2, 4 and 8. What becomes of ln p of the whole text, and of repeated triples?",
    ),
)
def beam_widths(
    n_tokens: Annotated[int, Slider(4, 64, step=4, label=Both("写多少个 token", "tokens to write"))] = 24,
) -> Iterator[Event]:
    prompts = [STORY, OPEN]
    widths = [1, 2, 4, 8]
    rows: list[list[object]] = []
    columns = [
        Both("束宽", "beams"),
        "ln p",
        Both("重复的三连", "repeated triples"),
        Both("第一个开头的结果", "result for the first beginning"),
    ]
    for number, width in enumerate(widths):
        found = []
        for i, prompt in enumerate(prompts):
            yield Progress(
                len(prompts) * number + i, len(prompts) * len(widths), Both(f"束宽 {width}", f"{width} beams")
            )
            # Without end tokens all texts are equally long, and their probabilities can be compared.
            found.append(
                beam_search(model(), tokenizer().encode(prompt), num_beams=width, max_tokens=n_tokens)[0]
            )
        likely = sum(one.log_probability for one in found) / len(found)
        again = sum(repeated(one.tokens) for one in found) / len(found)
        axis = {"x": width, "x_label": Both("束宽", "beams")}
        yield Sample(Both("每个 token 的 ln p", "ln p a token"), y=likely / n_tokens, **axis)
        yield Sample(Both("重复的三连的比例", "share of repeated triples"), y=again, **axis)
        rows.append([width, round(likely, 1), f"{again:.0%}", tokenizer().decode(found[0].tokens)])
        yield Show("texts", Table(columns, list(rows)))
    yield Progress(len(prompts) * len(widths), len(prompts) * len(widths))


VARIANTS = [("layer", "pre"), ("rms", "pre"), ("layer", "post"), ("none", "pre")]
NAMES = {
    ("layer", "pre"): Both("LayerNorm，在前", "LayerNorm, pre"),
    ("rms", "pre"): Both("RMSNorm，在前", "RMSNorm, pre"),
    ("layer", "post"): Both("LayerNorm，在后", "LayerNorm, post"),
    ("none", "pre"): Both("不归一化", "no norm"),
}


@lab(
    title=Both("四个小模型，只差归一化", "Four small models that differ in their norm"),
    seconds=60,
    summary=Both(
        "8 层、一个字节一个 token，训练 100 步，没有预热。学习率调高，谁先撑不住？",
        "Eight layers on bytes, 100 steps without warm-up. With a higher learning rate, which gives way first?",
    ),
)
def train_norms(
    learning_rate: Annotated[
        float, Slider(0.001, 0.01, log=True, label=Both("学习率", "learning rate"))
    ] = 0.006,
    n_steps: Annotated[int, Slider(10, 160, step=10, label=Both("步数", "steps"))] = 100,
) -> Iterator[Event]:
    text = "\n".join(stdlib_docs(max_bytes=1_000_000)).encode()
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    done = 0
    for norm, place in VARIANTS:
        name = NAMES[norm, place]
        decoder = Decoder(
            DecoderConfig(256, 64, 8, 4, 4, 16, 256, 128, norm=norm, norm_place=place, feed_forward="gelu")  # pyright: ignore[reportArgumentType]
        )
        initialize(decoder, torch.Generator().manual_seed(0))
        optimizer = AdamW(parameter_groups(decoder, 0.1), lr=learning_rate)
        batches = torch.Generator().manual_seed(2)
        recent: list[float] = []
        for step in range(1, n_steps + 1):
            starts = torch.randint(len(data) - 65, (16,), generator=batches)
            rows = data[starts[:, None] + torch.arange(65)]
            loss = F.cross_entropy(decoder(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recent = [*recent[-9:], loss.item()]
            done += 1
            if step % 5 == 0:
                yield Progress(done, len(VARIANTS) * n_steps, name)
                shown = min(sum(recent) / len(recent), 8.0)
                yield Sample(
                    name,
                    x=step,
                    y=shown,
                    x_label=Both("步", "step"),
                    y_label=Both("损失（最多画到 8）", "loss (drawn up to 8)"),
                )
        yield Metric(name, sum(recent) / len(recent), Both("奈特", "nats"))


@lab(
    title=Both("用你的 top-p 抽签", "Draw with your top-p"),
    seconds=25,
    summary=Both(
        "SmolLM2-135M 用 top-p 写三段。打开“用我写的函数来跑”，它就换成你写的。",
        "SmolLM2-135M writes three texts with top-p. Turn on “Run it with my function” and it becomes yours.",
    ),
)
def your_top_p(
    prompt: Annotated[str, TextInput(max_length=120, label=Both("开头（英文）", "beginning"))] = STORY,
    p: Annotated[float, Slider(0.05, 1.0, step=0.05, label="p")] = 0.9,
    n_tokens: Annotated[int, Slider(8, 48, step=8, label=Both("每段多少个 token", "tokens a text"))] = 32,
) -> Iterator[Event]:
    ids = tokenizer().encode(prompt.strip() or "The")
    rows: list[list[object]] = []
    for seed in range(1, 4):
        yield Progress(seed - 1, 3)
        sampling = Sampling(1.0, top_p=p, seed=seed)
        *tokens, _ = generate_tokens(model(), ids, sampling=sampling, max_tokens=n_tokens, end_tokens=ends())
        rows.append([seed, tokenizer().decode([token for token in tokens if isinstance(token, int)])])
        yield Show("texts", Table([Both("种子", "seed"), Both("写出来的", "what was written")], list(rows)))
    yield Progress(3, 3)

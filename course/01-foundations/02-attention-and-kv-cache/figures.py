"""Figures, labs and values of lesson 1.2: attention, the causal mask, the KV cache."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
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
    TextInput,
    Toggle,
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import config, greedy_answer, model, question_ids, tokenizer
from teachllm.stack.models.attention_maps import attention_maps
from teachllm.stack.nn.attention import readable_attention, scaled_dot_product_attention
from teachllm.stack.nn.kv_cache import KVCache, kv_cache_bytes

GIB = 2**30


# ---------------------------------------------------------------- the real model


@value
def model_size(what: str) -> float:
    """``n_layers``, ``n_heads``, ``n_kv_heads``, ``head_dim``, or ``bf16_megabytes`` of the chat model."""
    if what == "bf16_megabytes":
        return 2 * config().n_parameters / 1e6
    return getattr(config(), what)


# ---------------------------------------------------------------- three tokens by hand

QUERY = torch.tensor([[2.0, 0.0, 1.0, 1.0]])
KEYS = torch.tensor([[2.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0]])
VALUES = torch.tensor([[10.0, 0.0], [0.0, 10.0], [1.0, 1.0]])


def by_hand(values: torch.Tensor, scaled: bool = True) -> torch.Tensor:
    scale = None if scaled else 1.0
    return scaled_dot_product_attention(QUERY[None, None], KEYS[None, None], values[None, None], scale=scale)[
        0, 0, 0
    ]


@value
def by_hand_weight(token: int, scaled: bool = True) -> float:
    """With the identity as values, attention returns its own weights."""
    return by_hand(torch.eye(3), scaled)[token].item()


@value
def by_hand_output(index: int) -> float:
    return by_hand(VALUES)[index].item()


# ---------------------------------------------------------------- what dividing by √d does


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@value
def score_std(d: int, scaled: bool = False) -> float:
    """Standard deviation of q·k over 20,000 pairs of random vectors of ``d`` components."""
    scores = (normal(20_000, d, seed=0) * normal(20_000, d, seed=1)).sum(-1)
    return (scores / math.sqrt(d) if scaled else scores).std().item()


def sorted_weights(d: int, scaled: bool) -> tuple[float, ...]:
    """Weights of 8 keys from large to small, averaged over 2,000 random queries."""
    return tuple(random_weights(d, scaled).sort(descending=True).values.mean(0).tolist())


def gradient_left(d: int, scaled: bool) -> float:
    """What p(1-p) adds up to over the 8 keys: the trace of the derivative, averaged over the same queries."""
    weights = random_weights(d, scaled)
    return (weights * (1 - weights)).sum(-1).mean().item()


@functools.lru_cache(maxsize=64)
def random_weights(d: int, scaled: bool) -> torch.Tensor:
    """What 2,000 random queries give to 8 random keys each: (query, key)."""
    q, k = normal(2_000, 1, d, seed=2), normal(2_000, 8, d, seed=3)
    values = torch.eye(8).expand(2_000, 8, 8)
    return scaled_dot_product_attention(q, k, values, scale=None if scaled else 1.0).squeeze(1)


@figure(
    title=Both("8 个 key 的权重，从大到小", "The weights of 8 keys, from large to small"),
    predict=Predict(
        Both(
            "下面是每头 64 维、除以 √d 的样子。不除的话，最大的那个权重平均是多少？",
            "Below, 64 dimensions with the division by √d. Without it, how large is the largest weight on average?",
        ),
        low=0.0,
        high=1.0,
        step=0.01,
        answer=lambda: sorted_weights(64, False)[0],
        explain=lambda: Both(
            f"平均 {sorted_weights(64, False)[0]:.2f}：一个 key 几乎拿走了全部，而这些 query 和 key 全是随机数。"
            f"除以 8 以后，它是 {sorted_weights(64, True)[0]:.2f}。",
            f"It is {sorted_weights(64, False)[0]:.2f} on average: one key takes almost everything, although queries and keys "
            f"are random numbers. After dividing by 8 it is {sorted_weights(64, True)[0]:.2f}.",
        ),
    ),
)
def softmax_sharpness(
    d: Annotated[int, Slider(1, 512, label=Both("每头的维度 d", "head dimension d"), log=True)] = 64,
    scaled: Annotated[bool, Toggle(label=Both("除以 √d", "divide by √d"))] = True,
) -> list[Bars | Text]:
    weights = sorted_weights(d, scaled)
    slope = gradient_left(d, scaled)
    return [
        Bars(
            [str(rank) for rank in range(1, 9)],
            weights,
            x_label=Both("第几大的 key", "rank of the key"),
            y_label=Both("平均权重", "mean weight"),
            y_max=1.0,
            highlight=0,
        ),
        Text(
            Both(
                f"8 个 p(1−p) 加起来平均是 {slope:.2f}：它越接近 0，能穿过 softmax 传回去的梯度就越少。",
                f"The eight p(1−p) add up to {slope:.2f} on average: the nearer to 0, the less gradient passes back "
                "through the softmax.",
            )
        ),
    ]


# ---------------------------------------------------------------- the weights of the real model

MAX_TOKENS = 40


@functools.lru_cache(maxsize=8)
def sentence_weights(sentence: str) -> tuple[list[str], list[torch.Tensor]]:
    """The tokens as text, and for each layer the weights (heads, query, key)."""
    ids = tokenizer().encode(sentence)[:MAX_TOKENS]
    with torch.inference_mode():
        maps = [layer[0] for layer in attention_maps(model(), torch.tensor([ids]))]
    return [readable(token) for token in ids], maps


def readable(token_id: int) -> str:
    """One token as text; bytes that are no whole character are shown in hexadecimal."""
    token = tokenizer().vocabulary.tokens[token_id]
    try:
        return token.decode().replace(" ", "␣").replace("\n", "⏎")
    except UnicodeDecodeError:
        return token.hex(" ").upper()


@figure(title=Both("SmolLM2-135M 里一个头的权重", "The weights of one head of SmolLM2-135M"))
def real_attention(
    sentence: Annotated[str, TextInput(max_length=120, label=Both("你的句子", "your sentence"))] = (
        "The cat sat down because it was tired."
    ),
    layer: Annotated[int, Slider(1, 30, label=Both("层", "layer"))] = 14,
    head: Annotated[int, Slider(1, 9, label=Both("头", "head"))] = 9,
) -> list[Heatmap | Text]:
    tokens, maps = sentence_weights(sentence.strip() or "The")
    weights = maps[layer - 1][head - 1]
    seen = torch.ones_like(weights, dtype=torch.bool).tril()
    rows = [
        [w if ok else None for w, ok in zip(row, allowed, strict=True)]
        for row, allowed in zip(weights.tolist(), seen.tolist(), strict=True)
    ]
    first = weights[1:, 0].mean().item() if len(tokens) > 1 else 1.0
    previous = weights.diagonal(-1).mean().item() if len(tokens) > 1 else 0.0
    return [
        Heatmap(
            rows,
            x_labels=tokens,
            y_labels=tokens,
            x_label=Both("被看的 token（key）", "token looked at (key)"),
            y_label=Both("在看的 token（query）", "token that looks (query)"),
            domain=(0.0, 1.0),
        ),
        Text(
            Both(
                f"平均 {first:.0%} 的权重给了第一个 token，{previous:.0%} 给了前一个。",
                f"On average {first:.0%} of the weight goes to the first token and {previous:.0%} to the previous one.",
            )
        ),
    ]


# ---------------------------------------------------------------- what the cache saves


@value
def positions_computed(n: int, cached: bool = True) -> int:
    """How many positions pass through the model while ``n`` tokens are generated one by one."""
    return n if cached else n * (n + 1) // 2


@value
def positions_ratio(n: int) -> float:
    return positions_computed(n, cached=False) / positions_computed(n)


NEW, KEPT = 0, 7  # tones: blue and grey


@figure(
    title=Both("生成第 t 个 token 时，算了什么", "What is computed for token t"),
    predict=Predict(
        Both(
            "从一个起始 token 开始，不用缓存，一步一步生成 12 个，总共有多少个位置要过一遍模型？",
            "From a single token on, 12 more are generated one by one without a cache. How many positions pass through "
            "the model in all?",
        ),
        choices=["12", "24", "78", "144"],
        answer=lambda: ["12", "24", "78", "144"].index(str(positions_computed(12, cached=False))),
        explain=lambda: Both(
            f"1 + 2 + … + 12 = {positions_computed(12, cached=False)}。有缓存是 {positions_computed(12)}。",
            f"1 + 2 + … + 12 = {positions_computed(12, cached=False)}. With the cache it is {positions_computed(12)}.",
        ),
    ),
)
def cache_step(
    step: Annotated[int, Slider(1, 12, label=Both("第 t 步", "step t"))] = 5,
    cached: Annotated[bool, Toggle(label=Both("用 KV cache", "use the KV cache"))] = True,
) -> list[Tokens | Bars]:
    def row(letter: str, *, kept: bool) -> list[Token]:
        tokens = []
        for position in range(1, step + 1):
            if position == step or not cached:
                note = Both("这一步算出来的", "computed in this step")
                tokens.append(Token(f"{letter}{position}", tone=NEW, note=note))
            elif kept:
                note = Both("从缓存里读的", "read from the cache")
                tokens.append(Token(f"{letter}{position}", tone=KEPT, note=note))
        return tokens

    return [
        Tokens(
            [row("q", kept=False), row("k", kept=True), row("v", kept=True)],
            labels=["query", "key", "value"],
            note=Both(
                "蓝色是这一步新算的，灰色是从缓存里读的",
                "blue: computed in this step; grey: read from the cache",
            ),
        ),
        Bars(
            [Both("这一步", "this step"), Both("到现在一共", "so far")],
            series={
                Both("有缓存", "with cache"): [1, positions_computed(step)],
                Both("没有缓存", "without"): [step, positions_computed(step, cached=False)],
            },
            y_label=Both("过模型的位置数", "positions through the model"),
        ),
    ]


# ---------------------------------------------------------------- how large the cache gets

# Layers, query heads, sets of keys and values, head dimension: each model's published config.json.
MODELS = {
    "llama3-8b": (32, 32, 8, 128),
    "llama3-70b": (80, 64, 8, 128),
    "llama2-7b": (32, 32, 32, 128),
}


def cache_bytes(model: str, length: int, batch: int = 1, n_kv_heads: int | None = None) -> int:
    if model == "smollm2":
        sizes = (config().n_layers, config().n_heads, config().n_kv_heads, config().head_dim)
    else:
        sizes = MODELS[model]
    n_layers, _, own_kv_heads, head_dim = sizes
    return kv_cache_bytes(
        n_layers, n_kv_heads or own_kv_heads, head_dim, length, batch=batch, bytes_per_number=2
    )


@value
def cache_kib(model: str) -> float:
    """KiB of one token."""
    return cache_bytes(model, 1) / 1024


@value
def cache_gib(model: str, length: int, n_kv_heads: int | None = None) -> float:
    return cache_bytes(model, length, n_kv_heads=n_kv_heads) / GIB


@value
def decode_limit(gigabytes_per_second: float) -> float:
    """Tokens a second when every weight (bf16) is read once for each token."""
    return gigabytes_per_second * 1e9 / (model_size("bf16_megabytes") * 1e6)


@figure(
    title=Both("KV cache 占多少内存（bf16）", "How much memory the KV cache takes (bf16)"),
    predict=Predict(
        Both(
            "下面是一个 8192 个 token 的请求。换成 8 个请求，每个 32768 个 token，Llama-3-8B 的缓存有多大？",
            "Below, one request of 8192 tokens. With 8 requests of 32768 tokens each, how large is the cache of Llama-3-8B?",
        ),
        low=0.0,
        high=64.0,
        step=1.0,
        unit="GiB",
        answer=lambda: cache_bytes("llama3-8b", 32_768, batch=8) / GIB,
        explain=lambda: Both(
            f"{cache_bytes('llama3-8b', 32_768, batch=8) / GIB:.0f} GiB：长度 4 倍，请求 8 倍，两个相乘。它的权重才 15 GiB。",
            f"{cache_bytes('llama3-8b', 32_768, batch=8) / GIB:.0f} GiB: 4 times the length times 8 times the requests. "
            "Its weights take no more than 15 GiB.",
        ),
    ),
)
def cache_size(
    model: Annotated[
        str,
        Choice(
            [
                ("llama3-8b", "Llama-3-8B"),
                ("llama3-70b", "Llama-3-70B"),
                ("llama2-7b", "Llama-2-7B"),
                ("smollm2", "SmolLM2-135M"),
            ],
            label=Both("模型", "model"),
        ),
    ] = "llama3-8b",
    length: Annotated[
        int, Slider(256, 131_072, label=Both("长度（token）", "length (tokens)"), log=True)
    ] = 8192,
    batch: Annotated[int, Slider(1, 64, label=Both("同时的请求", "requests at a time"))] = 1,
) -> Bars:
    n_heads = config().n_heads if model == "smollm2" else MODELS[model][1]
    own = config().n_kv_heads if model == "smollm2" else MODELS[model][2]
    kinds = {"MHA": n_heads, "GQA": own, "MQA": 1}
    if own == n_heads:
        del kinds["GQA"]
    return Bars(
        [f"{name} · {count}" for name, count in kinds.items()],
        [cache_bytes(model, length, batch, count) / GIB for count in kinds.values()],
        x_label=Both("共享方式 · KV 组数", "sharing · sets of keys and values"),
        unit="GiB",
        highlight=list(kinds.values()).index(own),
        note=Both("突出的是这个模型实际的做法", "highlighted: what this model does"),
    )


# ---------------------------------------------------------------- labs

OPENING = "Once upon a time, a cat sat down by the window because"


@lab(
    title=Both("有缓存和没有缓存，同一段话", "One text with and without the cache"),
    seconds=40,
    summary=Both(
        "SmolLM2-135M 把一句话续写下去，每个 token 都算两遍：一遍只送进新 token，一遍把整段重新送进去。",
        "SmolLM2-135M continues a sentence. Each token is computed twice: once from the new token and the cache, once from the whole text.",
    ),
)
def cache_race(
    n_tokens: Annotated[
        int, Slider(32, 256, step=16, label=Both("生成多少个 token", "tokens to generate"))
    ] = 128,
) -> Iterator[Event]:
    yield Progress(0, n_tokens, Both("读入模型", "loading the model"))
    llama, words = model(), tokenizer()
    ids = words.encode(OPENING)
    start = len(ids)
    cache = KVCache.for_model(llama.config, capacity=start + n_tokens)
    fed, same = ids, 0
    seconds = {True: 0.0, False: 0.0}
    with torch.inference_mode():
        llama(
            torch.tensor([ids]), last_only=True
        )  # the first pass is slower: memory is touched, threads start
        for step in range(1, n_tokens + 1):
            began = time.perf_counter()
            with_cache = llama(torch.tensor([fed]), cache=cache, last_only=True)[0, -1]
            between = time.perf_counter()
            without = llama(torch.tensor([ids]), last_only=True)[0, -1]
            ended = time.perf_counter()
            seconds[True] += between - began
            seconds[False] += ended - between
            chosen = int(with_cache.argmax())
            same += chosen == int(without.argmax())
            axis = {
                "x": step,
                "x_label": Both("第几个 token", "token"),
                "y_label": Both("毫秒", "milliseconds"),
            }
            if step > 1:  # in the first step both read the whole opening
                yield Sample(Both("有缓存", "with cache"), y=(between - began) * 1e3, **axis)
            yield Sample(Both("没有缓存", "without cache"), y=(ended - between) * 1e3, **axis)
            yield Progress(step, n_tokens)
            ids, fed = [*ids, chosen], [chosen]
            if step % 8 == 0 or step == n_tokens:
                yield Show("text", Text(Both.same(words.decode(ids))))
    yield Metric(Both("有缓存", "with cache"), n_tokens / seconds[True], "token/s")
    yield Metric(Both("没有缓存", "without cache"), n_tokens / seconds[False], "token/s")
    yield Metric(Both("两遍选出同一个 token", "both chose the same token"), 100 * same / n_tokens, "%")


@lab(
    title=Both("用你的注意力跑 SmolLM2", "SmolLM2 on your attention"),
    seconds=30,
    summary=Both(
        "全部 30 层都改用可读的那个函数。打开“用我写的函数来跑”，它就换成你写的。",
        "All 30 layers use the readable function. Turn on “Run it with my function” and it becomes yours.",
    ),
)
def your_attention(
    question: Annotated[
        str, TextInput(max_length=200, label=Both("问它一句", "ask it something"))
    ] = "What is the capital of France?",
    n_tokens: Annotated[
        int, Slider(16, 96, step=8, label=Both("最多几个 token", "at most so many tokens"))
    ] = 40,
) -> Iterator[Event]:
    yield Progress(0, n_tokens, Both("读入模型", "loading the model"))
    llama, ids = model(), question_ids(question)
    with torch.inference_mode():
        reference = llama(torch.tensor([ids]))
        with readable_attention():
            mine = llama(torch.tensor([ids]))
    difference = (mine - reference).abs().max().item()
    yield Metric(
        Both("logits 与融合内核相差最多", "largest difference of logits from the fused kernel"), difference
    )
    if not math.isfinite(difference):
        yield Say(Both("你的函数在真实的输入上得到了 NaN。", "Your function gave NaN on real inputs."))
        return

    def logits(tokens: Tensor, cache: KVCache) -> Tensor:
        with readable_attention():
            return llama(tokens, cache=cache, last_only=True)

    answer = ""
    for step, answer in enumerate(greedy_answer(ids, n_tokens, logits), start=1):
        yield Progress(step, n_tokens)
        yield Show("answer", Text(Both.same(answer)))
    yield Progress(n_tokens, n_tokens)
    yield Show("summary", Table([Both("问题", "question"), Both("回答", "answer")], [[question, answer]]))

"""Figures, labs and values of lesson 8.4: a serving engine as a whole, and why memory becomes throughput."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch

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
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import file, question_ids, tokenizer
from teachllm.stack.inference.engine.capacity import blocks_that_fit, max_concurrent
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.offline import generate_each
from teachllm.stack.inference.engine.paged_kv import block_bytes
from teachllm.stack.inference.engine.request import BeamSearch, RequestOptions
from teachllm.stack.inference.engine.snapshot import EngineSnapshot, TextSnapshot
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.packed_weights import pack_for_decoding
from teachllm.stack.inference.sampling import Sampling
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.metrics import percentile, tpots, ttfts
from teachllm.stack.inference.simulation.policy import chunked
from teachllm.stack.inference.simulation.profiles import A100, OPT_13B
from teachllm.stack.inference.simulation.simulator import Outcome, Pool, simulate
from teachllm.stack.inference.simulation.workload import Arrival, lognormal, poisson_arrivals
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.loading import load_model
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.nn.kv_cache import kv_cache_bytes
from teachllm.stack.tokenizer import Tokenizer

GIB = 2**30
LONGEST = 2048  # of a text of OPT
MANY = 4096  # requests that want to be served, more than any card of the figure holds
BLOCK = EngineConfig().block_size

# NVIDIA's data sheet: the memory and the bandwidth of the card with 40 GB. It is taken to reach the shares
# that were measured on the one with 80 GB.
A100_40 = replace(A100, name="A100 40GB", memory=40 * GIB, bandwidth=1.555e12)
L2 = 40 * 2**20  # the same data sheet
TIMES = StepTimes(OPT_13B, A100_40)

# Log-normal lengths whose means are those of the ShareGPT trace, 161 and 338 (arXiv:2309.06180, figure 11);
# longer ones are cut as in the paper, so that a text has at most 2048 tokens.
PROMPTS = lognormal(161 / np.exp(0.5), 1.0, 1024)
ANSWERS = lognormal(338 / np.exp(0.405), 0.9, 1024)

WAYS = {
    "reserved": Both(f"每人预留 {LONGEST}", f"{LONGEST} reserved for each"),
    "paged": Both("分页", "paged"),
}


# ---------------------------------------------------------------- where the memory goes

MODELS: dict[str, tuple[LlamaConfig, Both]] = {
    "opt-13b": (OPT_13B, Both.same("OPT-13B")),
    "llama3-8b": (PRESETS["llama3-8b"], Both.same("Llama-3-8B")),
    "llama3-70b": (PRESETS["llama3-70b"], Both.same("Llama-3-70B")),
}


@functools.cache
def totals(n: int = 512) -> list[int]:
    """Tokens of prompt and answer of that many requests."""
    generator = np.random.default_rng(0)
    return (PROMPTS(generator, n) + ANSWERS(generator, n)).tolist()


def token_bytes(name: str = "opt-13b") -> int:
    """Keys and values of one token, 16 bits each."""
    c, _ = MODELS[name]
    return kv_cache_bytes(c.n_layers, c.n_kv_heads, c.head_dim, 1)


def weight_bytes(name: str = "opt-13b", bits: int = 16) -> int:
    return MODELS[name][0].n_parameters * bits // 8


@value
def weights_gb(name: str = "opt-13b", bits: int = 16) -> float:
    return weight_bytes(name, bits) / 1e9


@value
def token_kib(name: str = "opt-13b") -> float:
    return token_bytes(name) / 1024


@value
def l2_tokens(name: str = "opt-13b") -> int:
    """Tokens whose keys and values would fit in the cache on the chip of an A100."""
    return L2 // token_bytes(name)


@value
def cache_tokens(name: str = "opt-13b", gib: int = 40, share: float = 0.9, bits: int = 16) -> int:
    return BLOCK * blocks_that_fit(gib * GIB, weight_bytes(name, bits), BLOCK * token_bytes(name), share)


@value
def cache_gib(name: str = "opt-13b", gib: int = 40, share: float = 0.9, bits: int = 16) -> float:
    return cache_tokens(name, gib, share, bits) * token_bytes(name) / GIB


@value
def at_once(
    way: str, name: str = "opt-13b", gib: int = 40, share: float = 0.9, bits: int = 16, length: int = 0
) -> int:
    """Requests that hold memory at the same time, all of `length` tokens, or of the usual lengths if it is 0."""
    # The 512 lengths again and again, so that no card of the figure runs out of requests.
    lengths = (
        [LONGEST if way == "reserved" else length] * MANY if length or way == "reserved" else totals() * 8
    )
    return max_concurrent(
        lengths,
        gib * GIB,
        weight_bytes(name, bits),
        token_bytes(name),
        share=share,
        block_size=LONGEST if way == "reserved" else BLOCK,
        max_running=MANY,
    )


@value
def mean_total() -> float:
    return float(np.mean(totals()))


@figure(
    title=Both("一张卡的显存去了哪里", "Where the memory of a card goes"),
    predict=Predict(
        Both(
            f"OPT-13B，每个请求进来就预留 {LONGEST} 个 token 的位置。40 GiB 的卡能同时服务 {at_once('reserved')} 个。换成 80 GiB 的，能同时服务几个？",
            f"OPT-13B, and each request reserves room for {LONGEST} tokens when it comes. A card of 40 GiB serves {at_once('reserved')} at the same "
            "time. How many does one of 80 GiB serve?",
        ),
        low=0,
        high=50,
        step=1,
        answer=lambda: at_once("reserved", gib=80),
        explain=lambda: Both(
            f"{at_once('reserved', gib=80)} 个，不是 {2 * at_once('reserved')} 个。权重的 {weights_gb():.1f} GB 只付一次，多出来的 40 GiB 按九成算，全给缓存。"
            f"再看分页：80 GiB 是 {at_once('paged', gib=80)} 个。",
            f"{at_once('reserved', gib=80)}, and not {2 * at_once('reserved')}. The {weights_gb():.1f} GB of weights are paid once, so the share in use of "
            f"the other 40 GiB, 36 GiB, is all cache. With pages, 80 GiB serve {at_once('paged', gib=80)}.",
        ),
    ),
)
def memory_map(
    name: Annotated[
        str, Choice([(key, title) for key, (_, title) in MODELS.items()], label=Both("模型", "model"))
    ] = "opt-13b",
    gib: Annotated[
        int,
        Choice([(n, Both.same(f"{n} GiB")) for n in (24, 40, 80, 141)], label=Both("显存", "memory")),
    ] = 40,
    bits: Annotated[
        int,
        Choice([(n, Both(f"{n} 位", f"{n} bits")) for n in (16, 8, 4)], label=Both("权重", "weights")),
    ] = 16,
    share: Annotated[float, Slider(0.5, 0.95, step=0.05, label=Both("用到几成", "share in use"))] = 0.9,
) -> list[Bars | Text]:
    weights, cache = weight_bytes(name, bits) / GIB, cache_gib(name, gib, share, bits)
    reserved, paged = (at_once(way, name, gib, share, bits) for way in WAYS)
    fits = Both(
        f"缓存放得下 {cache_tokens(name, gib, share, bits):,} 个 token，一个 token {token_kib(name):.0f} KiB。"
        f"同时服务：每人预留 {LONGEST} 个是 {reserved} 个请求，分页是 {paged} 个。",
        f"The cache holds {cache_tokens(name, gib, share, bits):,} tokens of {token_kib(name):.0f} KiB each. "
        f"Served at the same time: {reserved} requests with {LONGEST} reserved for each, {paged} with pages.",
    )
    too_large = Both(
        f"权重要 {weights:.1f} GiB，这张卡用到 {share:.0%} 只有 {share * gib:.1f} GiB：一块缓存也放不下。换更大的卡，"
        "用更少的位数，或者把模型切到几张卡上。",
        f"The weights need {weights:.1f} GiB, and {share:.0%} of this card are {share * gib:.1f} GiB: not one block fits. Take a "
        "larger card, fewer bits, or several cards that share the model.",
    )
    return [
        Bars(
            [
                Both("权重", "weights"),
                Both("KV 缓存", "KV cache"),
                Both("其余", "the rest"),
            ],
            [weights, cache, max(0.0, gib - weights - cache)],
            y_label="GiB",
            y_max=float(max(gib, weights)),
            highlight=1,
        ),
        Text(fits if cache else too_large),
    ]


# ---------------------------------------------------------------- why memory becomes throughput

MEAN_HELD = 330  # tokens of an average request half-way through its answer: 161 + 338 / 2


@value
def step_ms(batch: int, held: int = MEAN_HELD) -> float:
    """A step of OPT-13B on an A100 of 40 GB that gives each of `batch` texts its next token."""
    return 1e3 * TIMES.seconds([(held - 1, 1)] * batch, batch)


@value
def tokens_per_second(batch: int, held: int = MEAN_HELD) -> float:
    """Of all texts together."""
    return 1e3 * batch / step_ms(batch, held)


@value
def throughput_ratio(few: int, many: int, held: int = MEAN_HELD) -> float:
    return tokens_per_second(many, held) / tokens_per_second(few, held)


@value
def step_ratio(few: int, many: int, held: int = MEAN_HELD) -> float:
    return step_ms(many, held) / step_ms(few, held)


LONG_HELD = 1312
SEATS = at_once("paged", length=MEAN_HELD)


def full_house() -> float:
    """Per cent of the throughput that is left when texts are about 4 times as long, with memory full."""
    long = at_once("paged", length=LONG_HELD)
    return 100 * tokens_per_second(long, LONG_HELD) / tokens_per_second(SEATS, MEAN_HELD)


@figure(
    title=Both("一起写的人越多，一秒写得越多", "The more write together, the more is written in a second"),
    predict=Predict(
        Both(
            f"显存坐满时，每人 {MEAN_HELD} 个 token，{SEATS} 个人一起写。换成每人 {LONG_HELD} 个，大约 4 倍长，也坐满。整台服务器一秒写的 token，"
            "是原来的百分之几？",
            f"Memory is full with {SEATS} texts of {MEAN_HELD} tokens. Then it is full with texts of {LONG_HELD}, about 4 times as long. How much of "
            "its tokens a second does the whole server keep?",
        ),
        low=0,
        high=100,
        step=1,
        unit="%",
        answer=full_house,
        explain=lambda: Both(
            f"{full_house():.0f}%。缓存一样满，一步要读的一样多，时间也差不多；可是只坐得下 {at_once('paged', length=LONG_HELD)} 个人，一步就只写这么多个 "
            "token。话长，不只占地方，也把大家的吞吐摊薄了。",
            f"{full_house():.0f} %. The cache is as full as before, so a step reads as much and takes about as long; but only "
            f"{at_once('paged', length=LONG_HELD)} texts fit, and a step writes only that many tokens.",
        ),
    ),
)
def batch_and_speed(
    held: Annotated[
        int,
        Slider(64, 2048, step=32, log=True, label=Both("每人已有多少 token", "tokens that each holds")),
    ] = MEAN_HELD,
) -> list[Lines | Text]:
    limits = {way: max(1, at_once(way, length=held)) for way in WAYS}
    most = max(64, limits["paged"])
    batches = sorted({*range(1, 17), *range(16, most, 4), most, *limits.values()})

    def curves(measure: functools.partial[float]) -> dict[Both, tuple[list[int], list[float]]]:
        ends = {Both("假如显存无限", "if memory were endless"): most} | {
            WAYS[way]: limits[way] for way in ("paged", "reserved")
        }
        return {
            title: ([b for b in batches if b <= end], [measure(b) for b in batches if b <= end])
            for title, end in ends.items()
        }

    together = Both("同时写的请求", "requests written together")
    return [
        Lines(
            curves(functools.partial(tokens_per_second, held=held)),
            x_label=together,
            y_label=Both("token/秒", "tokens/s"),
            title=Both("整台服务器一秒写几个 token", "Tokens that the whole server writes in a second"),
            marks=[(limits[way], Both.same(str(limits[way]))) for way in WAYS],
        ),
        Lines(
            curves(functools.partial(step_ms, held=held)),
            x_label=together,
            y_label=Both("毫秒", "ms"),
            title=Both("每个人隔多久来一个 token", "How long from token to token, for each of them"),
            y_range=(0, 1.1 * step_ms(most, held)),
            marks=[(limits[way], Both.same(str(limits[way]))) for way in WAYS],
        ),
        Text(
            Both(
                f"每人 {held} 个 token 时，预留能放 {limits['reserved']} 个，每秒 {tokens_per_second(limits['reserved'], held):.0f} 个 token；"
                f"分页能放 {limits['paged']} 个，每秒 {tokens_per_second(limits['paged'], held):.0f} 个。",
                f"With {held} tokens each, {limits['reserved']} fit with reservations and give {tokens_per_second(limits['reserved'], held):.0f} "
                f"tokens a second; {limits['paged']} fit with pages and give {tokens_per_second(limits['paged'], held):.0f}.",
            )
        ),
    ]


# ---------------------------------------------------------------- a small engine, step by step


@functools.cache
def toy() -> LanguageModel:
    """A random Llama of two layers that writes bytes: everything around the model is the real engine."""
    generator = torch.Generator().manual_seed(3)
    llama = Llama(LlamaConfig(256, 32, 2, 4, 2, 8, 48, 256, tied_head=True)).eval()
    with torch.inference_mode(False), torch.no_grad():
        for weights in llama.parameters():
            if weights.ndim == 2:
                weights.normal_(0, 0.3, generator=generator)
    return LanguageModel("toy", llama, Tokenizer.from_merges([]), None, (), frozenset())


@dataclass(frozen=True)
class Ask:
    """Comes before step `arrives`."""

    name: str
    arrives: int
    prompt: int
    answer: int


ASKS = (Ask("A", 1, 20, 6), Ask("B", 1, 12, 10), Ask("C", 2, 30, 5), Ask("D", 3, 8, 8))
BUDGET = 16
PLENTY, SCARCE = 32, 11


@functools.lru_cache(maxsize=4)
def watched(n_blocks: int) -> tuple[EngineSnapshot, ...]:
    """How the engine stands after each step, until all of ASKS are answered."""
    config = EngineConfig(
        max_batch_tokens=BUDGET, max_running=3, block_size=4, n_blocks=n_blocks, prefix_caching=False
    )
    engine, ahead, seen = Engine(toy(), config), list(ASKS), list[EngineSnapshot]()
    while ahead or engine.has_work:
        while ahead and ahead[0].arrives <= len(seen) + 1:
            ask = ahead.pop(0)
            ids = [(7 * i + ord(ask.name)) % 256 for i in range(ask.prompt)]
            engine.add(ids, RequestOptions(max_tokens=ask.answer, end_tokens=frozenset()), ask.name)
        engine.step()
        seen.append(engine.snapshot())
    return tuple(seen)


def text_of(snapshot: EngineSnapshot, name: str) -> TextSnapshot | None:
    return next((text for text in snapshot.texts if text.request == name), None)


@value
def first_token_step(name: str, n_blocks: int = PLENTY) -> int:
    """The step in which a request gets its first token."""
    return next(
        step
        for step, snapshot in enumerate(watched(n_blocks), 1)
        if (text := text_of(snapshot, name)) is not None and text.written
    )


@value
def last_step(name: str, n_blocks: int = PLENTY) -> int:
    """The step in which a request gets its last token."""
    here = [step for step, snapshot in enumerate(watched(n_blocks), 1) if text_of(snapshot, name)]
    return here[-1] + 1


@value
def times_preempted(n_blocks: int = SCARCE) -> int:
    return watched(n_blocks)[-1].preemptions


def told(before: TextSnapshot | None, now: TextSnapshot | None, ask: Ask) -> Both:
    """What a step did for a request."""
    if now is None:
        return Both("写出最后一个，离开，块全部还掉", "writes its last token, leaves, gives all blocks back")
    computed = 0 if before is None else before.computed
    if now.state == "preempted" and (before is None or before.state != "preempted"):
        return Both(
            "块不够，被请出去，算过的全部作废", "blocks lack: it is put out, and what was computed is lost"
        )
    if now.state != "running":
        return Both("等着", "waits")
    new = now.computed - computed
    if new == 0:
        return Both("有块，但这一步预算没有轮到它", "has blocks, but nothing of this step's budget")
    if new > 1 or computed < ask.prompt:
        done = now.written > (0 if before is None else before.written)
        return Both(
            f"读 {new} 个 token" + (f"，读完，写出第 {now.written} 个" if done else ""),
            f"reads {new} tokens" + (f", all now, and writes number {now.written}" if done else ""),
        )
    return Both(
        f"算刚写的那个，写出第 {now.written} 个", f"computes the newest and writes number {now.written}"
    )


@figure(
    title=Both("跟着一个请求走", "Following one request"),
    predict=Predict(
        Both(
            "一步的预算是 16 个 token。C 的提示有 30 个 token，第 2 步到，那时 A 和 B 已经在里面。C 的第一个 token 在第几步写出？",
            "A step has a budget of 16 tokens. C comes at step 2 with a prompt of 30 tokens, when A and B are in already. In which "
            "step is its first token written?",
        ),
        low=2,
        high=14,
        step=1,
        answer=lambda: first_token_step("C"),
        explain=lambda: Both(
            f"第 {first_token_step('C')} 步。A 的提示还有 4 个没读，B 有 12 个，第 2 步的预算正好给了他们。从第 3 步起，A 和 B 各要 1 个，"
            "C 每步拿剩下的 14 个，30 个要拿三次。",
            f"In step {first_token_step('C')}. A has 4 tokens of its prompt left and B 12, which take all of step 2. From step 3 on, A and B "
            "want one each and C gets the other 14, so its 30 take three steps.",
        ),
    ),
)
def one_request(
    name: Annotated[
        str,
        Choice(
            [
                (ask.name, Both(f"{ask.name}（提示 {ask.prompt}）", f"{ask.name} (prompt {ask.prompt})"))
                for ask in ASKS
            ],
            label=Both("跟着谁", "follow"),
        ),
    ] = "A",
    n_blocks: Annotated[
        int,
        Choice(
            [
                (PLENTY, Both(f"够用：{PLENTY}", f"plenty: {PLENTY}")),
                (SCARCE, Both(f"紧张：{SCARCE}", f"scarce: {SCARCE}")),
            ],
            label=Both("一共几块", "blocks in all"),
        ),
    ] = PLENTY,
) -> list[Table | Bars]:
    seen = watched(n_blocks)
    ask = next(ask for ask in ASKS if ask.name == name)
    rows: list[list[object]] = []
    before: TextSnapshot | None = None
    for step in range(ask.arrives, len(seen) + 1):
        now = text_of(seen[step - 1], name)
        held = 0 if now is None else len(now.blocks)
        computed = 0 if now is None else now.computed
        wanted = 0 if now is None else now.wanted
        rows.append([step, told(before, now, ask), "" if now is None else f"{computed} / {wanted}", held])
        if now is None:
            break
        before = now
    steps = [str(step) for step in range(1, len(seen) + 1)]
    records = [snapshot.steps[-1] for snapshot in seen]
    return [
        Table(
            [
                Both("步", "step"),
                Both("这一步对它做了什么", "what the step does for it"),
                Both("已算 / 想算", "computed / wanted"),
                Both("占几块", "blocks"),
            ],
            rows,
            title=Both(f"请求 {name}", f"request {name}"),
        ),
        Bars(
            steps,
            series={
                Both("提示的 token", "tokens of prompts"): [record.prefill for record in records],
                Both("刚写出的 token", "tokens just written"): [record.decode for record in records],
            },
            x_label=Both("步", "step"),
            y_label="token",
            y_max=float(BUDGET),
            title=Both("每一步里，全部请求一起", "each step, all requests together"),
        ),
    ]


# ---------------------------------------------------------------- several answers to one prompt

ASKED, WRITTEN = 10, 8  # tokens of the prompt and of each answer; a block has 4
SHARING = {"sample": Both("并行采样", "parallel samples"), "beam": Both("束搜索", "beam search")}


@functools.lru_cache(maxsize=16)
def shared_run(way: str, n: int) -> tuple[EngineSnapshot, ...]:
    """How the engine stands after each step but the last, in which all texts end."""
    if way == "sample":
        options = RequestOptions(Sampling(1.0, seed=1), max_tokens=WRITTEN, n=n, end_tokens=frozenset())
    else:
        options = RequestOptions(max_tokens=WRITTEN, beam=BeamSearch(n), end_tokens=frozenset())
    engine = Engine(toy(), EngineConfig(block_size=4, n_blocks=48, prefix_caching=False))
    engine.add([(11 * i + 40) % 256 for i in range(ASKED)], options)
    seen = list[EngineSnapshot]()
    while engine.has_work:
        engine.step()
        seen.append(engine.snapshot())
    return tuple(snapshot for snapshot in seen if snapshot.texts)


def owners(snapshot: EngineSnapshot) -> Counter[int]:
    """Of each block, how many texts have it in their tables."""
    return Counter(block for text in snapshot.texts for block in text.blocks)


@value
def copies_in_step(step: int = 2, way: str = "sample", n: int = 4) -> int:
    return shared_run(way, n)[step - 1].steps[-1].copied


@value
def blocks_in_use(step: int = 7, way: str = "sample", n: int = 4) -> int:
    return len(owners(shared_run(way, n)[step - 1]))


@value
def blocks_unshared(step: int = 7, way: str = "sample", n: int = 4) -> int:
    return owners(shared_run(way, n)[step - 1]).total()


@figure(
    title=Both("一个提示，几个回答：块的地图", "One prompt, several answers: a map of the blocks"),
    predict=Predict(
        Both(
            "提示有 10 个 token，一块放 4 个，要 4 个回答。第 1 步读完提示，4 个回答共用 3 块，第三块写了一半。第 2 步每个回答各写一个 token，"
            "要复制几块？",
            "A prompt of 10 tokens in blocks of 4, and 4 answers. Step 1 reads the prompt: the answers share 3 blocks, of which the third "
            "is half full. In step 2 each answer writes one token. How many blocks are copied?",
        ),
        low=0,
        high=10,
        step=1,
        answer=copies_in_step,
        explain=lambda: Both(
            f"{copies_in_step()} 块。前三个要写的时候，那一块还有别人在用，只好各复制一份；轮到最后一个，它成了唯一的主人，直接写。",
            f"{copies_in_step()}. When the first three come to write, others still use the block, so each copies it; by the time of the last, "
            "it is the only owner and writes in place.",
        ),
    ),
)
def block_map(
    way: Annotated[str, Choice(list(SHARING.items()), label=Both("怎么写", "how"))] = "sample",
    n: Annotated[int, Slider(1, 5, label=Both("几个回答（束）", "answers (beams)"))] = 4,
    step: Annotated[int, Slider(1, WRITTEN - 1, label=Both("第几步", "step"))] = 1,
) -> list[Heatmap | Tokens | Text]:
    seen = shared_run(way, n)
    counts = [owners(snapshot) for snapshot in seen]
    used = list(dict.fromkeys(block for count in counts for block in sorted(count)))
    place = {block: str(i + 1) for i, block in enumerate(used)}
    now, count = seen[step - 1], counts[step - 1]
    copied = now.steps[-1].copied
    return [
        Heatmap(
            [
                [count[block] or None if i < step else None for i, count in enumerate(counts)]
                for block in used
            ],
            x_labels=[str(i + 1) for i in range(len(seen))],
            y_labels=list(place.values()),
            domain=(0.0, 5.0),
            show_numbers=True,
            x_label=Both("步", "step"),
            y_label=Both("块", "block"),
            note=Both("格里的数：这一块有几个主人", "in each cell: how many texts own the block"),
        ),
        Tokens(
            [
                [
                    Token(
                        place[block],
                        tone=2 if count[block] > 1 else 4,
                        note=Both(f"{count[block]} 个主人", f"owned by {count[block]}"),
                    )
                    for block in text.blocks
                ]
                for text in now.texts
            ],
            labels=[Both(f"回答 {i + 1}", f"answer {i + 1}") for i in range(len(now.texts))],
            title=Both(f"第 {step} 步之后的块表", f"block tables after step {step}"),
        ),
        Text(
            Both(
                f"第 {step} 步复制了 {copied} 块。现在用着 {len(count)} 块；要是各存各的，是 {count.total()} 块。",
                f"Blocks copied in step {step}: {copied}. {len(count)} are in use; if each text kept its own, it would be {count.total()}.",
            )
        ),
    ]


# ---------------------------------------------------------------- latency and throughput under load

RATES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
BEARABLE = 0.05  # seconds for each token, waiting included


@dataclass(frozen=True)
class Served:
    """Seconds for each token (the mean, over requests, of the time from arrival to the last token, divided by
    the tokens of the answer); tokens a second; requests in an average step.
    """

    each: float
    speed: float
    together: float
    ttft: float
    tpot: float


def pool(way: str) -> Pool:
    """The reservation as a limit on who runs; the rest is the same."""
    return Pool(TIMES, chunked(512), max_running=at_once("reserved") if way == "reserved" else 256)


@functools.cache
def offered(rate: float, n: int) -> tuple[Arrival, ...]:
    return poisson_arrivals(rate, n, PROMPTS, ANSWERS, seed=1)


@functools.cache
def served(way: str, rate: float, n: int) -> Served:
    outcome: Outcome = simulate(offered(rate, n), pool(way))
    jobs, steps = outcome.jobs, outcome.workers[0].steps
    busy = sum(step.stage_seconds for step in steps)
    return Served(
        each=float(np.mean([(job.last_token - job.arrival.time) / job.written for job in jobs])),
        speed=sum(job.written for job in jobs) / (max(job.last_token for job in jobs) - jobs[0].arrival.time),
        together=sum(len(step.jobs) * step.stage_seconds for step in steps) / busy,
        ttft=percentile(ttfts(jobs), 50),
        tpot=percentile(tpots(jobs), 50),
    )


@lab(
    title=Both("请求越来越密：两种管内存的办法", "Requests come faster: two ways to manage memory"),
    seconds=20,
    summary=Both(
        "模拟 OPT-13B 在 A100 40GB 上的服务。调度、预算都一样，只有一处不同：预留，还是分页。看延迟和吞吐怎样随请求率变化。",
        "A simulated server of OPT-13B on an A100 40GB. Scheduling and budget are the same; memory is reserved, or paged. See how latency "
        "and throughput change with the rate of requests.",
    ),
)
def load_curve(
    n: Annotated[int, Slider(50, 300, step=50, label=Both("请求数", "requests"))] = 200,
) -> Iterator[Event]:
    rows: list[list[object]] = []
    curves: dict[str, list[Served]] = {way: [] for way in WAYS}
    total = len(RATES) * len(WAYS)
    for i, rate in enumerate(RATES):
        for j, way in enumerate(WAYS):
            yield Progress(i * len(WAYS) + j, total)
            now = served(way, rate, n)
            curves[way].append(now)
            rows.append(
                [
                    rate,
                    WAYS[way],
                    round(1e3 * now.each),
                    round(now.ttft, 2),
                    round(1e3 * now.tpot),
                    round(now.together, 1),
                    round(now.speed),
                ]
            )
        yield Show(
            "latency",
            Lines(
                {WAYS[way]: (RATES[: i + 1], [1e3 * one.each for one in curves[way]]) for way in WAYS},
                x_label=Both("每秒来几个请求", "requests a second"),
                y_label=Both(
                    "每个 token 的延迟（毫秒，含排队）", "latency for each token (ms, with waiting)"
                ),
                y_log=True,
            ),
        )
        yield Show(
            "throughput",
            Lines(
                {WAYS[way]: (RATES[: i + 1], [one.speed for one in curves[way]]) for way in WAYS},
                x_label=Both("每秒来几个请求", "requests a second"),
                y_label=Both("token/秒，整台服务器", "tokens/s of the server"),
            ),
        )
    yield Progress(total, total)
    yield Show(
        "table",
        Table(
            [
                Both("请求/秒", "requests/s"),
                Both("内存", "memory"),
                Both("毫秒/token，含排队", "ms/token, with waiting"),
                Both("TTFT 中位数（秒）", "median TTFT (s)"),
                Both("TPOT 中位数（毫秒）", "median TPOT (ms)"),
                Both("一步里几个请求", "requests in a step"),
                Both("token/秒", "tokens/s"),
            ],
            rows,
        ),
    )
    for way, title in WAYS.items():
        bears = [rate for rate, one in zip(RATES, curves[way], strict=True) if one.each <= BEARABLE]
        name = Both(
            f"{title.zh}：每个 token 不超过 {1e3 * BEARABLE:.0f} 毫秒，最多",
            f"{title.en}: at most {1e3 * BEARABLE:.0f} ms for each token up to",
        )
        yield Metric(name, max(bears, default=0.0), Both("请求/秒", "requests/s"))


# ---------------------------------------------------------------- the real engine, offline

QUESTIONS = (
    "What is rain?",
    "Name three fruits.",
    "Why is the sky blue?",
    "Say hello in French.",
    "What do bees eat?",
    "Count to five.",
    "What is a poem?",
    "Where do penguins live?",
    "How do I boil an egg?",
    "What is the moon made of?",
    "Tell me about cats.",
    "Who wrote Hamlet?",
    "What is a prime number?",
    "Why do leaves fall?",
    "What is bread made of?",
    "How long is a year?",
)


@functools.cache
def smollm() -> LanguageModel:
    """SmolLM2-135M in bfloat16, as the product runs it."""
    loaded = load_model(file().path, device="cpu", dtype=torch.bfloat16)
    pack_for_decoding(loaded)
    return LanguageModel("SmolLM2-135M", loaded, tokenizer(), None, (), frozenset())


@lab(
    title=Both("同一堆问题，一次让几个一起写", "One pile of questions, and how many are written together"),
    seconds=45,
    summary=Both(
        "真正的引擎和 SmolLM2-135M：16 个问题交给 generate_each，同时写的上限从 1 到 16，量每秒的 token 数。",
        "The real engine with SmolLM2-135M: 16 questions go to generate_each, with a limit of 1 to 16 written together; tokens a second are "
        "measured.",
    ),
)
def offline(
    answer: Annotated[
        int, Slider(8, 48, step=8, label=Both("每个回答几个 token", "tokens of an answer"))
    ] = 24,
) -> Iterator[Event]:
    yield Progress(0, 1, Both("读入模型", "loading the model"))
    limits = (1, 2, 4, 8, 16)
    prompts = [question_ids(question) for question in QUESTIONS]
    options = RequestOptions(max_tokens=answer, end_tokens=frozenset())
    for limit in limits:  # kernels are chosen and compiled at the first call
        list(generate_each(smollm(), prompts[:limit], replace(options, max_tokens=2), config_of(limit)))
    rows: list[list[object]] = []
    total, done = len(limits) * len(prompts), 0
    for limit in limits:
        began = time.perf_counter()
        text = ""
        for _, generated in generate_each(smollm(), prompts, options, config_of(limit)):
            done, text = done + 1, generated.texts[0].text
            yield Progress(done, total)
        seconds = time.perf_counter() - began
        speed = answer * len(prompts) / seconds
        rows.append([limit, round(seconds, 1), round(speed, 1), round(1e3 * limit / speed)])
        yield Sample(
            Both("token/秒，全部一起", "tokens/s, all together"),
            x=limit,
            y=speed,
            x_label=Both("同时写几个", "written together"),
            y_label=Both("token/秒", "tokens/s"),
        )
        yield Show(
            "table",
            Table(
                [
                    Both("同时写几个", "written together"),
                    Both("秒", "seconds"),
                    Both("token/秒", "tokens/s"),
                    Both("每个人隔几毫秒", "ms between tokens, for each"),
                ],
                rows,
            ),
        )
    yield Metric(
        Both("16 个一起是 1 个的", "16 together, against 1"), float(rows[-1][2]) / float(rows[0][2]), "×"
    )  # pyright: ignore[reportArgumentType]
    yield Say(Both(f"最后写完的一个：{text}", f"The last to be done: {text}"))


def config_of(limit: int) -> EngineConfig:
    return EngineConfig(max_running=limit, n_blocks=256, prefix_caching=False)


CROWD, ROOM = 24, 256  # requests; tokens that the cache holds


@lab(
    title=Both("用你的函数估一估，再让引擎来跑", "Your estimate, then the engine"),
    seconds=10,
    summary=Both(
        "24 个长短不一的请求，放得下 256 个 token 的缓存，三种块的大小。你的 max_concurrent 先说能放下几个，再看真正的引擎第一步放进来几个、"
        "要多少步做完。模型用小的那个，所以很快。",
        "24 requests of mixed lengths, a cache for 256 tokens, blocks of three sizes. Your max_concurrent says how many fit; then see how many "
        "the real engine lets in at its first step, and how many steps it takes. The model is the small one, so it is quick.",
    ),
)
def your_max_concurrent(
    answer: Annotated[
        int, Slider(16, 64, step=8, label=Both("每个回答几个 token", "tokens of an answer"))
    ] = 24,
) -> Iterator[Event]:
    generator = np.random.default_rng(2)
    prompts = [generator.integers(0, 256, int(n)).tolist() for n in generator.integers(8, 41, CROWD)]
    one = block_bytes(toy().model.config, 1, toy().dtype.itemsize)
    options = RequestOptions(max_tokens=answer, end_tokens=frozenset())
    rows: list[list[object]] = []
    sizes = (4, 8, 16)
    total = len(sizes) * CROWD * answer
    for done, size in enumerate(sizes):
        full, prompts_alone = (
            max_concurrent(
                [len(ids) + more for ids in prompts], ROOM * one, 0, one, share=1.0, block_size=size
            )
            for more in (answer, 0)
        )
        engine = Engine(toy(), EngineConfig(block_size=size, n_blocks=ROOM // size, prefix_caching=False))
        for ids in prompts:
            engine.add(ids, options)
        running: list[int] = []
        while engine.has_work:
            engine.step()
            now = engine.snapshot()
            running.append(now.steps[-1].running)
            yield Progress(done * CROWD * answer + now.tokens_written, total)
        rows.append([size, full, running[0], prompts_alone, len(running), now.preemptions])
        yield Show(
            "table",
            Table(
                [
                    Both("块的大小", "block size"),
                    Both("你的函数：写到头", "your function: to the end"),
                    Both("引擎：第一步放进来", "the engine: let in at once"),
                    Both("你的函数：只算提示", "your function: prompts alone"),
                    Both("步数", "steps"),
                    Both("请出去几次", "put out"),
                ],
                rows,
                note=Both(
                    f"提示 {min(map(len, prompts))} 到 {max(map(len, prompts))} 个 token",
                    f"prompts have {min(map(len, prompts))} to {max(map(len, prompts))} tokens",
                ),
            ),
        )
    yield Progress(total, total)

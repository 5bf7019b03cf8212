"""Figures, labs and values of lesson 8.3: the KV cache in blocks."""

from __future__ import annotations

import functools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

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
from teachllm.school.figures.real_model import config, model, tokenizer
from teachllm.stack.inference.engine.blocks import BlockPool, BlockTable
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.fragmentation import (
    Buddy,
    FirstFit,
    Lengths,
    MemoryUse,
    power_of_two,
    serve_in_blocks,
    serve_in_pieces,
)
from teachllm.stack.inference.engine.paged_kv import PagedBatch, PagedKV
from teachllm.stack.inference.engine.request import BeamSearch, RequestOptions
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.sampling import Sampling
from teachllm.stack.nn.fast import paged_attention as fast
from teachllm.stack.nn.fast.paged_attention import PagedRows, paged_rows_attention
from teachllm.stack.nn.kv_cache import kv_cache_bytes
from teachllm.stack.nn.paged_attention import (
    paged_attention,
    paged_attention_blockwise,
    paged_decode_attention,
)

GIB, MIB = 2**30, 2**20

# ---------------------------------------------------------------- how large one token is

OPT_13B = (40, 40, 128)  # layers, heads, head dimension, of its config.json: 40 · 128 = 5120 wide


def opt_token_bytes() -> int:
    """Keys and values of one token of OPT-13B in fp16."""
    return kv_cache_bytes(*OPT_13B, length=1)


@value
def opt_token_mib() -> float:
    return opt_token_bytes() / MIB


@value
def opt_request_gib(length: int = 2048) -> float:
    return length * opt_token_bytes() / GIB


@value
def opt_requests(gigabytes: float) -> float:
    """How many requests of 2048 tokens so much memory holds."""
    return gigabytes * 1e9 / (2048 * opt_token_bytes())


@value
def smollm_block_kib(block_size: int = 16) -> float:
    """One block of SmolLM2-135M in bf16, all layers."""
    return kv_cache_bytes(config().n_layers, config().n_kv_heads, config().head_dim, block_size) / 1024


@value
def block_lines(block_size: int = 16) -> int:
    """Cache lines of 64 bytes in the keys of one block of one layer of SmolLM2-135M, in float32."""
    return block_size * config().n_kv_heads * config().head_dim * 4 // 64


# ---------------------------------------------------------------- where the memory goes

N_SLOTS, MAXIMUM = 8192, 2048
KINDS = {
    "used": Both("在用", "used"),
    "reserved": Both("预留", "reserved"),
    "internal": Both("内部碎片", "internal"),
    "outside": Both("没发出去", "not handed out"),
}
WAYS = {
    "max": Both("一律按上限", "the maximum"),
    "pow2": Both("回答取 2 的幂", "power of two"),
    "oracle": Both("预知长度", "known length"),
    "blocks": Both("分页", "paged"),
}


@functools.cache
def requests(n: int = 90) -> tuple[Lengths, ...]:
    """Log-normal lengths; the means are those of the ShareGPT trace in the paper, 161 and 338."""
    rng = random.Random(0)

    def length(mean: float, sigma: float) -> int:
        return max(1, round(rng.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)))

    drawn = (Lengths(length(161, 1.0), length(338, 0.9)) for _ in range(10 * n))
    return tuple([lengths for lengths in drawn if lengths.total <= MAXIMUM][:n])


def mean_total() -> float:
    return statistics.fmean(lengths.total for lengths in requests())


@functools.lru_cache(maxsize=64)
def served(way: str, block_size: int = 16) -> list[MemoryUse]:
    """The same requests, served with the memory managed in this way."""
    if way == "blocks":
        return serve_in_blocks(requests(), N_SLOTS, block_size)
    sizes: dict[str, Callable[[Lengths], int]] = {
        "max": lambda lengths: MAXIMUM,
        "pow2": lambda lengths: lengths.prompt + power_of_two(lengths.answer),
        "oracle": lambda lengths: lengths.total,
    }
    return serve_in_pieces(requests(), N_SLOTS, FirstFit if way == "max" else Buddy, sizes[way])


def busy(way: str, block_size: int) -> list[MemoryUse]:
    """The steps in which somebody waits: with an empty queue, memory is free for want of work."""
    return [use for use in served(way, block_size) if use.waiting]


@value
def share(way: str, kind: str = "used", block_size: int = 16) -> float:
    """Per cent of the slots, on average while somebody waits."""
    kinds = ("external", "free") if kind == "outside" else (kind,)
    slots = (sum(getattr(use, name) for name in kinds) for use in busy(way, block_size))
    return 100 * statistics.fmean(slots) / N_SLOTS


@value
def running(way: str, block_size: int = 16) -> float:
    """Texts that are written at the same time, on average while somebody waits."""
    return statistics.fmean(use.running for use in busy(way, block_size))


@value
def more_running() -> float:
    return running("blocks") / running("max")


@figure(
    title=Both(
        "同样的 90 个请求，四种分法，内存去了哪里", "The same 90 requests, four ways, and where memory goes"
    ),
    predict=Predict(
        Both(
            "每个请求进来就按上限 2048 个 token 占一整块。内存满了的时候，真正写着 key 和 value 的占多少？",
            "Each request takes a piece of the maximum, 2048 tokens, when it comes. When memory is full, how much of it holds keys "
            "and values?",
        ),
        low=0.0,
        high=100.0,
        step=1.0,
        unit="%",
        answer=lambda: share("max"),
        explain=lambda: Both(
            f"{share('max'):.0f}%。一个请求写完，平均也只有 {mean_total():.0f} 个 token，写到一半时更少，剩下的全锁着。"
            f"分页以后是 {share('blocks'):.0f}%。",
            f"{share('max'):.0f} %. A request that is done has {mean_total():.0f} tokens on average, and fewer while it is being written; the "
            f"rest is locked up. With pages it is {share('blocks'):.0f} %.",
        ),
    ),
)
def waste(
    compare: Annotated[bool, Toggle(label=Both("四种一起看", "all four ways"))] = False,
    block_size: Annotated[
        int,
        Choice([(n, Both.same(str(n))) for n in (1, 4, 16, 64, 128)], label=Both("块的大小", "block size")),
    ] = 16,
) -> list[Bars | Text]:
    ways = WAYS if compare else {"blocks": WAYS["blocks"]}
    return [
        Bars(
            list(ways.values()),
            series={name: [share(way, kind, block_size) for way in ways] for kind, name in KINDS.items()},
            y_label=Both("占全部槽位", "share of all slots"),
            unit="%",
            y_max=110,
        ),
        Text(
            Both(
                "同时在跑的请求，平均："
                + "，".join(f"{name.zh} {running(way, block_size):.1f}" for way, name in ways.items())
                + "。",
                "Requests that run at the same time, on average: "
                + ", ".join(f"{name.en} {running(way, block_size):.1f}" for way, name in ways.items())
                + ".",
            )
        ),
    ]


# ---------------------------------------------------------------- the life of a few blocks

SIZE, N_BLOCKS = 4, 8
UNUSED, CACHED = 7, 6
NAMES = ("A", "B", "A′", "C")


@dataclass
class Stage:
    """A small pool at work, and what each of its slots holds: the token that was written there."""

    pool: BlockPool
    slots: list[list[str]]
    tables: dict[str, BlockTable]
    copies: int = 0

    def write(self, name: str, words: list[str]) -> None:
        table = self.tables[name]
        for copy in self.pool.extend(table, len(words)):
            self.slots[copy.target] = self.slots[copy.source].copy()
            self.copies += 1
        for i, word in enumerate(words, start=table.length):
            self.slots[table.blocks[i // SIZE]][i % SIZE] = word
        self.pool.commit(table, [token_of(word) for word in words])

    def open(self, name: str, words: list[str]) -> int:
        table = self.tables[name] = self.pool.open([token_of(word) for word in words])
        found = table.length
        self.write(name, words[found:])
        return found


VOCABULARY: dict[str, int] = {}


def token_of(word: str) -> int:
    return VOCABULARY.setdefault(word, len(VOCABULARY))


PROMPT = ["the", "cat", "sat", "on", "a", "mat"]
OTHER = ["why", "is", "the", "sky", "so", "blue", "today"]

Step = tuple[Callable[[Stage], object], Both]

LIFE: tuple[Step, ...] = (
    (
        lambda stage: stage.open("A", PROMPT),
        Both(
            "A 的提示有 6 个 token：要了两块，第二块空着两格。",
            "A has a prompt of 6 tokens: it took two blocks, and two slots of the second are empty.",
        ),
    ),
    (
        lambda stage: stage.open("B", OTHER),
        Both(
            "B 来了，7 个 token，又是两块。块是谁先要就给谁，两个人的块不必挨着。",
            "B comes with 7 tokens and takes two more. Whoever asks first gets a block; the blocks of a text need not be neighbours.",
        ),
    ),
    (
        lambda stage: (stage.write("A", ["and"]), stage.write("B", ["?"])),
        Both(
            "各写一个 token，都落在自己最后一块的空格里，谁也没要新块。B 的第二块满了。",
            "Each writes one token into the empty slots of its last block; nobody needs a new one. B's second block is full now.",
        ),
    ),
    (
        lambda stage: (stage.write("A", ["it"]), stage.write("B", ["because"])),
        Both(
            "再各写一个。A 正好写满；B 越过了块的边界，这时候才要第三块。",
            "One more each. A fills its block exactly; B crosses the border, and only now takes a third block.",
        ),
    ),
    (
        lambda stage: stage.write("A", ["was"]),
        Both("A 也越过边界，要了第三块。", "A crosses the border too and takes its third block."),
    ),
    (
        lambda stage: stage.tables.update({"A′": stage.pool.fork(stage.tables["A"])}),
        Both(
            "一题两答：从 A 分出 A′。一格也没有复制，只是 A 的三块，每块的引用数加了一。",
            "Two answers to one question: A′ forks off A. Nothing is copied; each of A's three blocks merely counts one more owner.",
        ),
    ),
    (
        lambda stage: stage.write("A′", ["tired"]),
        Both(
            "A′ 要写了，可最后一块是共享的、还没写满：先把这一块复制出来，再写。前两块满了，没人会再写它们，继续共享。",
            "A′ writes, and its last block is shared and not full: that one block is copied first. The two full ones will never be written again, so they stay shared.",
        ),
    ),
    (
        lambda stage: stage.write("A", ["warm"]),
        Both(
            "轮到 A 写。它那一块现在只有它自己用，直接写，不用复制。",
            "A writes. It is alone with its block now and writes in place, without a copy.",
        ),
    ),
    (
        lambda stage: (stage.pool.release(stage.tables.pop("A")), stage.pool.release(stage.tables.pop("A′"))),
        Both(
            "A 和 A′ 都答完了。写满的块没有擦掉，留着等人来找；没写满的两块直接还回去。",
            "A and A′ are done. Their full blocks are not wiped but kept, to be found; the two that are not full go back.",
        ),
    ),
    (
        lambda stage: stage.open("C", [*PROMPT, "and", "it", "purred"]),
        Both(
            "C 来了，前 8 个 token 与 A 一样：两块直接拿来用，只算最后一个 token。",
            "C comes, and its first 8 tokens are A's: two blocks are found, and only the last token is computed.",
        ),
    ),
)


def stage_after(n_steps: int) -> Stage:
    """The pool after so many steps of the story."""
    stage = Stage(shuffled_pool(N_BLOCKS, SIZE, seed=4), [[""] * SIZE for _ in range(N_BLOCKS)], {})
    for act, _ in LIFE[:n_steps]:
        act(stage)
    stage.pool.check_integrity(stage.tables.values())
    return stage


def block_row(stage: Stage, block: int) -> list[Token]:
    owners = [name for name, table in stage.tables.items() if block in table.blocks]
    state = stage.pool.states()[block]
    tone = {"unused": UNUSED, "cached": CACHED}.get(state, NAMES.index(owners[0]) if owners else UNUSED)
    if state == "shared":
        tone = 4
    who = ", ".join(owners)
    note = {
        "unused": Both("没人用", "unused"),
        "cached": Both("留着，可以被找到", "cached, can be found"),
        "owned": Both(f"归 {who}", f"owned by {who}"),
        "shared": Both(f"{who} 共享", f"shared by {who}"),
    }[state]
    filled = max(
        (
            min(SIZE, table.length - SIZE * table.blocks.index(block))
            for table in stage.tables.values()
            if block in table.blocks
        ),
        default=SIZE if state == "cached" else 0,
    )
    return [
        Token(word if i < filled else "·", tone=tone, note=note) for i, word in enumerate(stage.slots[block])
    ]


def owners_of(stage: Stage, block: int) -> str:
    return " ".join(name for name, table in stage.tables.items() if block in table.blocks)


@figure(
    title=Both("八块内存，几段文字", "Eight blocks, a few texts"),
    predict=Predict(
        Both(
            "看第 6 步：A 分成了 A 和 A′，各有 9 个 token，一共要占几块？",
            "Look ahead to step 6: A has become A and A′, 9 tokens each. How many blocks do the two take together?",
        ),
        choices=["3", "4", "5", "6"],
        answer=lambda: ["3", "4", "5", "6"].index(str(len(set(stage_after(6).tables["A"].blocks)))),
        explain=lambda: Both(
            "3 块：分叉只是把引用数加一。到第 7 步 A′ 要写时，才复制那一块没写满的，变成 4 块。",
            "3: a fork only counts owners. When A′ writes in step 7, the one block that is not full is copied, which makes 4.",
        ),
    ),
)
def life(
    step: Annotated[int, Slider(1, len(LIFE), label=Both("第几步", "step"))] = 4,
) -> list[Tokens | Table | Text]:
    stage = stage_after(step)
    rows = [block_row(stage, block) for block in range(N_BLOCKS)]
    free = stage.pool.n_free
    return [
        Text(LIFE[step - 1][1]),
        Tokens(
            rows,
            labels=[
                Both(f"块 {block}  {owners_of(stage, block)}", f"block {block}  {owners_of(stage, block)}")
                for block in range(N_BLOCKS)
            ],
            note=Both(
                "一行是一块物理内存，一格放一个 token 的 key 和 value（所有层）。灰色没人用，点是空格",
                "a row is a block of memory, a cell the keys and values of one token in all layers; grey is unused, a dot is an empty slot",
            ),
        ),
        Table(
            [Both("文字", "text"), Both("块表", "block table"), Both("写了几个", "tokens written")],
            [
                [name, " → ".join(str(block) for block in table.blocks), table.length]
                for name, table in stage.tables.items()
            ],
            note=Both(
                f"还能拿的块：{free}；到现在复制了 {stage.copies} 块",
                f"blocks that can be taken: {free}; blocks copied so far: {stage.copies}",
            ),
        ),
    ]


# ---------------------------------------------------------------- finding a prefix again

HIT, COMPUTED = 1, 0


def piece(token_id: int) -> str:
    token = tokenizer().vocabulary.tokens[token_id]
    try:
        return token.decode().replace(" ", "␣").replace("\n", "⏎")
    except UnicodeDecodeError:
        return token.hex(" ").upper()


@figure(
    title=Both("第二个请求能接着用多少", "How much the second request finds"),
    predict=Predict(
        Both(
            "把第一句的头一个词从 You 改成 They，其余一个字不动。块的大小是 4，第二个请求还能接着用几个 token？",
            "Change the first word of the first text from You to They and nothing else. With blocks of 4, how many tokens does the second request "
            "find?",
        ),
        choices=["0", "4", "8", "12"],
        answer=lambda: ["0", "4", "8", "12"].index(str(prefix_found("They" + FIRST[3:], SECOND, 4)[0])),
        explain=lambda: Both(
            "0。块的哈希里含着上一块的哈希，第一块变了，后面每一块都跟着变。这不是死板：key 和 value 本来就依赖前面所有的 token。",
            "None. The hash of a block contains that of the block before it, so a change in the first changes all. This is no pedantry: keys and values do depend on every token before them.",
        ),
    ),
)
def prefix(
    first: Annotated[
        str, TextInput(max_length=160, label=Both("先来的", "who came first"))
    ] = "You are a helpful assistant. Answer in one sentence. What is the capital of France?",
    second: Annotated[
        str, TextInput(max_length=160, label=Both("后来的", "who comes next"))
    ] = "You are a helpful assistant. Answer in one sentence. How do birds fly?",
    block_size: Annotated[
        int, Choice([(n, Both.same(str(n))) for n in (1, 2, 4, 8, 16)], label=Both("块的大小", "block size"))
    ] = 4,
) -> list[Tokens | Text]:
    found, ids = prefix_found(first, second, block_size)
    tokens = [
        Token(
            piece(token_id),
            tone=HIT if i < found else COMPUTED,
            note=Both("接着用", "found") if i < found else Both("要算", "computed"),
        )
        for i, token_id in enumerate(ids)
    ]
    same = common_prefix(tokenizer().encode(first), ids)
    return [
        Tokens(
            [tokens[i : i + block_size] for i in range(0, len(tokens), block_size)] or [[]],
            note=Both(
                "一行是一块；橙色找到了，蓝色要算", "a row is a block; orange is found, blue is computed"
            ),
        ),
        Text(
            Both(
                f"两句话开头有 {same} 个 token 相同，找到 {found} 个，要算 {len(ids) - found} 个。",
                f"The texts agree in their first {same} tokens; {found} are found, {len(ids) - found} are computed.",
            )
        ),
    ]


FIRST = "You are a helpful assistant. Answer in one sentence. What is the capital of France?"
SECOND = "You are a helpful assistant. Answer in one sentence. How do birds fly?"


def prefix_found(first: str, second: str, block_size: int) -> tuple[int, list[int]]:
    """How many tokens of the second text a pool hands over when the first has been served; its tokens."""
    one, two = tokenizer().encode(first), tokenizer().encode(second)
    pool = BlockPool(256, block_size)
    table = pool.open(one)
    pool.extend(table, len(one) - table.length)
    pool.commit(table, one[table.length :])
    pool.release(table)
    return pool.open(two).length, two


def common_prefix(one: list[int], two: list[int]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )


# ---------------------------------------------------------------- how large a block should be

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def mean_waste(block_size: int, mean_length: int) -> float:
    """Per cent of the slots of its blocks that a text leaves empty, over its life, for lengths 1 … 2·mean."""
    lengths = range(1, 2 * mean_length + 1)
    given = sum(-(-n // block_size) * block_size for n in lengths)
    return 100 * (given - sum(lengths)) / given


@value
def tail_waste(block_size: int = 16, mean_length: int = 400) -> float:
    return mean_waste(block_size, mean_length)


def lost_prefix(block_size: int, shared: int) -> int:
    """Tokens of a shared beginning that stand in a block which is not full of it."""
    return shared % block_size


@figure(title=Both("块该多大", "How large should a block be?"))
def block_size_choice(
    mean_length: Annotated[
        int, Slider(50, 2000, label=Both("平均长度（token）", "mean length (tokens)"), log=True)
    ] = 400,
    shared: Annotated[
        int, Slider(0, 300, label=Both("共享的开头（token）", "shared beginning (tokens)"))
    ] = 110,
) -> list[Lines | Bars]:
    return [
        Lines(
            {
                Both("最后一块空着的", "empty in the last block"): (
                    SIZES,
                    [mean_waste(size, mean_length) for size in SIZES],
                ),
                Both("开头里共享不了的", "of the beginning, not shared"): (
                    SIZES,
                    [100 * lost_prefix(size, shared) / max(1, shared) for size in SIZES],
                ),
            },
            x_label=Both("块的大小（token）", "block size (tokens)"),
            y_label="%",
            x_log=True,
            y_range=(0, 100),
            marks=[(16, "16")],
        ),
        Bars(
            [str(size) for size in SIZES],
            [-(-mean_length // size) for size in SIZES],
            x_label=Both("块的大小（token）", "block size (tokens)"),
            y_label=Both("一次注意力要找几块", "blocks to find for one attention"),
            y_max=1.2 * mean_length,
            highlight=SIZES.index(16),
        ),
    ]


# ---------------------------------------------------------------- labs


@lab(
    title=Both("内存一步一步被占满", "Memory fills up, step by step"),
    seconds=5,
    summary=Both(
        "90 个长短不一的请求排着队，四种分法各服务一遍：看同时在跑几个，一共要多少步。",
        "90 requests of mixed lengths wait in line and are served in four ways: how many run at once, and how many steps it takes.",
    ),
)
def fill_up(
    block_size: Annotated[
        int,
        Choice([(n, Both.same(str(n))) for n in (1, 4, 16, 64, 128)], label=Both("块的大小", "block size")),
    ] = 16,
) -> Iterator[Event]:
    rows = []
    for done, (way, name) in enumerate(WAYS.items()):
        yield Progress(done, len(WAYS), name)
        uses = served(way, block_size)
        for step in range(0, len(uses), max(1, len(uses) // 60)):
            yield Sample(
                name,
                x=step,
                y=uses[step].running,
                x_label=Both("第几步", "step"),
                y_label=Both("同时在跑的请求", "requests running"),
            )
        rows.append(
            [name, len(uses), round(running(way, block_size), 1)]
            + [f"{share(way, kind, block_size):.1f} %" for kind in KINDS]
        )
        columns = [Both("分法", "way"), Both("总步数", "steps"), Both("平均在跑", "running")]
        yield Show("table", Table([*columns, *KINDS.values()], rows))
    yield Progress(len(WAYS), len(WAYS))
    yield Metric(
        Both("按上限的步数是分页的", "steps with the maximum, against paged"),
        len(served("max")) / len(served("blocks", block_size)),
        "×",
    )


QUESTION = (
    "Here are the notes of a small workshop that repairs bicycles. Spring: forty chains, twelve wheels, nine saddles. Summer: sixty "
    "chains, thirty wheels, four saddles. Autumn: twenty chains, eight wheels, one saddle. The owner wants a short, friendly "
    "message to her customers about the past year. The message:"
)


def language_model() -> LanguageModel:
    return LanguageModel("SmolLM2-135M-Instruct", model(), tokenizer(), None, (), frozenset())


@lab(
    title=Both("一个问题，几个回答，占几块", "One question, several answers, how many blocks"),
    seconds=40,
    summary=Both(
        "真正的引擎，SmolLM2-135M：同一段提示并行采样，再做束搜索，每一步数一数用了几块，没有共享又要几块。",
        "The real engine with SmolLM2-135M: parallel samples of one prompt, then beam search. In each step, blocks in use, and blocks that would be in use without sharing.",
    ),
)
def sharing(
    n: Annotated[int, Slider(2, 8, label=Both("几个回答", "answers"))] = 6,
    n_tokens: Annotated[int, Slider(16, 64, step=8, label=Both("每个写几个 token", "tokens of each"))] = 32,
    block_size: Annotated[
        int, Choice([(k, Both.same(str(k))) for k in (4, 8, 16, 32)], label=Both("块的大小", "block size"))
    ] = 16,
) -> Iterator[Event]:
    yield Progress(0, 2 * n_tokens, Both("读入模型", "loading the model"))
    ids = tokenizer().encode(QUESTION)
    ways = {
        Both("并行采样", "parallel samples"): RequestOptions(
            sampling=Sampling(temperature=1.0, seed=1), max_tokens=n_tokens, n=n, end_tokens=frozenset()
        ),
        Both("束搜索", "beam search"): RequestOptions(
            max_tokens=n_tokens, n=1, beam=BeamSearch(num_beams=n), end_tokens=frozenset()
        ),
    }
    rows, done = [], 0
    for name, options in ways.items():
        engine = Engine(language_model(), EngineConfig(n_blocks=512, block_size=block_size))
        engine.add(ids, options)
        real, apart, step = 0, 0, 0
        while engine.has_work:
            engine.step()
            texts = engine.snapshot().texts
            if not texts:
                break
            step, done = step + 1, done + 1
            real = max(real, len({block for text in texts for block in text.blocks}))
            apart = max(apart, sum(len(text.blocks) for text in texts))
            axis = {"x": step, "x_label": Both("第几步", "step"), "y_label": Both("块", "blocks")}
            yield Sample(name, y=len({block for text in texts for block in text.blocks}), **axis)
            yield Sample(
                Both(f"{name.zh}，不共享", f"{name.en}, not shared"),
                y=sum(len(text.blocks) for text in texts),
                **axis,
            )
            yield Progress(min(done, 2 * n_tokens), 2 * n_tokens, name)
        rows.append([name, apart, real, f"{100 * (1 - real / apart):.0f} %"])
    yield Progress(2 * n_tokens, 2 * n_tokens)
    yield Show(
        "table",
        Table(
            [
                Both("怎么写", "how"),
                Both("最多时，不共享", "at most, not shared"),
                Both("最多时，共享", "at most, shared"),
                Both("省下", "saved"),
            ],
            rows,
            note=Both(f"提示有 {len(ids)} 个 token", f"the prompt has {len(ids)} tokens"),
        ),
    )


@lab(
    title=Both("块的大小，量一量", "Block sizes, measured"),
    seconds=25,
    summary=Both(
        "64 段长短不一的文字，各有一个新 token：一层注意力，块从 4 到 256，用真正的内核计时；再看空着多少。",
        "64 texts of mixed lengths with one new token each: one layer of attention with blocks of 4 to 256, timed with the real kernel, beside the slots left empty.",
    ),
)
def block_sizes(
    n_texts: Annotated[int, Slider(8, 128, step=8, label=Both("几段文字", "texts"))] = 64,
    mean_length: Annotated[int, Slider(64, 512, step=64, label=Both("平均长度", "mean length"))] = 256,
) -> Iterator[Event]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 2 * mean_length, n_texts)
    sizes = (4, 8, 16, 32, 64, 128, 256)
    rows = []
    shape = config().n_kv_heads, config().head_dim
    q = torch.randn(n_texts, config().n_heads, config().head_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if not fast.can_run(torch.zeros(1, 16, *shape)):
            yield Say(
                Both(
                    "这台电脑上没有编译好的内核，下面用收集的办法代替。",
                    "There is no compiled kernel on this computer; gathering takes its place below.",
                )
            )
        for done, size in enumerate(sizes):
            yield Progress(done, len(sizes), Both(f"块 {size}", f"blocks of {size}"))
            counts = -(-lengths // size)
            order = rng.permutation(counts.sum()).astype(np.int32)
            tables = np.zeros((n_texts, counts.max()), np.int32)
            for row, blocks in zip(tables, np.split(order, np.cumsum(counts)[:-1]), strict=True):
                row[: len(blocks)] = blocks
            keys, values = torch.randn(2, counts.sum(), size, *shape)
            milliseconds = timed(attention_of(q, keys, values, tables, lengths))
            empty = 100 * (1 - lengths.sum() / (counts.sum() * size))
            rows.append([size, int(counts.sum()), f"{empty:.1f} %", round(milliseconds, 2)])
            axis = {
                "x": size,
                "x_label": Both("块的大小", "block size"),
                "y_label": Both("毫秒 / %", "ms / %"),
            }
            yield Sample(Both("一层注意力，毫秒", "one layer of attention, ms"), y=milliseconds, **axis)
            yield Sample(Both("空着的槽位，%", "slots left empty, %"), y=empty, **axis)
            columns = [
                Both("块的大小", "block size"),
                Both("块", "blocks"),
                Both("空着", "left empty"),
                Both("毫秒", "ms"),
            ]
            yield Show("table", Table(columns, rows))
    yield Progress(len(sizes), len(sizes))


def attention_of(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, tables: np.ndarray, lengths: np.ndarray
) -> Callable[[], object]:
    n_texts = len(tables)
    if not fast.can_run(keys):
        table, n_keys = torch.from_numpy(tables), torch.from_numpy(lengths)
        return lambda: paged_decode_attention(q, keys, values, table, n_keys)
    rows = PagedRows(tables, np.arange(n_texts), np.arange(n_texts), lengths)
    out = torch.empty_like(q)
    return lambda: paged_rows_attention(q, keys, values, rows, out)


def timed(work: Callable[[], object], times: int = 25) -> float:
    """Milliseconds, the best of some runs: whatever else the computer does can only make one slower."""
    work()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds)


PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "Water boils at",
)


@lab(
    title=Both("用你的注意力，让三段话一起写下去", "Three texts go on together, on your attention"),
    seconds=40,
    summary=Both(
        "SmolLM2-135M 的 30 层都经过可读的 paged_attention，三段长短不同的话同一批往下写，块是打乱的。打开“用我写的函数来跑”，它就换成你写的。",
        "All 30 layers of SmolLM2-135M attend by the readable paged_attention; three texts of different lengths go on in one batch, in shuffled blocks. Turn on “Run it with my function” and it becomes yours.",
    ),
)
def your_paged_attention(
    n_tokens: Annotated[int, Slider(8, 48, step=8, label=Both("每段写几个 token", "tokens of each"))] = 16,
    block_size: Annotated[
        int, Choice([(k, Both.same(str(k))) for k in (1, 4, 16)], label=Both("块的大小", "block size"))
    ] = 4,
) -> Iterator[Event]:
    yield Progress(0, n_tokens, Both("读入模型", "loading the model"))
    llama, words = model(), tokenizer()
    texts = [words.encode(prompt) for prompt in PROMPTS]
    n_blocks = 4 + sum(-(-(len(text) + n_tokens) // block_size) for text in texts)
    pool, kv = shuffled_pool(n_blocks, block_size), PagedKV.for_model(llama.config, n_blocks, block_size)
    tables = [pool.open([]) for _ in texts]
    new, largest = [text.copy() for text in texts], 0.0
    with torch.inference_mode():
        for step in range(1, n_tokens + 1):
            for table, tokens in zip(tables, new, strict=True):
                pool.extend(table, len(tokens))
            parts = [(table, len(tokens)) for table, tokens in zip(tables, new, strict=True)]
            row = torch.tensor([[token for tokens in new for token in tokens]])
            ends = torch.tensor([len(tokens) for tokens in new]).cumsum(0) - 1
            logits = llama.head(llama.features(row, PagedBatch(kv, parts, readable=True))[0, ends])
            for table, tokens in zip(tables, new, strict=True):
                pool.commit(table, tokens)
            if step == 1:
                alone = torch.cat([llama(torch.tensor([text]), last_only=True)[0] for text in texts])
                largest = (logits - alone).abs().max().item()
                yield Metric(
                    Both("logits 与各自单独算相差最多", "largest difference of logits from each text alone"),
                    largest,
                )
                if not math.isfinite(largest):
                    yield Say(Both("你的函数得到了 NaN。", "Your function gave NaN."))
                    return
            new = [[int(chosen)] for chosen in logits.argmax(-1)]
            texts = [[*text, *tokens] for text, tokens in zip(texts, new, strict=True)]
            yield Progress(step, n_tokens)
            yield Show("texts", Table([Both("文字", "text")], [[words.decode(text)] for text in texts]))
    yield Show(
        "tables",
        Table(
            [Both("文字", "text"), Both("块表", "block table")],
            [[i + 1, " ".join(map(str, table.blocks))] for i, table in enumerate(tables)],
        ),
    )


def shuffled_pool(n_blocks: int, block_size: int, seed: int = 0) -> BlockPool:
    """A pool that hands out its blocks in no order, as one does that has been in use for a while."""
    pool = BlockPool(n_blocks, block_size)
    owners = [pool.open([]) for _ in range(n_blocks)]
    for table in owners:
        pool.extend(table, 1)
    random.Random(seed).shuffle(owners)
    for table in owners:
        pool.release(table)
    return pool


# ---------------------------------------------------------------- what is the same


@value
def blockwise_difference() -> float:
    """The largest difference between attention block by block and over what was gathered from them."""
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 20, 4, 3, 16, generator=generator)
    q = torch.randn(5, 9, 16, generator=generator)
    table = torch.randperm(20, generator=generator)
    blockwise = paged_attention_blockwise(q, keys, values, table, 78)
    return (blockwise - paged_attention(q, keys, values, table, 78)).abs().max().item()

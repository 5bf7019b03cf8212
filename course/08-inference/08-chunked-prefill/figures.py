"""Figures, labs and values of lesson 8.8: prompts in chunks, beside decoding."""

from __future__ import annotations

import functools
import inspect
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

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
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import CHAT_MODEL, config, file, model, tokenizer
from teachllm.stack.inference.engine import scheduler
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import RequestOptions, TokenOut
from teachllm.stack.inference.language_model import LanguageModel, load_language_model
from teachllm.stack.inference.simulation.chunking import (
    balanced_ratio,
    chunked_prefill_seconds,
    decode_slots,
    reread_positions,
)
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.metrics import percentile, tpots, ttfts
from teachllm.stack.inference.simulation.pipeline import bubble_share, pipeline_starts
from teachllm.stack.inference.simulation.policy import (
    Policy,
    chunked,
    decode_maximal,
    mixed,
    prompts_first,
)
from teachllm.stack.inference.simulation.profiles import A100, A6000, OPT_13B
from teachllm.stack.inference.simulation.simulator import Pool, simulate
from teachllm.stack.inference.simulation.worker import Step
from teachllm.stack.inference.simulation.workload import Arrival, constant, lognormal, poisson_arrivals
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.nn.kv_cache import KVCache

# The paper's machine, the same with whole tiles, and one that was measured step by step.
LLAMA_13B = StepTimes(PRESETS["llama2-13b"], A6000)
TILE = 128
TILED = StepTimes(PRESETS["llama2-13b"], replace(A6000, tile=TILE))
SERVED = StepTimes(OPT_13B, A100)


# ---------------------------------------------------------------- who decodes rides along


@value
def step_ms(prompt: int, decoding: int, length: int = 1024) -> float:
    """LLaMA-13B on A6000: a step that reads `prompt` tokens while `decoding` texts get their next one."""
    pieces = [(0, prompt)] * (prompt > 0) + [(length - 1, 1)] * decoding
    return 1e3 * LLAMA_13B.seconds(pieces, len(pieces))


@value
def token_ms(prompt: int, decoding: int, length: int = 1024) -> float:
    """Milliseconds a decoded token: of a step of its own (prompt = 0), or what it adds to a step that reads
    `prompt` tokens anyway.
    """
    step = step_ms(prompt, decoding, length)
    return (step - (step_ms(prompt, 0) if prompt else 0)) / decoding


@value
def in_their_place_ms(tokens: int, decoding: int, length: int = 1024) -> float:
    """What a decoded token adds as table 2 of the paper counts it: against a step of as many tokens, all of
    them of a prompt.
    """
    return (step_ms(tokens - decoding, decoding, length) - step_ms(tokens, 0)) / decoding


@value
def prefill_token_ms(prompt: int = 1024) -> float:
    """Milliseconds a token of a prompt that is read whole."""
    return step_ms(prompt, 0) / prompt


@value
def decode_over_prefill(decoding: int) -> float:
    """How many times as long a decoded token takes as one of a prompt."""
    return token_ms(0, decoding) / prefill_token_ms()


@value
def own_cache_ms(length: int = 1024) -> float:
    """How long the cache of one text takes to be read."""
    return 1e3 * length * LLAMA_13B.cache_bytes_per_token / LLAMA_13B.device.reached_bandwidth


@value
def weights_ms() -> float:
    """How long all the weights take to be read."""
    return 1e3 * LLAMA_13B.work([(0, 1)], 1).weight_bytes / LLAMA_13B.device.reached_bandwidth


@figure(
    title=Both("搭车：一个 token 多花多少，又要等多久", "Riding along: what a token costs, and how long it takes"),
    predict=Predict(
        Both(
            f"下面各人已有 1024 个 token，搭车的每个多花 {token_ms(256, 3):.1f} 毫秒。换成各有 4096 个，每个多花多少？",
            f"Below each text has 1,024 tokens, and a token on the ride adds {token_ms(256, 3):.1f} ms. How much does it add if each has 4,096?",
        ),
        low=0,
        high=12,
        step=0.1,
        unit="ms",
        answer=lambda: token_ms(256, 3, 4096),
        explain=lambda: Both(
            f"{token_ms(256, 3, 4096):.1f} 毫秒，几乎是 4 倍：其中 {own_cache_ms(4096):.1f} 毫秒在读自己的缓存，搭车省不掉。",
            f"{token_ms(256, 3, 4096):.1f} ms, almost 4 times as much: {own_cache_ms(4096):.1f} of them read its own cache, which a ride does not save.",
        ),
    ),
)  # fmt: skip
def riding_along(
    chunk: Annotated[int, Slider(64, 1024, step=64, label=Both("块", "chunk"), unit="token")] = 256,
    length: Annotated[
        int, Slider(256, 4096, step=256, label=Both("各人已有", "length of each text"), unit="token")
    ] = 1024,
) -> list[Lines]:
    counts = range(1, 18)
    people = Both("同时解码的请求", "texts that decode")
    alone, beside = Both("单独一步", "a step of their own"), Both("搭块的车", "beside a chunk")
    return [
        Lines(
            {
                alone: (counts, [token_ms(0, n, length) for n in counts]),
                beside: (counts, [token_ms(chunk, n, length) for n in counts]),
            },
            title=Both("每个 token 多花的机器时间", "machine time that a token adds"),
            x_label=people,
            y_label=Both("毫秒", "milliseconds"),
            y_log=True,
        ),
        Lines(
            {
                alone: (counts, [step_ms(0, n, length) for n in counts]),
                beside: (counts, [step_ms(chunk, n, length) for n in counts]),
            },
            title=Both("隔多久来下一个字", "how long until the next token"),
            x_label=people,
            y_label=Both("毫秒", "milliseconds"),
        ),
    ]


# ---------------------------------------------------------------- what a chunk costs


@value
def slots(length: int = 1024) -> float:
    return decode_slots(LLAMA_13B, length)


@value
def ratio(chunk: int, texts: int = 18) -> float:
    return balanced_ratio(chunk, texts)


@value
def reread(prompt: int, chunk: int) -> float:
    return reread_positions(prompt, chunk)


@value
def reread_ms(prompt: int, chunk: int) -> float:
    """How long the cache alone takes to be read again."""
    n_bytes = reread_positions(prompt, chunk) * LLAMA_13B.cache_bytes_per_token
    return 1e3 * n_bytes / LLAMA_13B.device.reached_bandwidth


def prompt_ms(prompt: int, chunk: int) -> float:
    """A prompt in chunks, nothing beside it."""
    return 1e3 * chunked_prefill_seconds(LLAMA_13B, prompt, chunk)


@value
def slower(prompt: int, chunk: int) -> float:
    """How many times as long a prompt takes in chunks, nothing beside it."""
    return prompt_ms(prompt, chunk) / prompt_ms(prompt, prompt)


@value
def break_even(decode_share: float = 0.9, decode_gain: float = 2.0) -> float:
    """How many times as long prompts may take if decoding was `decode_share` of all and gets faster."""
    return (1 - decode_share / decode_gain) / (1 - decode_share)


@figure(
    title=Both("切得越碎，读一个提示要多久", "How long a prompt takes, cut finer and finer"),
    predict=Predict(
        Both(
            "下面是每块 256 起。如果每块只有 32 个 token，读 1024 个 token 的提示要多久，是不切的几倍？",
            "Below, chunks of 256 and more. With chunks of 32, how many times as long does a prompt of 1,024 tokens take?",
        ),
        low=1,
        high=10,
        step=0.1,
        answer=lambda: slower(1024, 32),
        explain=lambda: Both(
            f"{slower(1024, 32):.1f} 倍，多了 {prompt_ms(1024, 32) - prompt_ms(1024, 1024):,.0f} 毫秒。重读缓存只占其中不到 {reread_ms(1024, 32):.0f} 毫秒；多数是每步都要把全部权重读一遍，而 32 个 token 填不满算力。",
            f"{slower(1024, 32):.1f} times, {prompt_ms(1024, 32) - prompt_ms(1024, 1024):,.0f} ms more. The cache that is read again is at most {reread_ms(1024, 32):.0f} of them; the rest is that every step reads all the weights, and 32 tokens do not fill the arithmetic.",
        ),
    ),
)
def cost_of_chunks(
    prompt: Annotated[int, Slider(512, 4096, step=512, label=Both("提示", "prompt"), unit="token")] = 1024,
    smallest: Annotated[
        int, Slider(16, 256, step=16, label=Both("最小的块", "smallest chunk"), unit="token")
    ] = 256,
) -> Lines:
    sizes = [size for size in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024) if size >= smallest]
    return Lines(
        {
            Both("读完提示", "the prompt"): (sizes, [prompt_ms(prompt, size) for size in sizes]),
            Both("其中一步", "one step of it"): (
                sizes,
                [1e3 * LLAMA_13B.seconds([(0, min(size, prompt))], 0) for size in sizes],
            ),
        },
        x_label=Both("每块的 token", "tokens of a chunk"),
        y_label=Both("毫秒", "milliseconds"),
        x_log=True,
    )


# ---------------------------------------------------------------- whole tiles


@value
def tiled_ms(chunk: int, decoding: int = 0) -> float:
    """A step of a chunk and, besides, `decoding` texts, where the matrices take whole tiles of 128 rows."""
    pieces = [(0, chunk)] * (chunk > 0) + [(1023, 1)] * decoding
    return 1e3 * TILED.seconds(pieces, len(pieces))


@value
def one_more() -> float:
    """How much longer a step of 257 tokens is than one of 256."""
    return tiled_ms(257) / tiled_ms(256) - 1


@figure(
    title=Both("多一个 token，多算一整份 tile", "One token more, a whole tile more"),
    predict=Predict(
        Both(
            "17 个人搭车：一种是块取 239，一共 256 行；一种是块取 256，一共 273 行，按 384 行付钱。后一种的一步长百分之几？",
            "17 ride along, with a chunk of 239, which makes 256 rows, or with one of 256, which makes 273 and is paid for as 384. How many per cent longer is the second step?",
        ),
        low=0,
        high=100,
        step=1,
        unit="%",
        answer=lambda: 100 * (tiled_ms(256, 17) / tiled_ms(239, 17) - 1),
        explain=lambda: Both(
            f"{100 * (tiled_ms(256, 17) / tiled_ms(239, 17) - 1):.0f}%：矩阵多算一半，可是两种步里都有 {17 * own_cache_ms():.0f} 毫秒在读 17 个人的缓存，这一笔不变。多出来的 {tiled_ms(256, 17) - tiled_ms(239, 17):.0f} 毫秒只多读了 17 个 token。",
            f"{100 * (tiled_ms(256, 17) / tiled_ms(239, 17) - 1):.0f}%: matrices take half as long again, but {17 * own_cache_ms():.0f} ms of both steps read the 17 caches. The {tiled_ms(256, 17) - tiled_ms(239, 17):.0f} ms more read just 17 more tokens of the prompt.",
        ),
    ),
)  # fmt: skip
def whole_tiles(
    chunk: Annotated[int, Slider(128, 512, step=1, label=Both("块", "chunk"), unit="token")] = 256,
    decoding: Annotated[int, Slider(0, 32, label=Both("搭车解码的", "texts that decode"))] = 17,
) -> list[Lines | Text]:
    sizes = range(112, 529, 4)
    outside, inside = tiled_ms(chunk, decoding), tiled_ms(chunk - decoding, decoding)
    rows = TILED.device.rows(chunk + decoding)
    return [
        Lines(
            {
                Both("块之外再加解码的", "chunk, and those who decode on top"): (
                    sizes,
                    [tiled_ms(size, decoding) for size in sizes],
                ),
                Both("块里让出解码的", "chunk that makes room for them"): (
                    sizes,
                    [tiled_ms(size - decoding, decoding) for size in sizes],
                ),
            },
            x_label=Both("块的大小 C", "size of the chunk, C"),
            y_label=Both("一步（毫秒）", "a step (ms)"),
            y_range=(0, 200),
            marks=[(chunk, Both("选的块", "chosen"))],
        ),
        Text(
            Both(
                f"C = {chunk}：再加 {decoding} 个，一共 {chunk + decoding} 行，按 {rows} 行算，{outside:.0f} 毫秒；让出 {decoding} 个，{chunk} 行按 {TILED.device.rows(chunk)} 行算，{inside:.0f} 毫秒。",
                f"C = {chunk}: with {decoding} on top, {chunk + decoding} rows cost as many as {rows}, {outside:.0f} ms; with {decoding} inside, {chunk} rows cost as many as {TILED.device.rows(chunk)}, {inside:.0f} ms.",
            )
        ),
    ]


# ---------------------------------------------------------------- where the gain is largest


@functools.cache
def seconds_to_serve(policy: str, ratio_: float, texts: int) -> float:
    """All at once: four rounds of `texts` requests of 1,024 tokens, prompt and answer together."""
    prompt = min(1023, max(1, round(1024 * ratio_ / (ratio_ + 1))))
    how = prompts_first(4096) if policy == "whole" else chunked(int(policy))
    requests = [Arrival(0.0, prompt, 1024 - prompt)] * (4 * texts)
    return max(job.last_token for job in simulate(requests, Pool(LLAMA_13B, how, max_running=texts)).jobs)


@value
def gain(chunk: int, ratio: float, texts: int = 18) -> float:
    return seconds_to_serve("whole", ratio, texts) / seconds_to_serve(str(chunk), ratio, texts)


RATIOS = (2, 5, 10, 15, 30, 60, 120)


@figure(
    title=Both("提示和回答的比例，与快了几倍", "Prompt to answer, and how much faster"),
    predict=Predict(
        Both(
            "18 个请求，每块 256。提示是回答的多少倍时，分块的好处最大？",
            "18 requests, chunks of 256. How many times as long as the answer is the prompt where chunks help most?",
        ),
        choices=[Both("2 倍", "2 times"), Both("15 倍", "15 times"), Both("120 倍", "120 times")],
        answer=lambda: max(range(3), key=lambda i: gain(256, (2, 15, 120)[i])),
        explain=lambda: Both(
            f"15 倍附近，快 {gain(256, 15):.2f} 倍：C/(B−1) = {ratio(256):.0f}，提示的块数正好等于要解码的步数。2 倍时块早早用完，只快 {gain(256, 2):.2f} 倍；120 倍时没有几个人搭车，只有 {gain(256, 120):.2f} 倍。",
            f"Near 15, where it is {gain(256, 15):.2f} times as fast: C/(B−1) = {ratio(256):.0f}, as many chunks as steps of decoding. At 2 the chunks are soon used up, {gain(256, 2):.2f}; at 120 hardly anybody rides along, {gain(256, 120):.2f}.",
        ),
    ),
)
def where_it_pays(
    texts: Annotated[int, Slider(6, 18, step=4, label=Both("同时的请求 B", "requests at a time, B"))] = 18,
) -> list[Lines | Text]:
    return [
        Lines(
            {
                Both(f"每块 {chunk}", f"chunks of {chunk}"): (RATIOS, [gain(chunk, r, texts) for r in RATIOS])
                for chunk in (128, 256, 512)
            },
            x_label=Both("提示 : 回答（P : D）", "prompt : answer (P : D)"),
            y_label=Both("比整段读快几倍", "times as fast as whole prompts"),
            x_log=True,
        ),
        Text(
            Both(
                f"C / (B − 1)：{ratio(128, texts):.0f}、{ratio(256, texts):.0f}、{ratio(512, texts):.0f}。",
                f"C / (B − 1): {ratio(128, texts):.0f}, {ratio(256, texts):.0f}, {ratio(512, texts):.0f}.",
            )
        ),
    ]


# ---------------------------------------------------------------- the budget of a step


@functools.cache
def felt(budget: int, rate: float, prompt: int) -> tuple[float, float]:
    """OPT-13B on A100: (P90 of TTFT, P90 of the longest gap) in milliseconds."""
    requests = poisson_arrivals(rate, 100, constant(prompt), constant(48))
    jobs = simulate(requests, Pool(SERVED, chunked(budget))).jobs
    return 1e3 * percentile(ttfts(jobs), 90), 1e3 * percentile([job.longest_gap for job in jobs], 90)


@value
def p90(what: str, budget: int, rate: float = 2.0, prompt: int = 1024) -> float:
    """``ttft`` or ``gap`` in milliseconds."""
    return felt(budget, rate, prompt)[0 if what == "ttft" else 1]


@figure(title=Both("每步的预算：谁等得久", "The budget of a step: who waits"))
def budget_sweep(
    rate: Annotated[float, Slider(0.5, 3.5, step=0.5, label=Both("每秒的请求", "requests a second"))] = 2.0,
    prompt: Annotated[int, Slider(256, 2048, step=256, label=Both("提示", "prompt"), unit="token")] = 1024,
) -> Lines:
    budgets = (64, 128, 256, 512, 1024, 2048)
    return Lines(
        {
            Both("首 token（P90）", "first token (P90)"): (
                budgets,
                [felt(b, rate, prompt)[0] for b in budgets],
            ),
            Both("最长的停顿（P90）", "longest stall (P90)"): (
                budgets,
                [felt(b, rate, prompt)[1] for b in budgets],
            ),
        },
        x_label=Both("每步的 token 预算", "token budget of a step"),
        y_label=Both("毫秒", "milliseconds"),
        x_log=True,
        y_log=True,
    )


# ---------------------------------------------------------------- bubbles


BAND = 6  # rows of square cells for each stage


def gantt_rows(
    starts: Sequence[Sequence[float]],
    stage_seconds: Sequence[float],
    values: Sequence[float],
    begun: float,
    width: float,
    columns: int = 58,
) -> list[list[float | None]]:
    """A band of rows for each stage: in each of `columns` moments the value of the batch in it, or None."""
    rows: list[list[float | None]] = [[None] * columns for _ in starts[0]]

    def column(at: float) -> int:
        """The first whose middle is not before `at`."""
        return min(columns, max(0, math.ceil((at - begun) / width * columns - 0.5)))

    for row, seconds, shown in zip(starts, stage_seconds, values, strict=True):
        for stage, start in enumerate(row):
            for i in range(column(start), column(start + seconds)):
                rows[stage][i] = shown
    return [row for row in rows for _ in range(BAND)]


def band_labels(stages: int) -> list[str]:
    return [str(1 + i // BAND) if i % BAND == 0 else "" for i in range(stages * BAND)]


CAUSES: dict[str, Both] = {
    "PB1": Both("PB1：提示有长有短", "PB1: prompts differ"),
    "PB2": Both("PB2：读提示和解码相间", "PB2: reading and decoding in turn"),
    "PB3": Both("PB3：缓存有深有浅", "PB3: caches differ"),
    "chunks": Both("SARATHI：每批一块加解码", "SARATHI: a chunk and decodes in each"),
}
BATCHES = 12


def batches(cause: str, stages: int) -> list[float]:
    """Seconds that a stage takes for each of some batches of LLaMA-13B."""
    decodes = [(1023, 1)] * 9
    pieces = {
        "PB1": [[(0, n)] for n in (1024, 256, 640, 128) * 3],
        "PB2": [[(0, 768)], decodes] * 6,
        "PB3": [[(3071, 1)] * 9, [(127, 1)] * 9] * 6,
        "chunks": [[(247 * (i % 4), 247), *decodes] for i in range(BATCHES)],
    }[cause]
    return [LLAMA_13B.seconds(batch, len(batch)) / stages for batch in pieces]


@value
def bubbles_by_cause(cause: str, stages: int = 2) -> float:
    seconds = batches(cause, stages)
    return bubble_share(pipeline_starts(seconds, stages), seconds)


@figure(title=Both("三种气泡，和没有气泡", "Three kinds of bubbles, and none"))
def three_bubbles(
    cause: Annotated[str, Choice(list(CAUSES.items()), label=Both("每批里是什么", "what the batches hold"))] = "PB1",
    stages: Annotated[int, Slider(2, 4, label=Both("段", "stages"))] = 2,
) -> list[Heatmap | Text]:  # fmt: skip
    seconds = batches(cause, stages)
    starts = pipeline_starts(seconds, stages)
    end = starts[-1][-1] + seconds[-1]
    idle = bubble_share(starts, seconds)
    return [
        Heatmap(
            gantt_rows(starts, seconds, [3 - i % 3 for i in range(len(seconds))], 0.0, end),
            y_labels=band_labels(stages),
            x_label=Both(f"时间（一共 {1e3 * end:,.0f} 毫秒）", f"time ({1e3 * end:,.0f} ms in all)"),
            y_label=Both("段", "stage"),
            domain=(0, 4),
            note=Both("一种颜色一批，轮流用；空白：闲着", "a shade for each batch, in turn; blank: idle"),
        ),
        Text(
            Both(
                f"{BATCHES} 批，{stages} 段。各段有 {idle:.0%} 的时间闲着；批都一样长的话，只有灌满和排空，{(stages - 1) / (BATCHES + stages - 1):.0%}。",
                f"{BATCHES} batches, {stages} stages, idle {idle:.0%} of the time; equal batches would only have to fill and drain it, {(stages - 1) / (BATCHES + stages - 1):.0%}.",
            )
        ),
    ]


POLICIES: dict[str, tuple[Both, Policy]] = {
    "whole": (Both("先读提示", "prompts first"), prompts_first(4096)),
    "mixed": (Both("整段混在一批", "whole prompts, mixed"), mixed()),
    "chunked": (Both("分块 256", "chunks of 256"), chunked(256)),
}


@functools.cache
def pipeline_steps(policy: str, spread: float, stages: int) -> list[Step]:
    """40 requests a stage come at once; the steps until the last prompt is read. Behind that too few are left
    to fill the stages.
    """
    times = StepTimes(PRESETS["llama2-13b"], A6000, pipeline_stages=stages)
    lengths = poisson_arrivals(
        1, 40 * stages, lognormal(700, spread, 3000), lognormal(60, spread, 300), seed=2
    )
    requests = [Arrival(0.0, arrival.prompt, arrival.output) for arrival in lengths]
    pool = Pool(times, POLICIES[policy][1], max_running=18 * stages)
    steps = simulate(requests, pool).workers[0].steps
    return steps[: 1 + max(i for i, step in enumerate(steps) if step.prefill)]


@value
def bubbles(policy: str, spread: float = 0.7, stages: int = 4) -> float:
    steps = pipeline_steps(policy, spread, stages)
    return bubble_share([step.starts for step in steps], [step.stage_seconds for step in steps])


@figure(
    title=Both("流水线的每一段，什么时候闲着", "When each stage of a pipeline is idle"),
    predict=Predict(
        Both(
            "图里是分块。换成整段混批，四段流水线闲着的时间占多少？",
            "This is with chunks. With whole prompts in mixed batches, how much of their time are the four stages idle?",
        ),
        low=0,
        high=100,
        step=1,
        unit="%",
        answer=lambda: 100 * bubbles("mixed"),
        explain=lambda: Both(
            f"{100 * bubbles('mixed'):.0f}%；分块以后 {100 * bubbles('chunked'):.0f}%。每一步差不多长，后一段就不用等前一段。",
            f"{100 * bubbles('mixed'):.0f}%, and {100 * bubbles('chunked'):.0f}% with chunks: when steps are alike, no stage waits for another.",
        ),
    ),
)
def gantt(
    policy: Annotated[
        str, Choice([(key, name) for key, (name, _) in POLICIES.items()], label=Both("调度", "schedule"))
    ] = "chunked",
    spread: Annotated[
        float, Slider(0.0, 1.0, step=0.1, label=Both("长短相差", "spread of the lengths"))
    ] = 0.7,
    stages: Annotated[int, Slider(2, 6, label=Both("段", "stages"))] = 4,
) -> list[Heatmap | Text]:
    steps = pipeline_steps(policy, spread, stages)
    shares = [100 * step.prefill / (step.prefill + step.decode) for step in steps]
    rows = gantt_rows(
        [step.starts for step in steps],
        [step.stage_seconds for step in steps],
        shares,
        begun=steps[len(steps) // 4].starts[0],
        width=2.0,
    )
    idle = bubbles(policy, spread, stages)
    return [
        Heatmap(
            rows,
            y_labels=band_labels(stages),
            x_label=Both("时间（两秒）", "time (two seconds)"),
            y_label=Both("段", "stage"),
            domain=(0, 100),
            note=Both(
                "深浅：这一步里提示占百分之几；空白：闲着", "shade: per cent of prompt tokens; blank: idle"
            ),
        ),
        Text(
            Both(
                f"提示读完以前，各段有 {idle:.0%} 的时间闲着。",
                f"Until all prompts are read, the stages are idle {idle:.0%} of the time.",
            )
        ),
    ]


# ---------------------------------------------------------------- labs with the real model


def prompt_tokens(n: int) -> list[int]:
    """A real text to be read: the source of our own scheduler."""
    return tokenizer().encode(inspect.getsource(scheduler))[:n]


@torch.inference_mode()
def read_in_chunks(tokens: Sequence[int], chunk: int) -> tuple[torch.Tensor, KVCache, float]:
    """(logits of the last position, the cache, seconds)."""
    cache = KVCache.for_model(config(), len(tokens))
    begun = time.perf_counter()
    for start in range(0, len(tokens), chunk):
        logits = model()(torch.tensor([tokens[start : start + chunk]]), cache, last_only=True)
    return logits[0, -1], cache, time.perf_counter() - begun


@lab(
    title=Both("切开来读，结果一样吗", "Read in pieces: is it the same?"),
    seconds=25,
    summary=Both(
        "SmolLM2 把同一段提示整段读一遍，再切成越来越小的块读，逐个数比较。",
        "SmolLM2 reads the same prompt whole, then in smaller and smaller pieces; every number is compared.",
    ),
)
def the_same_numbers(
    n: Annotated[int, Slider(128, 1024, step=64, label=Both("提示", "prompt"), unit="token")] = 256,
) -> Iterator[Event]:
    tokens, rows = prompt_tokens(n), []
    sizes = (n, n // 2, 50, 16)
    yield Progress(0, len(sizes), Both("读入模型", "loading the model"))
    read_in_chunks(tokens[:64], 64)  # what is slow only once
    whole, whole_cache, _ = read_in_chunks(tokens, n)
    for done, size in enumerate(sizes, start=1):
        logits, cache, seconds = read_in_chunks(tokens, size)
        error = max(
            float((a - b).abs().max())
            for mine, theirs in ((cache.keys, whole_cache.keys), (cache.values, whole_cache.values))
            for a, b in zip(mine, theirs, strict=True)
        )
        next_token = tokenizer().decode([int(logits.argmax())])
        rows.append(
            [size, -(-n // size), reread_positions(n, size), f"{seconds:.2f}", f"{error:.0e}", f"{float((logits - whole).abs().max()):.0e}", repr(next_token)]
        )  # fmt: skip
        yield Progress(done, len(sizes))
        yield Show(
            "table",
            Table(
                [
                    Both("每块", "chunk"),
                    Both("步", "steps"),
                    Both("重读的位置", "positions read again"),
                    Both("秒", "seconds"),
                    Both("缓存最多差", "cache differs by"),
                    Both("logits 最多差", "logits differ by"),
                    Both("下一个 token", "next token"),
                ],
                rows,
            ),
        )
    yield Say(
        Both(
            "缓存和 logits 只差舍入：同样的数，换了次序相加。慢下来的原因不在重读缓存，在每一步都要读一遍全部权重。",
            "Cache and logits differ by rounding only: the same numbers, added in another order. What takes longer is not the cache read again but all the weights, read in every step.",
        )
    )


def stall(language_model: LanguageModel, budget: int, n: int, writers: int) -> tuple[float, float, float]:
    """Texts are being written when a prompt of `n` tokens comes: seconds of (an ordinary gap between two tokens,
    the longest one while the prompt is read, the newcomer's wait for its first token).
    """
    engine = Engine(
        language_model,
        EngineConfig(max_batch_tokens=budget, max_running=8, n_blocks=400, prefix_caching=False),
    )
    for i in range(writers):
        options = RequestOptions(max_tokens=1000, end_tokens=frozenset())
        engine.add(prompt_tokens(16 + i), options)
    for _ in range(8):
        engine.step()
    before = []
    for _ in range(6):
        begun = time.perf_counter()
        engine.step()
        before.append(time.perf_counter() - begun)
    newcomer = engine.add(prompt_tokens(n), RequestOptions(max_tokens=2, end_tokens=frozenset()))
    arrived, gaps = time.perf_counter(), []
    while True:
        begun = time.perf_counter()
        outputs = engine.step()
        gaps.append(time.perf_counter() - begun)
        if any(isinstance(output, TokenOut) and output.request == newcomer for output in outputs):
            return sorted(before)[len(before) // 2], max(gaps), time.perf_counter() - arrived


@lab(
    title=Both("真的引擎：预算多大，停多久", "The real engine: which budget, which stall"),
    seconds=40,
    summary=Both(
        "四个请求正在写，来了一个长提示。换几种预算，量别人停多久、新来的等多久。",
        "Four texts are being written when a long prompt comes. With several budgets: how long do the others stop, and how long does it wait?",
    ),
)
def stalls_here(
    n: Annotated[int, Slider(128, 1024, step=64, label=Both("新来的提示", "the new prompt"), unit="token")] = 256,
    writers: Annotated[int, Slider(1, 7, label=Both("正在写的", "being written"))] = 4,
) -> Iterator[Event]:  # fmt: skip
    budgets = (16, 64, 128, 512)
    yield Progress(0, len(budgets), Both("读入模型", "loading the model"))
    file()  # says what to do if the model is not there
    language_model = load_language_model(CHAT_MODEL, dtype=torch.bfloat16)
    rows: list[list[object]] = []
    for done, budget in enumerate(budgets, start=1):
        stall(language_model, budget, n, writers)  # kernels for these shapes are chosen the first time
        usual, longest, first = stall(language_model, budget, n, writers)
        rows.append([budget, round(1e3 * usual), round(1e3 * longest), round(1e3 * first)])
        yield Progress(done, len(budgets))
        name = Both("最长的停顿", "longest stall")
        yield Sample(name, x=budget, y=1e3 * longest, x_label=Both("预算", "budget"), y_label=Both("毫秒", "ms"))  # fmt: skip
        yield Sample(Both("新来的首 token", "the newcomer's first token"), x=budget, y=1e3 * first)
        yield Show(
            "table",
            Table(
                [
                    Both("预算", "budget"),
                    Both("平时隔多久（毫秒）", "ordinary gap (ms)"),
                    Both("最长停多久（毫秒）", "longest stall (ms)"),
                    Both("新来的首 token（毫秒）", "newcomer's first token (ms)"),
                ],
                rows,
            ),
        )


# ---------------------------------------------------------------- labs with the simulator


@lab(
    title=Both("块多大最快", "Which chunk is fastest"),
    seconds=15,
    summary=Both(
        "同样的请求，块从 32 到 1024：全部做完要多久，每个字隔多久，最长停多久。",
        "The same requests with chunks from 32 to 1,024: how long for all, how long a token, how long the longest stall.",
    ),
)
def chunk_sweep(
    ratio_: Annotated[
        int, Slider(2, 120, log=True, label=Both("提示 : 回答", "prompt : answer"))
    ] = 15,
    texts: Annotated[int, Slider(4, 18, label=Both("同时的请求 B", "requests at a time, B"))] = 18,
) -> Iterator[Event]:  # fmt: skip
    prompt = round(1024 * ratio_ / (ratio_ + 1))
    requests = [Arrival(0.0, prompt, 1024 - prompt)] * (6 * texts)
    tokens = 1024 * len(requests)
    rows: list[list[object]] = []
    found: dict[int, float] = {}
    sizes = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
    for done, size in enumerate(sizes, start=1):
        jobs = simulate(requests, Pool(LLAMA_13B, chunked(size), max_running=texts)).jobs
        found[size] = max(job.last_token for job in jobs)
        longest = max(job.longest_gap for job in jobs)
        rows.append(
            [size, f"{found[size]:.1f}", f"{tokens / found[size]:,.0f}", f"{1e3 * tpots(jobs).mean():.0f}", f"{1e3 * longest:.0f}"]
        )  # fmt: skip
        yield Progress(done, len(sizes))
        yield Sample(Both("全部做完", "all of them"), x=size, y=found[size], x_label=Both("每块的 token", "tokens of a chunk"), y_label=Both("秒", "seconds"))  # fmt: skip
        yield Show(
            "table",
            Table(
                [
                    Both("每块", "chunk"),
                    Both("全部做完（秒）", "all (s)"),
                    Both("每秒 token", "tokens/s"),
                    Both("TPOT（毫秒）", "TPOT (ms)"),
                    Both("最长停顿（毫秒）", "longest stall (ms)"),
                ],
                rows,
            ),
        )
    best = min(found, key=lambda size: found[size])
    whole = max(
        job.last_token
        for job in simulate(requests, Pool(LLAMA_13B, prompts_first(4096), max_running=texts)).jobs
    )
    yield Metric(Both("最快的块", "fastest chunk"), best, "token")
    yield Metric(
        Both("比先读提示快", "faster than prompts first by"), whole / found[best], Both("倍", "times")
    )
    yield Say(
        Both(
            f"块和解码正好一样多时，C = P:D × (B − 1) = {ratio_ * (texts - 1)}；试过的里面最快的是 {best}。",
            f"Chunks and decoding are balanced at C = P:D × (B − 1) = {ratio_ * (texts - 1)}; the fastest of those tried is {best}.",
        )
    )


@lab(
    title=Both("长短不齐和气泡", "Uneven lengths and bubbles"),
    seconds=15,
    summary=Both(
        "三种调度，提示和回答从一样长到相差悬殊，量流水线闲着的比例。",
        "Three schedules, from equal lengths to very different ones: how much of its time the pipeline is idle.",
    ),
)
def uneven_lengths(
    stages: Annotated[int, Slider(2, 6, label=Both("段", "stages"))] = 4,
) -> Iterator[Event]:
    spreads = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    done = 0
    for spread in spreads:
        for policy, (name, _) in POLICIES.items():
            idle = bubbles(policy, spread, stages)
            done += 1
            yield Progress(done, len(spreads) * len(POLICIES))
            yield Sample(name, x=spread, y=100 * idle, x_label=Both("长短相差（对数的标准差）", "spread (deviation of the logarithm)"), y_label=Both("闲着的时间（%）", "idle time (%)"))  # fmt: skip


@lab(
    title=Both("用你的批来服务", "Serving with your batches"),
    seconds=10,
    summary=Both(
        "模拟器每一步都问 SARATHI 的规则（或你写的函数）怎么分，和引擎的规则比一比。",
        "At every step the simulator asks SARATHI's rule, or your function, and is compared with the engine's rule.",
    ),
)
def your_batches(
    prompt: Annotated[int, Slider(64, 1024, step=16, label=Both("提示", "prompt"), unit="token")] = 960,
    budget: Annotated[int, Slider(128, 512, step=1, label=Both("预算", "budget"), unit="token")] = 256,
) -> Iterator[Event]:
    requests = [Arrival(0.0, prompt, 16)] * 54
    seconds: dict[str, float] = {}
    names = {"SARATHI": decode_maximal(budget, TILE), "engine": chunked(budget)}
    for done, (name, policy) in enumerate(names.items(), start=1):
        outcome = simulate(requests, Pool(TILED, policy, max_running=18))
        steps = outcome.workers[0].steps
        seconds[name] = max(job.last_token for job in outcome.jobs)
        whole = sum((step.prefill + step.decode) % TILE == 0 for step in steps) / len(steps)
        label = {"SARATHI": Both("每步一块", "one chunk a step"), "engine": Both("引擎的规则", "the engine's rule")}[name]  # fmt: skip
        yield Progress(done, len(names))
        yield Metric(Both(f"{label.zh}：全部做完", f"{label.en}: all done"), seconds[name], Both("秒", "s"))
        yield Metric(Both(f"{label.zh}：整份的步", f"{label.en}: steps of whole tiles"), 100 * whole, "%")
        shown = steps[20:30]
        yield Show(
            name,
            Bars(
                [str(20 + i) for i in range(len(shown))],
                series={
                    Both("提示的块", "chunks of prompts"): [step.prefill for step in shown],
                    Both("解码", "decoding"): [step.decode for step in shown],
                },
                title=label,
                x_label=Both("步", "step"),
                y_label="token",
            ),
        )
    yield Say(
        Both(
            f"每步一块用了引擎的规则的 {seconds['SARATHI'] / seconds['engine']:.2f} 倍时间。提示比一块短时，看看差多少。",
            f"One chunk a step takes {seconds['SARATHI'] / seconds['engine']:.2f} times as long as the engine's rule. Try prompts shorter than a chunk.",
        )
    )

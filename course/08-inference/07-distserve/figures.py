"""Figures, labs and values of lesson 8.7: prefill and decoding on different devices."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator
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
    Toggle,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import CHAT_MODEL, file
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Finished, RequestOptions
from teachllm.stack.inference.language_model import LanguageModel, load_language_model
from teachllm.stack.inference.simulation.calibration import Calibration, MeasuredStep, calibrate
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.inference.simulation.measure import COMPOSITIONS, measure_engine, times_on_this_device
from teachllm.stack.inference.simulation.metrics import (
    Objectives,
    attainment,
    percentile,
    slo_attainment,
    tpots,
    ttfts,
)
from teachllm.stack.inference.simulation.placement import best_split, decode_goodput, prefill_goodput
from teachllm.stack.inference.simulation.policy import chunked, mixed, prompts_first, prompts_only
from teachllm.stack.inference.simulation.profiles import (
    A100,
    A100_DATA_SHEET,
    H100,
    OPT_13B,
    published_a100_steps,
)
from teachllm.stack.inference.simulation.queueing import crossover_rate, mean_ttft
from teachllm.stack.inference.simulation.simulator import Outcome, Pool, simulate
from teachllm.stack.inference.simulation.workload import (
    Arrival,
    constant,
    first_tokens_only,
    poisson_arrivals,
)
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.nn.kv_cache import kv_cache_bytes

# The example of the paper: OPT-13B on A100, prompts of 512 tokens, answers of 64, and these objectives.
COST = StepTimes(OPT_13B, A100)
PROMPT, ANSWER = 512, 64
OBJECTIVES = Objectives(ttft=0.4, tpot=0.04)

SEED = 5  # of the arrivals: short traces that come near to what ten times as many requests give

PREFILL = Pool(COST, prompts_only(PROMPT))
DECODE = Pool(COST, chunked(512))


def pools(system: str, times: StepTimes = COST) -> tuple[Pool, ...]:
    """``together``, ``chunked``, or ``2P1D``: so many devices for prefill and for decoding."""
    if system == "together":
        return (Pool(times, prompts_first(2048)),)
    if system == "chunked":
        return (Pool(times, chunked(256)),)
    return (Pool(times, prompts_only(PROMPT), int(system[0])), Pool(times, chunked(512), int(system[2])))


def devices(system: str) -> int:
    return sum(pool.n_devices for pool in pools(system))


def served(
    system: str,
    rate: float,
    n: int,
    prompt: int = PROMPT,
    answer: int = ANSWER,
    times: StepTimes = COST,
) -> Outcome:
    """`n` requests, `rate` a second for all devices of the system together."""
    requests = poisson_arrivals(rate, n, constant(prompt), constant(answer), seed=SEED)
    return simulate(requests, *pools(system, times), link=times.device.link)


SYSTEMS: dict[str, Both] = {
    "together": Both("合在一起，先读提示", "together, prompts first"),
    "chunked": Both("合在一起，分块 256", "together, chunks of 256"),
    "3P1D": Both("分开，3 预填充 1 解码", "apart, 3 prefill 1 decode"),
}


# ---------------------------------------------------------------- times of single steps


@value
def prefill_ms(tokens: int = PROMPT) -> float:
    return 1e3 * COST.seconds([(0, tokens)], 1)


@value
def decode_ms(texts: int, length: int = PROMPT + ANSWER // 2) -> float:
    return 1e3 * COST.seconds([(length - 1, 1)] * texts, texts)


@value
def mixed_ms(texts: int, tokens: int = PROMPT) -> float:
    """A step that reads a prompt and gives `texts` others their next token."""
    others = [(PROMPT + ANSWER // 2 - 1, 1)] * texts
    return 1e3 * COST.seconds([(0, tokens), *others], texts + 1)


@value
def prefill_speed(tokens: int) -> float:
    """Tokens of prompts a second."""
    return tokens / COST.seconds([(0, tokens)], 1)


@value
def calibration(what: str) -> float:
    """Of the device, fitted to the published steps: ``compute_share``, ``bandwidth_share``, ``overlap``,
    ``overhead_ms``, ``mean_error``, ``largest_error``, ``n``.
    """
    fitted = fit()
    if what == "n":
        return len(fitted.errors)
    if what == "overhead_ms":
        return 1e3 * fitted.times.device.overhead
    return getattr(fitted if "error" in what else fitted.times.device, what)


@functools.cache
def fit() -> Calibration:
    return calibrate(StepTimes(OPT_13B, A100_DATA_SHEET), published_a100_steps())


# ---------------------------------------------------------------- five requests by hand

BY_HAND = {
    "arrivals": [0.0, 0.0, 1.0, 1.0, 2.0],
    "first_tokens": [0.2, 0.3, 1.3, 1.7, 2.2],
    "last_tokens": [0.5, 0.9, 1.6, 2.0, 2.2],
    "n_tokens": [11, 11, 11, 11, 1],
}


@value
def by_hand(what: str, request: int = 0) -> float:
    """``ttft`` in seconds and ``tpot`` in milliseconds of a request of the table, or the ``share`` of all that
    keep both objectives.
    """
    if what == "share":
        return slo_attainment(*BY_HAND.values(), OBJECTIVES.ttft, OBJECTIVES.tpot)
    first, last = BY_HAND["first_tokens"][request], BY_HAND["last_tokens"][request]
    if what == "ttft":
        return first - BY_HAND["arrivals"][request]
    return 1e3 * (last - first) / (BY_HAND["n_tokens"][request] - 1)


@value
def objective(what: str) -> float:
    """``ttft`` in seconds or ``tpot`` in milliseconds."""
    return OBJECTIVES.ttft if what == "ttft" else 1e3 * OBJECTIVES.tpot


@value
def cache_requests() -> float:
    """How many requests of the example find room in the cache of one device."""
    return COST.cache_tokens // (PROMPT + ANSWER)


# ---------------------------------------------------------------- a prompt comes in between

WRITERS = 16
NEWCOMER = 1.0  # seconds


@functools.lru_cache(maxsize=64)
def gaps(policy: str, prompt: int) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """16 texts are being written when a prompt arrives: (when a token comes, milliseconds since the one
    before) for those texts, and the newcomer's seconds to its first token.
    """
    writers = [Arrival(0.0, 64, 200)] * WRITERS
    newcomer = Arrival(NEWCOMER, prompt, 2)
    if policy == "apart":
        alone = simulate([newcomer], PREFILL).jobs[0]
        steps, ttft = simulate(writers, DECODE).workers[0].steps, alone.first_token - NEWCOMER
    else:
        how = {"prompts_first": prompts_first(4096), "mixed": mixed(), "chunked": chunked(128)}[policy]
        outcome = simulate([*writers, newcomer], Pool(COST, how))
        steps, ttft = outcome.workers[0].steps, outcome.jobs[-1].first_token - NEWCOMER
    ends = [step.end for step in steps if step.decode]
    xs, ys = ends[1:], [1e3 * (b - a) for a, b in itertools.pairwise(ends)]
    shown = [i for i, x in enumerate(xs) if NEWCOMER - 0.4 <= x <= NEWCOMER + 0.9]
    return tuple(xs[i] for i in shown), tuple(ys[i] for i in shown), ttft


@value
def longest_gap(policy: str, prompt: int = 1024) -> float:
    """Milliseconds."""
    return max(gaps(policy, prompt)[1])


@value
def newcomer_ms(policy: str, prompt: int = 1024) -> float:
    """Time to the first token of the prompt that comes in between."""
    return 1e3 * gaps(policy, prompt)[2]


@figure(
    title=Both("正在写的人，多久等来下一个字", "How long whoever is writing waits for the next token"),
    predict=Predict(
        Both(
            "16 个请求正在解码，每 25 毫秒左右出一个字。这时来了一个 1024 token 的提示，而且先读提示。他们最长要等多少毫秒？",
            "16 requests are decoding, a token every 25 ms or so. A prompt of 1,024 tokens arrives, and prompts go first. How many milliseconds do they wait at the longest?",
        ),
        low=0,
        high=500,
        step=5,
        unit="ms",
        answer=lambda: longest_gap("prompts_first", 1024),
        explain=lambda: Both(
            f"{longest_gap('prompts_first', 1024):.0f} 毫秒：读完整个提示的时间，再加上一步解码。16 个人一起停下来等一个人。",
            f"{longest_gap('prompts_first', 1024):.0f} ms: the whole prompt, and a step of decoding. Sixteen people stop for one.",
        ),
    ),
)
def interference(
    policy: Annotated[
        str,
        Choice(
            [
                ("prompts_first", Both("先读提示", "prompts first")),
                ("mixed", Both("混在一批", "mixed in one batch")),
                ("chunked", Both("分块，每步 128", "chunked, 128 a step")),
                ("apart", Both("在另一块卡上读", "read on another device")),
            ],
            label=Both("调度", "schedule"),
        ),
    ] = "prompts_first",
    prompt: Annotated[
        int, Slider(128, 2048, step=128, label=Both("新来的提示", "the new prompt"), unit="token")
    ] = 512,
) -> list[Lines | Text]:
    xs, ys, ttft = gaps(policy, prompt)
    return [
        Lines(
            {Both("距上一个 token", "since the token before"): (xs, ys)},
            x_label=Both("时间（秒）", "time (s)"),
            y_label=Both("间隔（毫秒）", "gap (ms)"),
            y_range=(0, 500),
            marks=[(NEWCOMER, Both("提示到达", "prompt arrives"))],
        ),
        Text(
            Both(
                f"最长的间隔 {max(ys):.0f} 毫秒；新来的人等第一个字，等了 {1e3 * ttft:.0f} 毫秒。",
                f"The longest gap is {max(ys):.0f} ms; the newcomer waits {1e3 * ttft:.0f} ms for the first token.",
            )
        ),
    ]


# ---------------------------------------------------------------- two devices for prompts


@value
def md1(rate: float, parallelism: str = "none", speedup: float = 1.6) -> float:
    """Mean milliseconds to the first token, for a prefill of 512 tokens."""
    return 1e3 * mean_ttft(rate, COST.seconds([(0, PROMPT)], 1), parallelism, speedup)  # pyright: ignore[reportArgumentType]


@value
def waiting_ms(rate: float) -> float:
    """What of it is waiting, on one device."""
    return md1(rate) - prefill_ms()


@value
def crossover(speedup: float = 1.6) -> float:
    return crossover_rate(COST.seconds([(0, PROMPT)], 1), speedup)


def linked_by(link: str) -> Device:
    """An A100 with another link to its neighbour."""
    return replace(A100, link=LINKS[link][1])


@figure(
    title=Both(
        "两块卡读提示：每个矩阵切两半，还是层分两段",
        "Two devices for prompts: halve each matrix, or the layers",
    ),
    predict=Predict(
        Both(
            "下面 K = 1.6。如果卡间的线更快，K = 1.9，两条线在每秒多少个请求时相交？",
            "Below, K = 1.6. With a faster link and K = 1.9, at how many requests a second do the lines cross?",
        ),
        low=5,
        high=20,
        step=0.5,
        answer=lambda: crossover(1.9),
        explain=lambda: Both(
            f"{crossover(1.9):.1f} 个。张量并行的损耗小了，队伍短了，流水线要到更忙的时候才占便宜；K 到了 2，就再也占不到。",
            f"At {crossover(1.9):.1f}. Tensor parallelism loses less, its line is shorter, and the pipeline only pays when it is busier; with K = 2 it never does.",
        ),
    ),
)
def two_devices(
    speedup: Annotated[
        float,
        Slider(1.1, 1.95, step=0.05, label=Both("张量并行快几倍 K", "speed-up K of tensor parallelism")),
    ] = 1.6,
    one: Annotated[bool, Toggle(label=Both("也画一块卡", "show one device too"))] = False,
) -> Lines:
    seconds = COST.seconds([(0, PROMPT)], 1)
    series = {
        Both("张量并行", "tensor parallel"): ("tensor", speedup / seconds),
        Both("流水线并行", "pipeline parallel"): ("pipeline", 2 / seconds),
    }
    if one:
        series[Both("一块卡", "one device")] = ("none", 1 / seconds)
    lines = {}
    for name, (parallelism, capacity) in series.items():
        rates = [capacity * i / 60 for i in range(60)]
        shown = [(r, md1(r, parallelism, speedup)) for r in rates if md1(r, parallelism, speedup) < 600]
        lines[name] = ([r for r, _ in shown], [ms for _, ms in shown])
    return Lines(
        lines,
        x_label=Both("每秒到达的请求", "requests a second"),
        y_label=Both("平均首 token 延迟（毫秒）", "mean time to the first token (ms)"),
        y_range=(0, 600),
        marks=[(crossover(speedup), Both("交叉", "crossover"))],
    )


# ---------------------------------------------------------------- together or apart

N_REQUESTS = 120  # for each device, but twice as many where there is only one
RATES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)  # for each device


@functools.cache
def latencies(system: str) -> tuple[tuple[tuple[float, float], ...], ...]:
    """For each of `RATES`: (TTFT, TPOT) of every request."""
    result = []
    for rate in RATES:
        jobs = served(system, rate * devices(system), N_REQUESTS * max(2, devices(system))).jobs
        result.append(tuple(zip(ttfts(jobs).tolist(), tpots(jobs).tolist(), strict=True)))
    return tuple(result)


@functools.cache
def shares(system: str, max_ttft: float, max_tpot: float) -> tuple[float, ...]:
    """The share of requests that keep both objectives, for each of `RATES`."""
    return tuple(
        sum(a <= max_ttft and b <= max_tpot for a, b in requests) / len(requests)
        for requests in latencies(system)
    )


@value
def rate_kept(system: str, max_ttft: float = 0.4, max_tpot: float = 0.04) -> float:
    """Requests a second and device up to which 90 % keep both objectives, between the simulated rates."""
    kept = shares(system, max_ttft, max_tpot)
    if kept[0] < 0.9:
        return 0.0
    for i, (before, after) in enumerate(itertools.pairwise(kept)):
        if after < 0.9:
            return RATES[i] + (before - 0.9) / (before - after) * (RATES[i + 1] - RATES[i])
    return RATES[-1]


@figure(
    title=Both(
        "每块卡多少请求，还有多少人满意", "Requests for each device, and how many of them are satisfied"
    ),
    predict=Predict(
        Both(
            "下面每 token 的目标很松：150 毫秒，合在一起和分开不相上下。收紧到 40 毫秒，分开以后每块卡的 goodput 是合在一起（先读提示）的几倍？",
            "Below, the objective of a token is loose, 150 ms, and together keeps up with apart. At 40 ms, how many times as large is the goodput of a device apart as together (prompts first)?",
        ),
        low=0,
        high=5,
        step=0.1,
        answer=lambda: rate_kept("3P1D") / rate_kept("together"),
        explain=lambda: Both(
            f"{rate_kept('3P1D') / rate_kept('together'):.1f} 倍：每块卡从每秒 {rate_kept('together'):.1f} 个到 {rate_kept('3P1D'):.1f} 个。把滑块拖到 40 看看。",
            f"{rate_kept('3P1D') / rate_kept('together'):.1f} times: from {rate_kept('together'):.1f} to {rate_kept('3P1D'):.1f} a second and device. Drag the slider to 40.",
        ),
    ),
)
def satisfied(
    max_ttft: Annotated[
        float,
        Slider(0.15, 2.0, step=0.05, label=Both("首 token 目标", "objective of the first token"), unit="s"),
    ] = 0.4,
    max_tpot: Annotated[
        int, Slider(25, 200, step=5, label=Both("每 token 目标", "objective of a token"), unit="ms")
    ] = 150,
) -> list[Lines | Table]:
    return [
        Lines(
            {
                name: (RATES, [100 * s for s in shares(system, max_ttft, max_tpot / 1e3)])
                for system, name in SYSTEMS.items()
            },
            x_label=Both("每块卡每秒的请求", "requests a second and device"),
            y_label=Both("两个目标都做到的请求（%）", "requests that keep both objectives (%)"),
            y_range=(0, 100),
        ),
        Table(
            [
                Both("系统", "system"),
                Both("每块卡的 goodput（个/秒）", "goodput a device (requests/s)"),
            ],
            [
                [name, f"{rate_kept(system, max_ttft, max_tpot / 1e3):.1f}"]
                for system, name in SYSTEMS.items()
            ],
        ),
    ]


@value
def being_written() -> float:
    """Answers under way on a device that does both, at its goodput and 30 ms a token: Little's law."""
    return rate_kept("together") * (ANSWER - 1) * 0.03


@value
def tail(system: str, rate: float, what: str) -> float:
    """P90 of ``ttft`` or ``tpot`` in milliseconds, at one of the simulated rates a device."""
    column = {"ttft": 0, "tpot": 1}[what]
    return 1e3 * percentile([r[column] for r in latencies(system)[RATES.index(rate)]], 90)


@value
def throughput(system: str, rate: float) -> float:
    """Requests that a device finishes a second while 400 arrive at `rate`."""
    jobs = served(system, rate * devices(system), 400).jobs
    return len(jobs) / max(job.last_token for job in jobs) / devices(system)


@value
def alone(what: str) -> float:
    """Goodput of one device that does only ``prefill``, or only ``decode``."""

    def traffic(rate: float) -> tuple[Arrival, ...]:
        return poisson_arrivals(rate, 250, constant(PROMPT), constant(ANSWER))

    if what == "prefill":
        return prefill_goodput(traffic, PREFILL, OBJECTIVES, highest=16)
    return decode_goodput(traffic, DECODE, OBJECTIVES, highest=64)


@value
def share_kept(system: str, rate: float) -> float:
    return shares(system, OBJECTIVES.ttft, OBJECTIVES.tpot)[RATES.index(rate)]


# ---------------------------------------------------------------- how many of each


@value
def split(prefill: float, decode: float, most: int, what: str = "rate") -> float:
    return getattr(best_split(prefill, decode, most), what)


@value
def paper_gain() -> float:
    """The paper's example: two to one against together."""
    return best_split(5.6, 10.0, 3).rate / 1.6


@figure(title=Both("几块卡读提示，几块卡解码", "How many devices read, and how many decode"))
def mixture(
    prefill: Annotated[
        float,
        Slider(1.0, 20.0, step=0.2, label=Both("一块卡只读提示", "one device, prompts only"), unit="req/s"),
    ] = 5.6,
    decode: Annotated[
        float,
        Slider(1.0, 40.0, step=0.5, label=Both("一块卡只解码", "one device, decoding only"), unit="req/s"),
    ] = 10.0,
) -> list[Heatmap | Text]:
    most = 6
    rows = [[min(n * prefill, m * decode) / (n + m) for m in range(1, most)] for n in range(1, most)]
    best = best_split(prefill, decode, 8)
    return [
        Heatmap(
            rows,
            x_labels=[str(m) for m in range(1, most)],
            y_labels=[str(n) for n in range(1, most)],
            x_label=Both("解码的卡", "devices that decode"),
            y_label=Both("读提示的卡", "devices that read"),
            show_numbers=True,
        ),
        Text(
            Both(
                f"最多 8 块卡时，最好是 {best.n_prefill} 块读、{best.n_decode} 块解码：平均每块卡每秒 {best.rate:.2f} 个请求。",
                f"With at most 8 devices the best is {best.n_prefill} that read and {best.n_decode} that decode: {best.rate:.2f} requests a second and device.",
            )
        ),
    ]


# ---------------------------------------------------------------- what has to be moved

MODELS: dict[str, tuple[Both, LlamaConfig]] = {
    "opt-13b": (Both.same("OPT-13B"), OPT_13B),
    "llama3-8b": (Both.same("Llama 3 8B"), PRESETS["llama3-8b"]),
    "llama3-70b": (Both.same("Llama 3 70B"), PRESETS["llama3-70b"]),
}
LINKS: dict[str, tuple[Both, float]] = {
    "nvlink": (Both.same("NVLink 300 GB/s"), 300e9),
    "pcie": (Both.same("PCIe 4 32 GB/s"), 32e9),
    "100g": (Both("网络 100 Gbit/s", "network 100 Gbit/s"), 12.5e9),
    "25g": (Both("网络 25 Gbit/s", "network 25 Gbit/s"), 3.125e9),
}


@value
def cache_megabytes(model: str = "opt-13b", tokens: int = PROMPT) -> float:
    return StepTimes(MODELS[model][1], A100).cache_bytes_per_token * tokens / 1e6


@value
def real_kilobytes(tokens: int) -> float:
    """Of keys and values that `teachllm serve` hands over: SmolLM2-135M's 30 layers of 3 heads of 64."""
    return kv_cache_bytes(n_layers=30, n_kv_heads=3, head_dim=64, length=tokens, bytes_per_number=2) / 1e3


@value
def transfer_ms(link: str, model: str = "opt-13b", tokens: int = PROMPT) -> float:
    return 1e9 * cache_megabytes(model, tokens) / LINKS[link][1]


@value
def link_share(link: str, rate: float) -> float:
    """How much of a link `rate` requests a second keep busy."""
    return rate * transfer_ms(link) / 1e3


@figure(
    title=Both(
        "搬缓存要多久，和读提示、解码一步比", "How long the cache takes to move, beside reading and decoding"
    ),
    predict=Predict(
        Both(
            "下面是 Llama 3 8B。换成 OPT-13B，缓存没有分组，512 个 token 走 25 Gbit/s 的网络要多少毫秒？（读这个提示约 100 毫秒）",
            "Below is Llama 3 8B. With OPT-13B, whose cache is not grouped, how many milliseconds do 512 tokens take over a network of 25 Gbit/s? (Reading that prompt takes about 100.)",
        ),
        low=0,
        high=300,
        step=1,
        unit="ms",
        answer=lambda: transfer_ms("25g"),
        explain=lambda: Both(
            f"{transfer_ms('25g'):.0f} 毫秒，比读提示还久。走 NVLink 只要 {transfer_ms('nvlink'):.1f} 毫秒。",
            f"{transfer_ms('25g'):.0f} ms, longer than reading the prompt. Over NVLink it is {transfer_ms('nvlink'):.1f} ms.",
        ),
    ),
)
def transfer(
    model: Annotated[
        str, Choice([(key, name) for key, (name, _) in MODELS.items()], label=Both("模型", "model"))
    ] = "llama3-8b",
    tokens: Annotated[
        int, Slider(128, 8192, step=128, label=Both("提示长度", "length of the prompt"), unit="token")
    ] = 512,
) -> Bars:
    cost = StepTimes(MODELS[model][1], A100, tensor_parallel=4 if model == "llama3-70b" else 1)
    labels = [
        Both("读提示", "reading the prompt"),
        *(name for name, _ in LINKS.values()),
        Both("解码一步", "one decoding step"),
    ]
    return Bars(
        labels,
        [
            1e3 * cost.seconds([(0, tokens)], 1),
            *(transfer_ms(link, model, tokens) for link in LINKS),
            1e3 * cost.seconds([(tokens, 1)], 1),
        ],
        y_label=Both("毫秒", "milliseconds"),
        note=Both(
            f"缓存 {cache_megabytes(model, tokens):,.0f} MB"
            + ("；70B 用 4 块卡" if model == "llama3-70b" else ""),
            f"{cache_megabytes(model, tokens):,.0f} MB of cache"
            + ("; 70B on 4 devices" if model == "llama3-70b" else ""),
        ),
    )


# ---------------------------------------------------------------- labs


@lab(
    title=Both("找出每种系统的 goodput", "The goodput of each system"),
    seconds=15,
    summary=Both(
        "对每种系统二分查找：每秒多少请求时，还有九成两个目标都做到。也能换成你写的函数来判定。",
        "Bisection for each system: up to how many requests a second do nine in ten keep both objectives? Can judge with your function too.",
    ),
)
def goodput_search(
    prompt: Annotated[int, Slider(128, 1024, step=128, label=Both("提示", "prompt"), unit="token")] = 512,
    answer: Annotated[int, Slider(16, 256, step=16, label=Both("回答", "answer"), unit="token")] = 64,
    max_ttft: Annotated[
        float,
        Slider(0.2, 2.0, step=0.1, label=Both("首 token 目标", "objective of the first token"), unit="s"),
    ] = 0.4,
    max_tpot: Annotated[
        int, Slider(25, 200, step=5, label=Both("每 token 目标", "objective of a token"), unit="ms")
    ] = 40,
    device: Annotated[str, Choice([("A100", "A100"), ("H100", "H100")], label=Both("卡", "device"))] = "A100",
    n: Annotated[
        int, Slider(100, 600, step=100, label=Both("每次模拟的请求", "requests a simulation"))
    ] = 300,
) -> Iterator[Event]:
    objectives = Objectives(max_ttft, max_tpot / 1e3)
    systems = ["together", "chunked", "1P1D", "2P1D", "3P1D"]
    names = {
        **SYSTEMS,
        "1P1D": Both("分开，1 和 1", "apart, 1 and 1"),
        "2P1D": Both("分开，2 和 1", "apart, 2 and 1"),
        "3P1D": Both("分开，3 和 1", "apart, 3 and 1"),
    }
    found: dict[str, float] = {}
    times = replace(COST, device={"A100": A100, "H100": H100}[device])
    steps, done = 7, 0
    for system in systems:
        low, high = 0.0, 16.0 if device == "A100" else 32.0
        for _ in range(steps):
            rate = (low + high) / 2
            jobs = served(system, rate * devices(system), n, prompt, answer, times).jobs
            share = attainment(jobs, objectives)
            low, high = (rate, high) if share >= 0.9 else (low, rate)
            done += 1
            yield Progress(done, steps * len(systems), names[system])
            yield Sample(names[system], x=rate, y=100 * share, x_label=Both("每块卡每秒的请求", "requests a second and device"), y_label=Both("达标的请求（%）", "requests in time (%)"))  # fmt: skip
        found[system] = low
        shown = list(found)
        yield Show(
            "goodput",
            Bars(
                [names[s] for s in shown],
                [found[s] for s in shown],
                y_label=Both("goodput，每块卡每秒的请求", "goodput, requests a second and device"),
                highlight=max(range(len(shown)), key=lambda i: found[shown[i]]),
            ),
        )
    together, apart = found["together"], max(found[s] for s in systems[2:])
    yield Metric(Both("合在一起", "together"), together, Both("个/秒/卡", "requests/s/device"))
    yield Metric(Both("分开，最好的", "apart, the best"), apart, Both("个/秒/卡", "requests/s/device"))
    if together:
        yield Say(
            Both(
                f"分开是合在一起（先读提示）的 {apart / together:.2f} 倍，是分块的 {apart / max(found['chunked'], 1e-9):.2f} 倍。",
                f"Apart serves {apart / together:.2f} times as many as together with prompts first, and {apart / max(found['chunked'], 1e-9):.2f} times as many as in chunks.",
            )
        )
    else:
        yield Say(
            Both("合在一起怎么也做不到这两个目标。", "Together, these objectives cannot be kept at any rate.")
        )


@lab(
    title=Both("公式和模拟器对得上吗", "Do formula and simulation agree?"),
    seconds=10,
    summary=Both(
        "同样的两块卡，一边代公式，一边模拟几千个请求。",
        "The same two devices: the formula, and thousands of simulated requests.",
    ),
)
def formula_and_simulation(
    n: Annotated[int, Slider(500, 8000, step=500, label=Both("每个点的请求", "requests a point"))] = 3000,
    link: Annotated[
        str,
        Choice(
            [("nvlink", LINKS["nvlink"][0]), ("pcie", LINKS["pcie"][0])],
            label=Both("两块卡之间", "between the devices"),
        ),
    ] = "nvlink",
) -> Iterator[Event]:
    seconds = COST.seconds([(0, PROMPT)], 1)
    device = linked_by(link)
    tensor = StepTimes(OPT_13B, device, tensor_parallel=2)
    speedup = tensor.speedup([(0, PROMPT)], 1)
    yield Metric("K", speedup)
    rows, done = [], 0
    errors = []
    for parallelism, cost, capacity in (
        ("tensor", tensor, speedup / seconds),
        ("pipeline", StepTimes(OPT_13B, device, pipeline_stages=2), 2 / seconds),
    ):
        name = {
            "tensor": Both("张量并行", "tensor parallel"),
            "pipeline": Both("流水线并行", "pipeline parallel"),
        }[parallelism]
        for load in (0.2, 0.4, 0.6, 0.8):
            rate = load * capacity
            requests = first_tokens_only(poisson_arrivals(rate, n, constant(PROMPT), constant(1), seed=1))
            simulated = 1e3 * float(ttfts(simulate(requests, Pool(cost, prompts_only(1))).jobs).mean())
            formula = md1(rate, parallelism, min(speedup, 2.0))
            errors.append(abs(simulated / formula - 1))
            rows.append(
                [name, f"{rate:.1f}", f"{formula:.0f}", f"{simulated:.0f}", f"{simulated / formula - 1:+.1%}"]
            )
            done += 1
            yield Progress(done, 8)
            yield Sample(name, x=rate, y=simulated, x_label=Both("每秒的请求", "requests a second"), y_label=Both("平均首 token 延迟（毫秒）", "mean time to the first token (ms)"))  # fmt: skip
            yield Show(
                "table",
                Table(
                    [
                        Both("两块卡", "two devices"),
                        Both("每秒的请求", "requests a second"),
                        Both("公式（毫秒）", "formula (ms)"),
                        Both("模拟（毫秒）", "simulation (ms)"),
                        Both("相差", "difference"),
                    ],
                    rows,
                ),
            )
    yield Metric(Both("平均相差", "mean difference"), 100 * sum(errors) / len(errors), "%")


@value
def tensor_speedup(link: str = "nvlink", tokens: int = PROMPT) -> float:
    """K on two devices."""
    cost = StepTimes(OPT_13B, linked_by(link), tensor_parallel=2)
    return cost.speedup([(0, tokens)], 1)


# ---------------------------------------------------------------- the real engine


@lab(
    title=Both("模拟器和真的引擎对一对", "The simulator beside the real engine"),
    seconds=30,
    summary=Both(
        "让课程的引擎跑十几种真实的步，拟合这台电脑；再用拟合出来的去预测它服务一批请求要多久。",
        "Runs more than a dozen real steps of the course's engine, fits this computer to them, then predicts how long the engine needs to serve some requests.",
    ),
)
def beside_the_engine(
    n: Annotated[int, Slider(4, 16, step=4, label=Both("服务几个请求", "requests to serve"))] = 8,
    budget: Annotated[
        int, Slider(64, 512, step=64, label=Both("每步的 token 预算", "token budget of a step"))
    ] = 128,
) -> Iterator[Event]:
    yield Progress(0, len(COMPOSITIONS) + 2, Both("读入模型", "loading the model"))
    file()  # says what to do if the model is not there
    language_model = load_language_model(CHAT_MODEL, dtype=torch.bfloat16)
    times = times_on_this_device(language_model)
    steps: list[MeasuredStep] = []
    for step in measure_engine(language_model, COMPOSITIONS, repeats=3):
        steps.append(step)
        yield Progress(len(steps), len(COMPOSITIONS) + 2, Both("测一步", "measuring a step"))
    fitted = calibrate(times, steps)
    yield Show(
        "steps",
        Table(
            [
                Both("这一步算的", "what the step computed"),
                Both("实测（毫秒）", "measured (ms)"),
                Both("拟合（毫秒）", "fitted (ms)"),
            ],
            [
                [
                    describe(step),
                    f"{1e3 * step.seconds:.1f}",
                    f"{1e3 * fitted.times.seconds(step.pieces, step.n_sampled):.1f}",
                ]
                for step in steps
            ],
        ),
    )
    device = fitted.times.device
    yield Metric(Both("算力", "arithmetic"), device.reached_peak / 1e9, "GFLOP/s")
    yield Metric(Both("带宽", "bandwidth"), device.reached_bandwidth / 1e9, "GB/s")
    yield Metric(Both("重叠", "overlap"), 100 * device.overlap, "%")
    yield Metric(Both("单独一步的平均误差", "mean error of a single step"), 100 * fitted.mean_error, "%")

    requests = [Arrival(0.0, 32 + 16 * (i % 5), 12) for i in range(n)]
    real_ends(language_model, requests, budget)  # kernels for these shapes are chosen the first time
    real = real_ends(language_model, requests, budget)
    yield Progress(len(COMPOSITIONS) + 1, len(COMPOSITIONS) + 2)
    predicted = simulate(requests, Pool(fitted.times, chunked(budget))).jobs
    yield Show(
        "served",
        Lines(
            {
                Both("真的引擎", "the engine"): (range(1, n + 1), sorted(real)),
                Both("模拟器", "the simulator"): (
                    range(1, n + 1),
                    sorted(job.last_token for job in predicted),
                ),
            },
            x_label=Both("第几个写完", "finished requests"),
            y_label=Both("秒", "seconds"),
        ),
    )
    ratio = max(job.last_token for job in predicted) / max(real)
    yield Metric(Both("整批请求的时间误差", "error of the time of all requests"), 100 * abs(ratio - 1), "%")
    yield Progress(len(COMPOSITIONS) + 2, len(COMPOSITIONS) + 2)
    yield Say(
        Both(
            f"服务完 {n} 个请求，引擎用了 {max(real):.2f} 秒，预测是它的 {ratio:.2f} 倍。电脑上别的程序越忙，差得越多。",
            f"The engine served {n} requests in {max(real):.2f} s; the prediction is {ratio:.2f} times that. The busier the computer is with other things, the worse.",
        )
    )


def describe(step: MeasuredStep) -> Both:
    prompts = [(cached, new) for cached, new in step.pieces if new > 1]
    depths = [cached for cached, new in step.pieces if new == 1]
    n = len(depths)
    zh, en = [], []
    for cached, new in prompts:
        zh.append(f"读 {new} 个 token" + (f"，前面已有 {cached} 个" if cached else ""))
        en.append(f"{new} tokens read" + (f" behind {cached}" if cached else ""))
    if n:
        zh.append(f"{n} 个请求解码，各有约 {sum(depths) // n} 个 token")
        en.append(f"{n} decoding, about {sum(depths) // n} tokens each")
    return Both("；".join(zh), "; ".join(en))


def real_ends(language_model: LanguageModel, requests: list[Arrival], budget: int) -> list[float]:
    """Seconds at which the engine ended each request, when all came at once."""
    engine = Engine(
        language_model,
        EngineConfig(max_batch_tokens=budget, max_running=len(requests), prefix_caching=False),
    )
    for request in requests:
        options = RequestOptions(max_tokens=request.output, end_tokens=frozenset())
        engine.add([7] * request.prompt, options)
    begun, ends = time.perf_counter(), []
    while engine.has_work:
        outputs = engine.step()
        ends += [time.perf_counter() - begun for output in outputs if isinstance(output, Finished)]
    return ends

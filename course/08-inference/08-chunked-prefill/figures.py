"""Figures and values of lesson 8.8: prompts in chunks, beside decoding."""

from __future__ import annotations

import functools
from typing import Annotated

from teachllm.school.figures import (
    Both,
    Choice,
    Heatmap,
    Lines,
    Predict,
    Slider,
    Text,
    figure,
    value,
)
from teachllm.stack.inference.simulation.chunking import (
    balanced_ratio,
    chunked_prefill_seconds,
    decode_slots,
    reread_positions,
)
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.metrics import percentile, ttfts
from teachllm.stack.inference.simulation.pipeline import bubble_share
from teachllm.stack.inference.simulation.policy import Policy, chunked, mixed, prompts_first
from teachllm.stack.inference.simulation.profiles import A100, A6000, OPT_13B
from teachllm.stack.inference.simulation.simulator import Pool, simulate
from teachllm.stack.inference.simulation.worker import Step
from teachllm.stack.inference.simulation.workload import Arrival, constant, lognormal, poisson_arrivals
from teachllm.stack.models.presets import PRESETS

# The paper's machine, and one that was measured step by step.
LLAMA_13B = StepTimes(PRESETS["llama2-13b"], A6000)
SERVED = StepTimes(OPT_13B, A100)
CHUNKS = (32, 64, 128, 256, 512, 1024)


# ---------------------------------------------------------------- what a chunk costs


@value
def step_ms(prompt: int, decoding: int, length: int = 1024) -> float:
    """LLaMA-13B on A6000: a step that reads `prompt` tokens while `decoding` texts get their next one."""
    pieces = [(0, prompt)] * (prompt > 0) + [(length - 1, 1)] * decoding
    return 1e3 * LLAMA_13B.seconds(pieces, len(pieces))


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
def slower(prompt: int, chunk: int) -> float:
    """How many times as long a prompt takes in chunks, nothing beside it."""
    whole = chunked_prefill_seconds(LLAMA_13B, prompt, prompt)
    return chunked_prefill_seconds(LLAMA_13B, prompt, chunk) / whole


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
            f"{slower(1024, 32):.1f} 倍。慢不在重读缓存，在于每一步都要把全部权重读一遍，而 32 个 token 填不满算力。",
            f"{slower(1024, 32):.1f} times. Not because the cache is read again: every step reads all the weights, and 32 tokens do not fill the arithmetic.",
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
            Both("读完提示", "the prompt"): (
                sizes,
                [1e3 * chunked_prefill_seconds(LLAMA_13B, prompt, size) for size in sizes],
            ),
            Both("其中一步", "one step of it"): (
                sizes,
                [1e3 * LLAMA_13B.seconds([(0, min(size, prompt))], 0) for size in sizes],
            ),
        },
        x_label=Both("每块的 token", "tokens of a chunk"),
        y_label=Both("毫秒", "milliseconds"),
        x_log=True,
    )


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


@figure(title=Both("提示和回答的比例，与快了几倍", "Prompt to answer, and how much faster"))
def where_it_pays(
    texts: Annotated[int, Slider(6, 20, step=2, label=Both("同时的请求 B", "requests at a time, B"))] = 18,
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


# ---------------------------------------------------------------- bubbles

POLICIES: dict[str, tuple[Both, Policy]] = {
    "whole": (Both("先读提示", "prompts first"), prompts_first(4096)),
    "mixed": (Both("整段混在一批", "whole prompts, mixed"), mixed()),
    "chunked": (Both("分块 256", "chunks of 256"), chunked(256)),
}


@functools.cache
def pipeline_steps(policy: str, spread: float, stages: int) -> tuple[Step, ...]:
    times = StepTimes(PRESETS["llama2-13b"], A6000, pipeline_stages=stages)
    lengths = poisson_arrivals(1, 60, lognormal(700, spread, 3000), lognormal(60, spread, 300), seed=2)
    requests = [Arrival(0.0, arrival.prompt, arrival.output) for arrival in lengths]
    pool = Pool(times, POLICIES[policy][1], max_running=18 * stages)
    return tuple(simulate(requests, pool).workers[0].steps)


@value
def bubbles(policy: str, spread: float = 0.7, stages: int = 4) -> float:
    return bubble_share(pipeline_steps(policy, spread, stages))


@figure(
    title=Both("流水线的每一段，什么时候闲着", "When each stage of a pipeline is idle"),
    predict=Predict(
        Both(
            "整段混批时，四段流水线闲着的时间占多少？",
            "With whole prompts in mixed batches, how much of their time are four stages idle?",
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
    stages: Annotated[int, Slider(2, 8, label=Both("段", "stages"))] = 4,
) -> list[Heatmap | Text]:
    steps = pipeline_steps(policy, spread, stages)
    begun, width, columns = steps[len(steps) // 4].starts[0], 2.0, 60
    rows: list[list[float | None]] = [[None] * columns for _ in range(stages)]
    for step in steps:
        for stage, start in enumerate(step.starts):
            first = int((start - begun) / width * columns)
            last = int((start + step.stage_seconds - begun) / width * columns)
            for column in range(max(0, first), min(columns, last + 1)):
                rows[stage][column] = 100 * step.prefill / (step.prefill + step.decode)
    return [
        Heatmap(
            rows,
            y_labels=[str(stage + 1) for stage in range(stages)],
            x_label=Both("时间（两秒）", "time (two seconds)"),
            y_label=Both("段", "stage"),
            domain=(0, 100),
            note=Both(
                "深浅：这一步里提示占百分之几；空白：闲着", "shade: per cent of prompt tokens; blank: idle"
            ),
        ),
        Text(
            Both(
                f"整个过程里，各段有 {100 * bubbles(policy, spread, stages):.0f}% 的时间闲着。",
                f"Over the whole run the stages are idle {100 * bubbles(policy, spread, stages):.0f}% of the time.",
            )
        ),
    ]


# ---------------------------------------------------------------- the budget of a step


@functools.cache
def felt(budget: int, rate: float, prompt: int) -> tuple[float, float, float]:
    """OPT-13B on A100: (P90 of TTFT, P90 of the longest gap, P50 of the longest gap) in milliseconds."""
    requests = poisson_arrivals(rate, 100, constant(prompt), constant(48))
    jobs = simulate(requests, Pool(SERVED, chunked(budget))).jobs
    longest = [job.longest_gap for job in jobs]
    return (
        1e3 * percentile(ttfts(jobs), 90),
        1e3 * percentile(longest, 90),
        1e3 * percentile(longest, 50),
    )


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

"""Figures, labs and values of lesson 8.5: continuous batching. The plans are those of the real scheduler."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
from teachllm.school.figures.real_model import file, model, question_ids, tokenizer
from teachllm.stack.inference.engine.blocks import BlockPool
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Finished, RequestOptions, TokenOut
from teachllm.stack.inference.engine.scheduler import Job, Plan, Scheduler
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.packed_weights import pack_for_decoding
from teachllm.stack.inference.roofline import roofline_seconds, step_cost
from teachllm.stack.inference.static_batch import static_batch_generate
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.models.loading import load_model

# Touvron et al. 2023, arXiv:2307.09288, and the published config.json.
LLAMA_2_7B = LlamaConfig(32_000, 4096, 32, 32, 32, 128, 11_008, 4096)
A100 = (312e12, 2039e9)  # operations a second in bf16, bytes a second: NVIDIA's data sheet

POLICIES = {"static": Both("静态批", "static batches"), "continuous": Both("连续批处理", "continuous")}


# ---------------------------------------------------------------- the real scheduler, without a model


@dataclass(frozen=True)
class Ask:
    """A request whose answer's length is known: only here, a scheduler never knows it."""

    name: str
    prompt: int
    output: int
    arrives: float = 0.0


@dataclass
class Played:
    """What happened: each step's plan, its length in seconds, and when each request got its tokens."""

    plans: list[Plan] = field(default_factory=list)
    shapes: list[list[tuple[str, int, int]]] = field(default_factory=list)  # (request, computed before, new)
    seconds: list[float] = field(default_factory=list)
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    preempted: int = 0

    @property
    def most(self) -> int:
        """The largest number of requests in one step."""
        return max(len(shape) for shape in self.shapes)


def seconds_of(shape: Sequence[tuple[str, int, int]]) -> float:
    """Of a step of Llama-2-7B in bf16 on an A100, by the roofline."""
    cost = step_cost(LLAMA_2_7B, [(cached, new) for _, cached, new in shape])
    return roofline_seconds(cost.flops, cost.bytes, *A100)


def play(
    asks: Sequence[Ask],
    *,
    policy: str = "continuous",
    slots: int = 8,
    budget: int = 512,
    n_blocks: int = 4096,
) -> Played:
    """Let the real scheduler plan until all are answered; only the model is left out. Static batches: nobody
    is let in before everyone of the batch is done.
    """
    scheduler = Scheduler(
        BlockPool(n_blocks, prefix_caching=False),
        EngineConfig(max_batch_tokens=max(budget, slots), max_running=slots, n_blocks=n_blocks),
    )
    by_name = {ask.name: ask for ask in asks}
    ahead = sorted(asks, key=lambda ask: ask.arrives)
    jobs: dict[str, Job] = {}
    told, clock = Played(), 0.0
    while ahead or jobs:
        if not jobs and ahead[0].arrives > clock:
            clock = ahead[0].arrives
        room = len(ahead) if policy == "continuous" else slots if not jobs else 0
        while ahead and ahead[0].arrives <= clock and room > 0:
            ask, room = ahead.pop(0), room - 1
            jobs[ask.name] = Job(ask.name, 0, 0, [0] * ask.prompt)
            scheduler.add(jobs[ask.name])
        plan = scheduler.schedule()
        shape = [(row.job.request, row.table.length, len(row.tokens)) for row in plan.rows]
        told.plans.append(plan)
        told.shapes.append(shape)
        told.seconds.append(seconds_of(shape))
        told.preempted += len(plan.preempted)
        clock += told.seconds[-1]
        for row in plan.rows:
            scheduler.pool.commit(row.table, row.tokens)
            if not row.is_last:
                continue
            name, tokens = row.job.request, row.job.branches[0].tokens
            told.first.setdefault(name, clock)
            tokens.append(0)
            if len(tokens) - len(row.job.prompt) == by_name[name].output:
                told.last[name] = clock
                scheduler.remove(jobs.pop(name))
    return told


# ---------------------------------------------------------------- who is in which slot

OUTPUTS = (2, 7, 3, 5, 1, 4, 6, 2)  # small enough to check by hand
NAMES = "ABCDEFGH"


def example(spread: float = 1.0) -> list[Ask]:
    mean = sum(OUTPUTS) / len(OUTPUTS)
    return [
        Ask(name, 3, max(1, round(mean + (n - mean) * spread)))
        for name, n in zip(NAMES, OUTPUTS, strict=True)
    ]


def occupancy(spread: float, slots: int, policy: str) -> list[list[str | None]]:
    """For each step, who is in which slot."""
    told = play(example(spread), policy=policy, slots=slots)
    places: list[str | None] = [None] * slots
    grid: list[list[str | None]] = []
    for shape in told.shapes:
        names = {name for name, _, _ in shape}
        places = [name if name in names else None for name in places]
        for name in sorted(names - set(places)):
            places[places.index(None)] = name
        grid.append(places.copy())
    return grid


@value
def steps(policy: str, spread: float = 1.0, slots: int = 4) -> int:
    return len(occupancy(spread, slots, policy))


@value
def utilization(policy: str, spread: float = 1.0, slots: int = 4) -> float:
    """The share of slots, over all steps, in which a token was written that somebody wanted."""
    grid = occupancy(spread, slots, policy)
    return sum(name is not None for row in grid for name in row) / (slots * len(grid))


@value
def slot_steps(policy: str) -> int:
    """Slots times steps: what could have been written."""
    return 4 * steps(policy)


@value
def finishes(name: str, policy: str) -> int:
    """The step after which a request of the example has all its tokens."""
    grid = occupancy(1.0, 4, policy)
    return max(step for step, row in enumerate(grid, start=1) if name in row)


@value
def total_tokens() -> int:
    return sum(OUTPUTS)


@figure(
    title=Both("每一步，谁占着哪个位子", "Who is in which slot at each step"),
    predict=Predict(
        Both(
            f"图里是静态批，{steps('static')} 步。换成连续批处理，同样的 8 个请求、4 个位子，要几步？",
            f"These are static batches, {steps('static')} steps. How many steps do the same 8 requests take in 4 slots with continuous batching?",
        ),
        low=6,
        high=16,
        step=1,
        tolerance=0.5,
        answer=lambda: steps("continuous"),
        explain=lambda: Both(
            f"{steps('continuous')} 步。{sum(OUTPUTS)} 个 token、4 个位子，至少要 8 步；最后没有人可换了，所以还空着几格。",
            f"{steps('continuous')}. {sum(OUTPUTS)} tokens in 4 slots take at least 8 steps; at the end nobody is left to come in, so some cells stay empty.",
        ),
    ),
)
def slots_over_time(
    policy: Annotated[str, Choice(list(POLICIES.items()), label=Both("调度", "scheduling"))] = "static",
    slots: Annotated[int, Slider(1, 8, label=Both("位子", "slots"))] = 4,
    spread: Annotated[
        float, Slider(0, 1, step=0.1, label=Both("长短差多少（0：一样长）", "how unequal the lengths are"))
    ] = 1.0,
) -> list[Heatmap | Text]:
    grid = occupancy(spread, slots, policy)
    used = sum(name is not None for row in grid for name in row) / (slots * len(grid))
    # A colour for each request, so that who follows whom in a slot can be seen.
    rows = [
        [None if row[slot] is None else 1 + NAMES.index(row[slot]) for row in grid] for slot in range(slots)
    ]
    lengths = Both("、".join(f"{ask.name} {ask.output}" for ask in example(spread)), ", ".join(f"{ask.name} {ask.output}" for ask in example(spread)))  # fmt: skip
    return [
        Heatmap(
            rows,
            x_labels=[str(step) for step in range(1, len(grid) + 1)],
            y_labels=[str(slot) for slot in range(1, slots + 1)],
            x_label=Both("步", "step"),
            y_label=Both("位子", "slot"),
            domain=(0, 8),
            show_numbers=True,
            note=Both("数字是第几个请求（1 是 A）；空格是没有用的位子", "numbers are requests (1 is A); an empty cell is a slot without use"),
        ),
        Text(
            Both(
                f"{len(grid)} 步，位子的 {used:.0%} 有用。答案的长度：{lengths.zh}。",
                f"{len(grid)} steps, {used:.0%} of the slots useful. Lengths of the answers: {lengths.en}.",
            )
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- one step of the plan

CROWD = (Ask("A", 9, 12), Ask("B", 4, 9), Ask("C", 30, 6), Ask("D", 6, 8), Ask("E", 18, 5))


def plan_table(budget: int, step: int) -> list[tuple[str, int, int, int]]:
    """(request, computed, wanted, gets) in order at one step; those that wait want all of theirs."""
    told = play(CROWD, budget=budget, slots=5)
    step = min(step, len(told.shapes))
    computed = {ask.name: 0 for ask in CROWD}
    written = {ask.name: 0 for ask in CROWD}
    rows: list[tuple[str, int, int, int]] = []
    for index, shape in enumerate(told.shapes[:step], start=1):
        gets = {name: new for name, _, new in shape}
        if index == step:
            rows = [
                (
                    ask.name,
                    computed[ask.name],
                    ask.prompt + written[ask.name] - computed[ask.name],
                    gets.get(ask.name, 0),
                )
                for ask in CROWD
                if written[ask.name] < ask.output
            ]
        for ask in CROWD:
            computed[ask.name] += gets.get(ask.name, 0)
            done = computed[ask.name] == ask.prompt + written[ask.name]
            written[ask.name] += int(done and ask.name in gets)
    return rows


@value
def gets(name: str, budget: int, step: int) -> int:
    return next(new for who, _, _, new in plan_table(budget, step) if who == name)


@figure(
    title=Both("一步的计划：已经算了多少，还想算多少", "The plan of a step: computed, and wanted"),
    predict=Predict(
        Both(
            "图里是第 1 步，预算 16 个 token。到了第 2 步，A、B 各想要 1 个（刚写出的那个），C 的提示还有 27 个没读。C 得到几个？",
            "This is step 1, with a budget of 16 tokens. At step 2, A and B want 1 each, the one they have just written, and 27 tokens of C's prompt are unread. How many does C get?",
        ),
        low=0,
        high=16,
        step=1,
        answer=lambda: gets("C", 16, 2),
        explain=lambda: Both(
            f"{gets('C', 16, 2)} 个。只想要一个的先拿，剩下的预算全给 C；D 和 E 这一步没有份。",
            f"{gets('C', 16, 2)}. Those who want one get it first; all that is left goes to C, and nothing to D and E.",
        ),
    ),
)
def plan_of_a_step(
    step: Annotated[int, Slider(1, 14, label=Both("第几步", "step"))] = 1,
    budget: Annotated[int, Slider(5, 72, label=Both("预算", "budget"), unit="token")] = 16,
) -> list[Table | Bars | Text]:
    rows = plan_table(budget, step)
    told = play(CROWD, budget=budget, slots=5)
    step = min(step, len(told.shapes))
    so_far = told.plans[:step]
    decode = [sum(row.is_decode for row in plan.rows) for plan in so_far]
    tokens = [sum(len(row.tokens) for row in plan.rows) for plan in so_far]
    prefill = [n - ones for n, ones in zip(tokens, decode, strict=True)]
    used = sum(new for *_, new in rows)
    return [
        Table(
            [
                Both("请求", "request"),
                Both("已算", "computed"),
                Both("还想算", "wanted"),
                Both("这一步得到", "gets in this step"),
            ],
            [list(row) for row in rows],
        ),
        Bars(
            [str(i) for i in range(1, step + 1)],
            series={Both("提示的块", "chunks of prompts"): prefill, Both("刚写出的", "just written"): decode},
            x_label=Both("步", "step"),
            y_label="token",
            y_max=float(budget),
        ),
        Text(
            Both(
                f"第 {step} 步，预算 {budget} 用掉 {used}。",
                f"Step {step}: {used} of a budget of {budget} are used.",
            )
        ),
    ]


# ---------------------------------------------------------------- which operations can be batched

ROW = (("A", range(3)), ("B", range(40, 41)), ("C", range(7, 10)))  # where each new token stands in its text


@figure(title=Both("一行 token，三个请求", "One row of tokens, three requests"))
def one_row(
    what: Annotated[
        str,
        Choice(
            [
                ("linear", Both("投影、前馈、归一化", "projections, feed-forward, norms")),
                ("attention", Both("注意力", "attention")),
            ],
            label=Both("运算", "operation"),
        ),
    ] = "linear",
) -> list[Tokens | Text]:
    one_group = what == "linear"
    tokens = [
        Token(
            f"{name}{position}",
            tone=1 if one_group else 1 + 2 * i,
            note=Both(f"{name} 的第 {position} 个位置", f"position {position} of {name}"),
        )
        for i, (name, positions) in enumerate(ROW)
        for position in positions
    ]
    n = len(tokens)
    said = (
        Both(
            f"一个矩阵乘法，{n} 行：每行只和权重有关，不管它是谁的、在第几个位置。",
            f"One matrix product of {n} rows: a row meets the weights alone, no matter whose it is and where it stands.",
        )
        if one_group
        else Both(
            "三个注意力：每段各看各的缓存，长度各不相同。算完再拼回一行。",
            "Three attentions: each part looks at its own cache, of its own length. The results become one row again.",
        )
    )
    return [Tokens([tokens], labels=[Both("这一步", "this step")]), Text(said)]


# ---------------------------------------------------------------- what a reservation costs


def burst(n: int = 40, mean: int = 40, seed: int = 3) -> list[Ask]:
    rng = random.Random(seed)
    return [Ask(f"{i}", 32, max(1, min(255, round(rng.expovariate(1 / mean))))) for i in range(n)]


@functools.lru_cache(maxsize=64)
def reserved_and_needed(max_tokens: int, mean: int) -> tuple[Played, Played]:
    n_blocks = 80
    asks = [Ask(ask.name, ask.prompt, min(ask.output, max_tokens)) for ask in burst(mean=mean)]
    reserved = max(1, n_blocks * 16 // (32 + max_tokens))
    return (
        play(asks, slots=min(reserved, len(asks)), n_blocks=n_blocks),
        play(asks, slots=len(asks), n_blocks=n_blocks),
    )


@value
def together(how: str, max_tokens: int = 256, mean: int = 40) -> int:
    """How many run at the same time at most, when memory is reserved or taken as needed."""
    return reserved_and_needed(max_tokens, mean)[0 if how == "reserved" else 1].most


@value
def steps_for_all(how: str, max_tokens: int = 256, mean: int = 40) -> int:
    return len(reserved_and_needed(max_tokens, mean)[0 if how == "reserved" else 1].shapes)


@value
def times_preempted(max_tokens: int = 256, mean: int = 40) -> int:
    """How often somebody gave its memory back, when memory is taken as needed."""
    return reserved_and_needed(max_tokens, mean)[1].preempted


GUESSES = (4, 9, 13, 22)


@figure(
    title=Both("先占满 max_tokens，还是用多少拿多少", "Reserve max_tokens, or take what is needed"),
    predict=Predict(
        Both(
            "显存放得下 1280 个 token，每个请求提示 32 个。把 max_tokens 改成 64，按最坏情况预留，同时能跑几个？",
            "Memory holds 1280 tokens, and each prompt has 32. With max_tokens at 64 and reservations for the worst case, how many can run at once?",
        ),
        choices=[Both.same(str(guess)) for guess in GUESSES],
        answer=lambda: GUESSES.index(together("reserved", max_tokens=64)),
        explain=lambda: Both(
            f"1280 ÷ (32 + 64)，{together('reserved', max_tokens=64)} 个。max_tokens 越贴近实际，预留越不亏；可是谁也不知道自己会写多长。",
            f"1280 ÷ (32 + 64) gives {together('reserved', max_tokens=64)}. The closer max_tokens is to the truth, the less is lost; but nobody knows how long an answer will be.",
        ),
    ),
)
def reservation(
    max_tokens: Annotated[int, Slider(32, 1024, step=32, label=Both("max_tokens", "max_tokens"))] = 256,
    mean: Annotated[int, Slider(8, 120, step=8, label=Both("实际平均写多少", "mean length in fact"))] = 40,
) -> list[Bars | Text]:
    reserved, needed = reserved_and_needed(max_tokens, mean)
    return [
        Bars(
            [Both("预留 max_tokens", "max_tokens reserved"), Both("用多少拿多少", "as needed")],
            [reserved.most, needed.most],
            y_label=Both("最多同时在跑的请求", "most requests running together"),
            y_max=40,
            note=Both("40 个请求同时到，显存放 1280 个 token，一块 16 个", "40 requests at once, memory for 1280 tokens in blocks of 16"),
        ),
        Text(
            Both(
                f"预留：{len(reserved.shapes)} 步做完，从不缺显存。用多少拿多少：{len(needed.shapes)} 步，其中 {needed.preempted} 次显存不够，最晚来的让出来，回头重算。",
                f"Reserved: done in {len(reserved.shapes)} steps, never out of memory. As needed: {len(needed.shapes)} steps, and {needed.preempted} times the latest had to give its memory back and compute again later.",
            )
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- under load


def stream(rate: float, n: int, seed: int = 0) -> list[Ask]:
    """Requests at random times, `rate` a second on average, with prompts and answers of many lengths."""
    rng, clock, asks = random.Random(seed), 0.0, []
    for i in range(n):
        clock += rng.expovariate(rate)
        output = min(400, max(1, round(rng.expovariate(1 / 100))))
        asks.append(Ask(f"{i}", rng.randint(32, 512), output, clock))
    return asks


RATES = (1, 4, 8, 16, 24, 32, 48)


@lab(
    title=Both("来得越来越密", "Requests come ever faster"),
    seconds=20,
    summary=Both(
        "真实的调度器排每一步，每一步的时间按 A100 上 Llama-2-7B 的 Roofline 估计。看两种调度各撑到多密。",
        "The real scheduler plans every step; a step's time is the roofline's, for Llama-2-7B on an A100. See how much load each way of scheduling bears.",
    ),
)
def under_load(
    slots: Annotated[int, Slider(4, 64, log=True, label=Both("位子", "slots"))] = 32,
    n: Annotated[int, Slider(40, 240, step=20, label=Both("请求数", "requests"))] = 120,
) -> Iterator[Event]:
    curves: dict[str, tuple[list[float], list[float]]] = {policy: ([], []) for policy in POLICIES}
    rows: list[list[object]] = []
    total = len(RATES) * len(POLICIES)
    for i, rate in enumerate(RATES):
        asks = stream(rate, n)
        tokens = sum(ask.output for ask in asks)
        for j, policy in enumerate(POLICIES):
            yield Progress(i * len(POLICIES) + j, total)
            told = play(asks, policy=policy, slots=slots)
            # As in Orca: the time from arrival to the last token, divided by the number of tokens.
            each = sorted(1e3 * (told.last[ask.name] - ask.arrives) / ask.output for ask in asks)
            to_first = sorted(told.first[ask.name] - ask.arrives for ask in asks)
            curves[policy][0].append(float(rate))
            curves[policy][1].append(each[len(each) // 2])
            span = max(told.last.values()) - asks[0].arrives
            rows.append(
                [
                    rate,
                    POLICIES[policy],
                    round(each[len(each) // 2], 1),
                    round(to_first[len(to_first) // 2], 2),
                    round(to_first[int(0.99 * len(to_first))], 2),
                    round(tokens / span),
                ]
            )
            yield Show(
                "curves",
                Lines(
                    {POLICIES[policy]: curve for policy, curve in curves.items() if curve[0]},
                    x_label=Both("每秒来几个请求", "requests a second"),
                    y_label=Both("每个 token 的延迟，中位数（毫秒）", "median latency for each token (ms)"),
                    y_log=True,
                ),
            )
    yield Progress(total, total)
    yield Show(
        "table",
        Table(
            [
                Both("请求/秒", "requests/s"),
                Both("调度", "scheduling"),
                Both("毫秒/token", "ms/token"),
                Both("TTFT 中位数（秒）", "median TTFT (s)"),
                Both("TTFT p99（秒）", "p99 TTFT (s)"),
                Both("有用的 token/秒", "useful tokens/s"),
            ],
            rows,
        ),
    )


# ---------------------------------------------------------------- the real engine

QUESTIONS = (
    "What is rain?",
    "Name a fruit.",
    "Why is the sky blue?",
    "Say hello in French.",
    "What do bees eat?",
    "Count to five.",
    "What is a poem?",
    "Where do penguins live?",
)
WANTED = (3, 24, 6, 12, 3, 8, 18, 4)  # tokens: unequal, as answers are


@functools.cache
def served() -> LanguageModel:
    """SmolLM2-135M in bfloat16, as the product runs it."""
    loaded = load_model(file().path, device="cpu", dtype=torch.bfloat16)
    pack_for_decoding(loaded)
    return LanguageModel("SmolLM2-135M", loaded, tokenizer(), None, (), frozenset())


def _warm_up(language_model: LanguageModel, prompts: list[list[int]]) -> None:
    """What is slow only once, at the first call, is not counted for either way."""
    static_batch_generate(language_model.model, prompts, max_tokens=2)
    engine = Engine(language_model, EngineConfig(n_blocks=400))
    for ids in prompts:
        engine.add(ids, RequestOptions(max_tokens=2))
    while engine.has_work:
        engine.step()


@lab(
    title=Both("同样的问题，两种做法，这台机器", "The same questions, both ways, on this machine"),
    seconds=30,
    summary=Both(
        "SmolLM2 用静态批和真实的引擎各答一遍，看总时间和有用的 token/秒。",
        "SmolLM2 answers in static batches and in the real engine; see the time and the useful tokens a second.",
    ),
)
def both_ways(
    slots: Annotated[int, Slider(2, 8, label=Both("位子", "slots"))] = 4,
    rounds: Annotated[int, Slider(1, 6, label=Both("问几轮", "rounds of questions"))] = 2,
) -> Iterator[Event]:
    language_model = served()
    prompts = [question_ids(question) for question in QUESTIONS] * rounds
    wanted = list(WANTED) * rounds
    total, done = 2 * sum(wanted), 0
    rows: list[list[object]] = []
    _warm_up(language_model, prompts[:slots])
    static_steps, began = 0, time.perf_counter()
    for start in range(0, len(prompts), slots):
        group, limits = prompts[start : start + slots], wanted[start : start + slots]
        batch = static_batch_generate(language_model.model, group, max_tokens=limits)
        static_steps += max(limits)
        done += sum(map(len, batch.answers))
        yield Progress(done, total)
    seconds = time.perf_counter() - began
    rows.append(
        [POLICIES["static"], static_steps, round(seconds, 1), round(sum(wanted) / seconds, 1), _share(sum(wanted), static_steps * slots)]
    )  # fmt: skip
    engine = Engine(language_model, EngineConfig(max_running=slots, n_blocks=400))
    for ids, limit in zip(prompts, wanted, strict=True):
        engine.add(ids, RequestOptions(max_tokens=limit))
    began, n_steps = time.perf_counter(), 0
    while engine.has_work:
        n_steps += 1
        done += sum(isinstance(output, TokenOut) for output in engine.step())
        yield Progress(done, total)
    seconds = time.perf_counter() - began
    rows.append(
        [POLICIES["continuous"], n_steps, round(seconds, 1), round(sum(wanted) / seconds, 1), _share(sum(wanted), n_steps * slots)]
    )  # fmt: skip
    yield Show(
        "table",
        Table(
            [
                Both("做法", "way"),
                Both("步", "steps"),
                Both("秒", "seconds"),
                Both("有用的 token/秒", "useful tokens/s"),
                Both("位子有用的比例", "slots in use"),
            ],
            rows,
        ),
    )
    yield Metric(Both("步数之比", "ratio of steps"), static_steps / n_steps)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}"


@lab(
    title=Both("用你的 share_budget 开引擎", "The engine on your share_budget"),
    seconds=25,
    summary=Both(
        "真实的引擎每一步都问你的函数：这一步的预算怎么分。",
        "At every step the real engine asks your function how to share the budget.",
    ),
)
def your_share_budget(
    budget: Annotated[int, Slider(8, 128, log=True, label=Both("预算", "budget"), unit="token")] = 24,
) -> Iterator[Event]:
    engine = Engine(
        LanguageModel("SmolLM2-135M", model(), tokenizer(), None, (), frozenset()),
        EngineConfig(max_batch_tokens=budget, max_running=8, n_blocks=400),
    )
    names = {
        engine.add(question_ids(question), RequestOptions(max_tokens=limit)): question
        for question, limit in zip(QUESTIONS[:5], (12, 16, 8, 12, 16), strict=True)
    }
    total, done = 64, 0
    answers = dict.fromkeys(names, "")
    bars: tuple[list[int], list[int]] = ([], [])
    for _ in range(400):
        if not engine.has_work:
            break
        for output in engine.step():
            if isinstance(output, TokenOut | Finished):
                answers[output.request] += output.text
            done += isinstance(output, TokenOut)
        record = engine.snapshot().steps[-1]
        bars[0].append(record.prefill)
        bars[1].append(record.decode)
        yield Progress(min(done, total), total)
        yield Show(
            "steps",
            Bars(
                [str(i) for i in range(1, len(bars[0]) + 1)],
                series={
                    Both("提示的块", "chunks of prompts"): list(bars[0]),
                    Both("刚写出的", "just written"): list(bars[1]),
                },
                x_label=Both("步", "step"),
                y_label="token",
            ),
        )
    yield Show(
        "answers",
        Table(
            [Both("问题", "question"), Both("回答", "answer")],
            [[question, answers[name]] for name, question in names.items()],
        ),
    )
    yield Progress(total, total)

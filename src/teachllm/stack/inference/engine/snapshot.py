"""How an engine stands, as plain values for a dashboard, a metrics page or a figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from teachllm.stack.inference.engine.blocks import BlockState
from teachllm.stack.inference.engine.scheduler import Scheduler

TextState: TypeAlias = Literal["waiting", "running", "preempted"]


@dataclass(frozen=True, slots=True)
class TextSnapshot:
    """One text that is being written. computed: tokens whose keys and values are held; wanted: tokens of
    prompt and text so far that must be; written: tokens of the text; blocks: those it reads, shared or not.
    """

    request: str
    index: int
    state: TextState
    priority: int
    prompt: int
    computed: int
    wanted: int
    written: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step computed. prefill: tokens of prompts (or of preempted texts once more); decode: tokens
    just written. copied: blocks that texts shared until one of them wrote there. seconds: the whole step;
    bookkeeping: what of it was neither the model nor the sampling.
    """

    step: int
    prefill: int
    decode: int
    running: int
    waiting: int
    preempted: int
    copied: int
    seconds: float
    bookkeeping: float


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds, of requests that ended lately: to the first token (TTFT), and between tokens (TPOT); None
    before there are any.
    """

    ttft_p50: float | None
    ttft_p95: float | None
    tpot_p50: float | None
    tpot_p95: float | None


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One process of a disaggregated server. queued_tokens: of prompts that were sent there and are not read;
    n_jobs: requests that are there or on their way; n_kept: prompts whose keys and values wait, to be pulled
    from there or to come; n_owned: blocks of its n_blocks that are not free.
    """

    name: str
    role: Literal["prefill", "decode"]
    pid: int
    is_alive: bool
    queued_tokens: int
    n_jobs: int
    n_kept: int
    n_blocks: int
    n_owned: int
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True, slots=True)
class TransferSnapshot:
    """Keys and values that went from worker to worker, since the beginning. seconds: of the last, from asking
    to having them; None before there are any.
    """

    n: int
    n_failed: int
    n_tokens: int
    n_bytes: int
    seconds_p50: float | None
    seconds_p95: float | None


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """Counters run since the engine began.

    blocks: what each is now (see `BlockPool.states`); block_size: tokens of one; steps: the last, oldest
    first; tokens_per_second: written, over those steps; cached_tokens: of prompts, found and not computed.
    workers, transfers: of a disaggregated server; one engine has none.
    """

    texts: tuple[TextSnapshot, ...]
    blocks: tuple[BlockState, ...]
    block_size: int
    steps: tuple[StepRecord, ...]
    latencies: Latencies
    tokens_per_second: float
    requests_finished: int
    requests_failed: int
    requests_cancelled: int
    tokens_written: int
    prompt_tokens: int
    cached_tokens: int
    preemptions: int
    workers: tuple[WorkerSnapshot, ...] = ()
    transfers: TransferSnapshot | None = None


def texts_of(scheduler: Scheduler) -> Iterator[TextSnapshot]:
    """Every text that is being written or waits, in order of its turn; of a search, every beam."""
    for jobs, is_running in ((scheduler.running, True), (scheduler.waiting, False)):
        for job in jobs:
            state: TextState = "running" if is_running else "preempted" if job.preempted else "waiting"
            for i, branch in enumerate(job.branches):
                yield TextSnapshot(
                    request=job.request,
                    index=job.index + i,
                    state=state,
                    priority=job.priority,
                    prompt=len(job.prompt),
                    computed=branch.computed,
                    wanted=len(branch.tokens),
                    written=len(branch.tokens) - len(job.prompt),
                    blocks=() if branch.table is None else tuple(branch.table.blocks),
                )

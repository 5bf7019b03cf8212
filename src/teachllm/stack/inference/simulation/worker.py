"""One instance of the model in the simulation: texts that wait, texts that hold memory, steps under way."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from teachllm.stack.inference.engine.request import NeverFits
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.pipeline import stage_starts
from teachllm.stack.inference.simulation.policy import Policy
from teachllm.stack.inference.simulation.workload import Arrival

BLOCK = 16  # tokens of a block of the cache, as in the engine


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way. Times are seconds since the beginning of the simulation; nan until they come.

    computed: tokens whose keys and values are held, or will be when the steps under way end; written: tokens
    of the answer; blocks: those it holds on the worker where it is; longest_gap: between two tokens.
    """

    arrival: Arrival
    computed: int = 0
    written: int = 0
    blocks: int = 0
    steps_under_way: int = 0
    preemptions: int = 0
    first_token: float = math.nan
    last_token: float = math.nan
    longest_gap: float = 0.0

    @property
    def known(self) -> int:
        return self.arrival.prompt + self.written

    @property
    def missing(self) -> int:
        return self.arrival.prompt + self.written - self.computed

    @property
    def done(self) -> bool:
        return self.written >= self.arrival.output


@dataclass(frozen=True, slots=True)
class Step:
    """A batch on its way through the stages: `starts[s]` is when stage s begins, each takes `stage_seconds`.

    prefill, decode: tokens. sampled: the jobs that get a token at its end; jobs: all that take part.
    """

    starts: tuple[float, ...]
    stage_seconds: float
    prefill: int
    decode: int
    jobs: tuple[Job, ...] = field(repr=False)
    sampled: tuple[Job, ...] = field(repr=False)

    @property
    def end(self) -> float:
        return self.starts[-1] + self.stage_seconds


class Worker:
    """Holds jobs, forms steps, keeps the books of its blocks.

    A step passes the pipeline's stages one after another; the next may follow when the first stage is free,
    and as many are under way as there are stages. `steps` records all of them.
    """

    def __init__(self, name: str, cost: StepTimes, policy: Policy, max_running: int = 256) -> None:
        self.name, self.cost, self.policy, self.max_running = name, cost, policy, max_running
        self.n_blocks = max(0, cost.cache_tokens) // BLOCK
        if self.n_blocks < 1:
            weights = cost.config.n_parameters * cost.bytes_per_weight / 1e9
            raise ValueError(
                f"{weights:.1f} GB of weights leave no room for a cache on {cost.n_devices} × "
                f"{cost.device.name}; take more devices or a smaller model"
            )
        self.free_blocks = self.n_blocks
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []  # the oldest first
        self.inbox: deque[Job] = deque()  # their prompts were computed elsewhere; no memory here yet
        self.n_promised = 0  # jobs that have memory here and are still being copied
        self.steps: list[Step] = []
        self.under_way = 0
        self._stage_free = [0.0] * cost.pipeline_stages

    # ------------------------------------------------------------ what a dispatcher asks

    @property
    def queued_tokens(self) -> int:
        """Tokens of prompts that are not computed yet."""
        return sum(j.missing for j in (*self.waiting, *self.running) if not j.written)

    @property
    def n_jobs(self) -> int:
        """Jobs that are here or on the way here."""
        return len(self.waiting) + len(self.running) + len(self.inbox) + self.n_promised

    # ------------------------------------------------------------ coming and going

    def check_fits(self, arrival: Arrival) -> None:
        """NeverFits if the request would not fit into an empty worker."""
        needed = _blocks_for(arrival.prompt + arrival.output)
        if needed > self.n_blocks:
            raise NeverFits(
                f"{arrival.prompt} + {arrival.output} tokens take {needed} blocks; {self.name} has "
                f"{self.n_blocks}"
            )

    def promise(self) -> Job | None:
        """The next job of the inbox, with memory for what was computed of it elsewhere; None if none is
        there, or there is no room. `welcome` it when its keys and values are here.
        """
        if not self.inbox or len(self.running) + self.n_promised >= self.max_running:
            return None
        needed = _blocks_for(self.inbox[0].known)
        if needed > self.free_blocks:
            return None
        job = self.inbox.popleft()
        self.free_blocks -= needed
        self.n_promised += 1
        job.blocks = needed
        return job

    def welcome(self, job: Job) -> None:
        self.n_promised -= 1
        self.running.append(job)

    def let_go(self, job: Job) -> int:
        """The job leaves, its blocks stay taken until `take_back`. Returns how many."""
        self.running.remove(job)
        blocks, job.blocks = job.blocks, 0
        return blocks

    def take_back(self, blocks: int) -> None:
        self.free_blocks += blocks

    # ------------------------------------------------------------ steps

    def launch(self, now: float) -> Step | None:
        """The next step, begun; None if nothing can be computed now."""
        if self.under_way >= len(self._stage_free) or self._stage_free[0] > now:
            return None
        # A policy that would rather read prompts plans again if there is no room for them.
        chosen = self._choose(self.waiting) or self._choose(())
        if not chosen:
            return None
        pieces, sampled, prefill, decode = [], [], 0, 0
        for job, n in chosen:
            pieces.append((job.computed, n))
            if n == 1 and job.written:
                decode += 1
            else:
                prefill += n
            job.computed += n
            job.steps_under_way += 1
            if not job.missing:
                sampled.append(job)
        each = self.cost.seconds(pieces, len(sampled)) / len(self._stage_free)
        starts = stage_starts(self._stage_free, now, each)
        self._stage_free = [start + each for start in starts]
        step = Step(tuple(starts), each, prefill, decode, tuple(j for j, _ in chosen), tuple(sampled))
        self.steps.append(step)
        self.under_way += 1
        return step

    def complete(self, step: Step) -> None:
        """The step has ended: whoever has all tokens computed gets the next, and leaves after the last."""
        self.under_way -= 1
        now = step.end
        for job in step.jobs:
            job.steps_under_way -= 1
        ended = False
        for job in step.sampled:
            job.written += 1
            if job.written == 1:
                job.first_token = now
            elif now - job.last_token > job.longest_gap:
                job.longest_gap = now - job.last_token
            job.last_token = now
            if job.written >= job.arrival.output:
                self.free_blocks += job.blocks
                job.blocks = 0
                ended = True
        if ended:
            self.running = [job for job in self.running if not job.done]

    def check_integrity(self, promised: Sequence[Job] = (), leaving_blocks: int = 0) -> None:
        """RuntimeError unless every block is free or held by exactly one job that is here."""
        held = sum(job.blocks for job in (*self.running, *promised)) + leaving_blocks
        if held + self.free_blocks != self.n_blocks or min(self.free_blocks, held) < 0:
            raise RuntimeError(f"{self.name}: {held} held + {self.free_blocks} free ≠ {self.n_blocks} blocks")

    def _choose(self, waiting: Sequence[Job]) -> list[tuple[Job, int]]:
        """What the policy gives to each, as far as there is memory for it; by the rules of the engine.

        Where memory lacks, the youngest gives up its own, which may be the job itself, and will be computed
        again from its beginning. Who waits is admitted if there is room for all that it wants, and for
        another block of each that runs: who would soon be pushed out had better wait. Nobody overtakes. With
        several stages a step takes its share of those that decode, to leave some for the other stages.
        """
        running = list(self.running)
        wanted = [job.missing for job in running]
        most_decoding = -(-len(running) // len(self._stage_free))
        if most_decoding < len(running):
            wanted = _only_first_decoding(wanted, most_decoding)
        places = max(0, self.max_running - len(running) - self.n_promised)
        candidates = list(itertools.islice(waiting, places))
        shares = self.policy.share([*wanted, *(job.missing for job in candidates)])
        chosen: list[tuple[Job, int]] = []
        preempted = False
        for job, n in zip(running, shares, strict=False):
            if not n or not job.blocks:
                continue
            unheld = job.computed + n - job.blocks * BLOCK
            needed = -(-unheld // BLOCK) if unheld > 0 else 0
            while needed > self.free_blocks and job.blocks and self._preempt_youngest(chosen):
                preempted = True
            if job.blocks and needed <= self.free_blocks:
                self.free_blocks -= needed
                job.blocks += needed
                chosen.append((job, n))
        if preempted:
            return chosen
        for job, n in zip(candidates, shares[len(running) :], strict=True):
            needed = _blocks_for(job.known)
            if not n or needed + len(self.running) > self.free_blocks:
                break
            self.waiting.popleft()
            self.running.append(job)
            self.free_blocks -= needed
            job.blocks = needed
            chosen.append((job, n))
        return chosen

    def _preempt_youngest(self, chosen: list[tuple[Job, int]]) -> bool:
        """Takes the memory of the youngest job that is not being computed; False if all are."""
        busy = {id(job) for job, _ in chosen}
        for i in range(len(self.running) - 1, -1, -1):
            victim = self.running[i]
            if not victim.steps_under_way and id(victim) not in busy:
                del self.running[i]
                self.free_blocks += victim.blocks
                victim.blocks, victim.computed = 0, 0
                victim.preemptions += 1
                self.waiting.appendleft(victim)
                return True
        return False


def _only_first_decoding(wanted: Sequence[int], most: int) -> list[int]:
    """What is wanted, without those that decode behind the first `most` of them."""
    kept, decoding = [], 0
    for n in wanted:
        decoding += n == 1
        kept.append(0 if n == 1 and decoding > most else n)
    return kept


def _blocks_for(tokens: int) -> int:
    return -(-tokens // BLOCK)

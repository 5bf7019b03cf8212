"""The clock: requests arrive, steps end, caches cross from one worker to another.

A discrete-event simulation. Nothing happens between two events, so the clock jumps from one to the next.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from teachllm.stack.inference.disaggregation.dispatch import least_loaded, shortest_queue
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.policy import Policy
from teachllm.stack.inference.simulation.worker import Job, Step, Worker
from teachllm.stack.inference.simulation.workload import Arrival

Dispatch: TypeAlias = Callable[[Sequence[Worker]], Worker]


@dataclass(frozen=True, slots=True)
class Pool:
    """`n` equal workers. max_running: jobs that one of them holds at a time."""

    cost: StepTimes
    policy: Policy
    n: int = 1
    max_running: int = 256

    @property
    def n_devices(self) -> int:
        return self.n * self.cost.n_devices


@dataclass(frozen=True, slots=True)
class Transfer:
    """A cache of `n_bytes` that was copied, from `begun` to `ended`, seconds since the beginning."""

    begun: float
    ended: float
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Jobs in the order of arrival, all done; workers with the steps they made; copied caches."""

    jobs: tuple[Job, ...]
    workers: tuple[Worker, ...]
    decode_workers: tuple[Worker, ...]
    transfers: tuple[Transfer, ...]


def simulate(
    arrivals: Sequence[Arrival],
    pool: Pool,
    decode: Pool | None = None,
    *,
    link: float = float("inf"),
    dispatch: Dispatch = shortest_queue,
    dispatch_decode: Dispatch = least_loaded,
) -> Outcome:
    """Serves all `arrivals` to their ends, first come first served on each worker.

    decode: with it, `pool` computes prompts only; a job's keys and values are then copied to a worker of
    `decode`, `link` bytes a second from each worker, one job after another. Copying begins when the receiver
    has memory; until it ends, the sender's memory is taken too (DistServe, section 4.3: the receiver pulls).
    NeverFits if a request is too large for a worker.
    """
    return _Simulation(pool, decode, link, dispatch, dispatch_decode).run(arrivals)


class _Simulation:
    def __init__(
        self, pool: Pool, decode: Pool | None, link: float, dispatch: Dispatch, dispatch_decode: Dispatch
    ) -> None:
        if not link > 0:
            raise ValueError(f"link is {link}; it must be above 0 bytes a second")
        self.workers = _workers("prefill" if decode else "worker", pool)
        self.decode_workers = _workers("decode", decode) if decode else ()
        self.link, self.dispatch, self.dispatch_decode = link, dispatch, dispatch_decode
        self.link_free = dict.fromkeys(self.workers, 0.0)
        self.origin: dict[Job, tuple[Worker, int]] = {}  # where its cache lies, in how many blocks
        self.transfers: list[Transfer] = []
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.changed: dict[
            Worker, None
        ] = {}  # they may have something to compute now; in order, without twins
        self.order = itertools.count()  # equal times: first come, first served

    def run(self, arrivals: Sequence[Arrival]) -> Outcome:
        jobs = tuple(Job(arrival) for arrival in sorted(arrivals, key=lambda arrival: arrival.time))
        for job in jobs:
            for worker in (*self.workers[:1], *self.decode_workers[:1]):
                worker.check_fits(job.arrival)
            self._at(job.arrival.time, partial(self._arrive, job))
        while self.events:
            now = self.events[0][0]
            while self.events and self.events[0][0] == now:
                heapq.heappop(self.events)[2](now)
            # Who comes at the same moment shares a step.
            changed, self.changed = self.changed, {}
            for worker in changed:
                self._launch(worker, now)
        if unfinished := sum(not job.done for job in jobs):
            raise RuntimeError(f"{unfinished} jobs never ended: this is a defect of the simulation")
        return Outcome(jobs, self.workers, self.decode_workers, tuple(self.transfers))

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (time, next(self.order), happen))

    def _arrive(self, job: Job, now: float) -> None:
        worker = self.dispatch(self.workers)
        worker.waiting.append(job)
        self.changed[worker] = None

    def _launch(self, worker: Worker, now: float) -> None:
        step = worker.launch(now)
        if step is None:
            return
        self._at(step.end, partial(self._complete, worker, step))
        if len(step.starts) > 1:
            self._at(step.starts[0] + step.stage_seconds, lambda now: self.changed.update({worker: None}))

    def _complete(self, worker: Worker, step: Step, now: float) -> None:
        worker.complete(step)
        if self.decode_workers and worker in self.link_free:
            for job in step.sampled:
                if not job.done:
                    receiver = self.dispatch_decode(self.decode_workers)
                    self.origin[job] = (worker, worker.let_go(job))
                    receiver.inbox.append(job)
                    self._pull(receiver, now)
        else:
            self._pull(worker, now)
        self.changed[worker] = None

    def _pull(self, receiver: Worker, now: float) -> None:
        """Starts copying for as many jobs of the inbox as there is memory for."""
        while job := receiver.promise():
            sender, blocks = self.origin.pop(job)
            n_bytes = job.arrival.prompt * sender.cost.cache_bytes_per_token
            begun = max(now, self.link_free[sender])
            ended = begun + n_bytes / self.link
            self.link_free[sender] = ended
            self.transfers.append(Transfer(begun, ended, n_bytes))
            self._at(ended, partial(self._copied, job, sender, blocks, receiver))

    def _copied(self, job: Job, sender: Worker, blocks: int, receiver: Worker, now: float) -> None:
        sender.take_back(blocks)
        receiver.welcome(job)
        self.changed.update({sender: None, receiver: None})


def _workers(name: str, pool: Pool) -> tuple[Worker, ...]:
    return tuple(Worker(f"{name} {i}", pool.cost, pool.policy, pool.max_running) for i in range(pool.n))

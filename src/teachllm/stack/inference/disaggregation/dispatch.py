"""To which worker a request goes: rules that the router and the simulation share.

Zhong et al. 2024, arXiv:2401.09670, section 4.3.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class HasQueue(Protocol):
    @property
    def queued_tokens(self) -> int:
        """Tokens of prompts that are not computed yet."""
        ...


class HasJobs(Protocol):
    @property
    def n_jobs(self) -> int:
        """Jobs that are here or on the way here."""
        ...


Queue = TypeVar("Queue", bound=HasQueue)
Loaded = TypeVar("Loaded", bound=HasJobs)
Worker = TypeVar("Worker")


def shortest_queue(workers: Sequence[Queue]) -> Queue:
    """Where the fewest tokens of prompts wait: for whoever waits for a first token."""
    return min(workers, key=lambda worker: worker.queued_tokens)


def least_loaded(workers: Sequence[Loaded]) -> Loaded:
    """Where the fewest jobs are: for whoever will stay for many steps."""
    return min(workers, key=lambda worker: worker.n_jobs)


def round_robin() -> Callable[[Sequence[Worker]], Worker]:
    """One after the other, whatever they have to do."""
    turn = itertools.count()
    return lambda workers: workers[next(turn) % len(workers)]

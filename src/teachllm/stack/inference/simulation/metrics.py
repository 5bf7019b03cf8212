"""What a user feels, and what an operator can promise: latencies, objectives, goodput."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from teachllm.stack.inference.simulation.worker import Job


@dataclass(frozen=True, slots=True)
class Objectives:
    """Service level objectives of a request, in seconds: to its first token, and for each token after it."""

    ttft: float
    tpot: float


def slo_attainment(
    arrivals: Sequence[float],
    first_tokens: Sequence[float],
    last_tokens: Sequence[float],
    n_tokens: Sequence[int],
    max_ttft: float,
    max_tpot: float,
) -> float:
    """The share of requests that keep both objectives, from 0 to 1. Times in seconds, one entry a request.

    TTFT, time to first token: first token − arrival, so waiting counts.
    TPOT, time per output token: (last − first token) / (n_tokens − 1), as the first belongs to TTFT; an
    answer of one token, which is the first and the last, has none and keeps that objective.
    Who is exactly in time is in time. Who never got the first or the last token, with
    infinity or nan as its time, keeps nothing.
    ValueError if there is no request, or the lists differ in length.
    """
    columns = (arrivals, first_tokens, last_tokens, n_tokens)
    if not len(arrivals) or len({len(column) for column in columns}) > 1:
        counts = ", ".join(str(len(column)) for column in columns)
        raise ValueError(
            f"{counts} arrivals, first tokens, last tokens and numbers of tokens: "
            "give one of each for every request, and at least one request"
        )
    kept = 0
    for arrival, first, last, n in zip(*columns, strict=True):
        ttft = first - arrival
        tpot = (last - first) / max(1, n - 1)
        kept += ttft <= max_ttft and tpot <= max_tpot
    return kept / len(arrivals)


def attainment(jobs: Sequence[Job], objectives: Objectives) -> float:
    """`slo_attainment` of jobs that were simulated."""
    return slo_attainment(
        [job.arrival.time for job in jobs],
        [job.first_token for job in jobs],
        [job.last_token for job in jobs],
        [job.written for job in jobs],
        objectives.ttft,
        objectives.tpot,
    )


def ttfts(jobs: Sequence[Job]) -> np.ndarray:
    """Seconds to the first token of each job."""
    return np.array([job.first_token - job.arrival.time for job in jobs])


def tpots(jobs: Sequence[Job]) -> np.ndarray:
    """Seconds a token after the first, of each job that wrote more than one."""
    return np.array([(j.last_token - j.first_token) / (j.written - 1) for j in jobs if j.written > 1])


def percentile(values: Sequence[float] | np.ndarray, percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed: somebody really waited that long.

    ValueError if there are none.
    """
    if not len(values):
        raise ValueError("there is no percentile of no values")
    return float(np.percentile(values, percent, method="inverted_cdf"))


def goodput(attainment_at: Callable[[float], float], target: float = 0.9, *, highest: float) -> float:
    """The highest rate, in requests a second, at which `target` of the requests keep their objectives.

    attainment_at: rate → share, which falls as the rate rises. highest: where to begin the search; goodput is
    below it. By bisection, to one per cent; 0 if the objectives are missed however few requests come.
    """
    low, high = 0.0, highest
    lowest = highest / 1024
    while high - low > max(0.01 * high, lowest):
        middle = (low + high) / 2
        if attainment_at(middle) >= target:
            low = middle
        else:
            high = middle
    return low

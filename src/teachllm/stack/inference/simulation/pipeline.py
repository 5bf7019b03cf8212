"""A pipeline of stages: when each begins with each batch, and how long they have nothing to do.

A stage that has to wait for the one before it has a bubble. Batches of training are alike and leave none once
the pipeline is full. Batches of texts differ: in how many tokens of prompts they read (PB1), in whether they
read any (PB2), in how long the caches are of those that decode (PB3).
Agrawal et al. 2023, arXiv:2308.16369, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence


def pipeline_starts(stage_seconds: Sequence[float], n_stages: int) -> list[list[float]]:
    """When each stage begins with each batch, in seconds from the first: [i][s] is batch i in stage s.

    Batch i takes stage_seconds[i] in each stage, and passes them in order. It enters when the first stage is
    free and batch i − n_stages has left the last: its texts need the tokens that were written there.
    ValueError if there is no stage.
    """
    if n_stages < 1:
        raise ValueError(f"n_stages is {n_stages}; it must be at least 1")
    starts: list[list[float]] = []
    free = [0.0] * n_stages
    for i, seconds in enumerate(stage_seconds):
        before = i - n_stages
        ready = starts[before][-1] + stage_seconds[before] if before >= 0 else 0.0
        starts.append(stage_starts(free, ready, seconds))
        free = [start + seconds for start in starts[-1]]
    return starts


def stage_starts(free: Sequence[float], ready: float, seconds: float) -> list[float]:
    """When each stage begins with a batch that may enter at `ready` and takes `seconds` in each of them.

    Stage s is free from free[s] on; it begins when it is free and the stage before it has ended.
    """
    starts, at = [], ready
    for stage_free in free:
        at = max(at, stage_free)
        starts.append(at)
        at += seconds
    return starts


def bubble_share(starts: Sequence[Sequence[float]], stage_seconds: Sequence[float]) -> float:
    """The share of the stages' time without work, from the first batch's beginning to the last one's end.

    starts: as in `pipeline_starts`. Filling and draining the pipeline counts too, and so does waiting for
    requests: to see what uneven batches alone cost, let all requests come at once.
    ValueError if there are no batches.
    """
    if not starts:
        raise ValueError("there are no batches, so there is no time to be shared")
    ends = [row[-1] + seconds for row, seconds in zip(starts, stage_seconds, strict=True)]
    return 1 - sum(stage_seconds) / (max(ends) - min(row[0] for row in starts))

"""Bubbles: how long the stages of a pipeline have nothing to do."""

from __future__ import annotations

from collections.abc import Sequence

from teachllm.stack.inference.simulation.worker import Step


def bubble_share(steps: Sequence[Step]) -> float:
    """The share of the stages' time, from the first step's beginning to the last one's end, without work.

    Also filling and draining the pipeline counts, and waiting for requests: to see what uneven batches alone
    cost (Agrawal et al. 2023, arXiv:2308.16369, section 3.2), let all requests come at once.
    ValueError if there are no steps.
    """
    if not steps:
        raise ValueError("there are no steps, so there is no time to be shared")
    n_stages = len(steps[0].starts)
    span = max(step.end for step in steps) - min(step.starts[0] for step in steps)
    busy = sum(step.stage_seconds for step in steps) * n_stages
    return 1 - busy / (span * n_stages)

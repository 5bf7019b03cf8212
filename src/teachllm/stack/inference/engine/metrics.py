"""What an engine has done lately and since it began."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from teachllm.stack.inference.engine.scheduler import Plan, Scheduler
from teachllm.stack.inference.engine.snapshot import Latencies, StepRecord

KEPT_STEPS = 256
KEPT_TEXTS = 1024


class Metrics:
    """Counters, the last steps, and the latencies of the last texts. Its memory does not grow."""

    def __init__(self) -> None:
        self.steps: deque[StepRecord] = deque(maxlen=KEPT_STEPS)
        self.requests_finished = self.requests_failed = self.requests_cancelled = 0
        self.tokens_written = self.prompt_tokens = self.cached_tokens = self.preemptions = 0
        self._written_by: deque[int] = deque(maxlen=KEPT_STEPS)  # each step
        self._to_first: deque[float] = deque(maxlen=KEPT_TEXTS)
        self._between: deque[float] = deque(maxlen=KEPT_TEXTS)

    def add_step(
        self, plan: Plan, scheduler: Scheduler, seconds: float, compute_seconds: float, tokens_written: int
    ) -> None:
        """compute_seconds: what of `seconds` went to the model and to choosing tokens."""
        n_tokens = sum(len(row.tokens) for row in plan.rows)
        n_decode = sum(row.is_decode for row in plan.rows)
        record = StepRecord(
            step=scheduler.step,
            prefill=n_tokens - n_decode,
            decode=n_decode,
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            preempted=len(plan.preempted),
            copied=sum(len(row.copies) for row in plan.rows),
            seconds=seconds,
            bookkeeping=seconds - compute_seconds,
        )
        self.steps.append(record)
        self._written_by.append(tokens_written)
        self.tokens_written += tokens_written
        self.preemptions += len(plan.preempted)

    def add_first_token(self, seconds: float) -> None:
        """After its request came."""
        self._to_first.append(seconds)

    def add_text(self, seconds: float, tokens: int) -> None:
        """From its first token to its last."""
        if tokens > 1:
            self._between.append(seconds / (tokens - 1))

    @property
    def tokens_per_second(self) -> float:
        seconds = sum(record.seconds for record in self.steps)
        return sum(self._written_by) / seconds if seconds > 0 else 0.0

    @property
    def latencies(self) -> Latencies:
        return Latencies(
            percentile(self._to_first, 50),
            percentile(self._to_first, 95),
            percentile(self._between, 50),
            percentile(self._between, 95),
        )


def percentile(values: Iterable[float], p: float) -> float | None:
    """The smallest value that at least p % of the values do not exceed; None without values.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 50)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)] if ordered else None

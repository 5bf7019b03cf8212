"""A request on its way from worker to worker, and what a client felt of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from teachllm.stack.inference.disaggregation.remote import RemoteWorker
from teachllm.stack.inference.engine.metrics import Metrics
from teachllm.stack.inference.engine.request import Failed, Finished, Output, RequestOptions, TokenOut, Usage


@dataclass(eq=False, slots=True)
class Journey:
    """A request that is not over. arrived: by the clock.

    prefill: who reads its prompt, or keeps it until it is pulled; decode: who writes, or will.
    cached_tokens: of its prompt, found by whoever read it; None if it was not read apart.
    """

    request: str
    prompt: tuple[int, ...]
    options: RequestOptions
    arrived: float = field(default_factory=time.perf_counter)
    prefill: RemoteWorker | None = None
    decode: RemoteWorker | None = None
    cached_tokens: int | None = None
    is_over: bool = False
    _n_ended: int = 0
    _was_cancelled: bool = False
    _first_at: dict[int, float] = field(default_factory=dict)  # of each text

    def hear(self, outputs: Iterable[Output], metrics: Metrics) -> list[Output]:
        """The outputs as they are passed on. What is measured is what a client feels, transfers included."""
        passed: list[Output] = []
        for output in outputs:
            if isinstance(output, TokenOut):
                self._note_token(output, metrics)
            elif isinstance(output, Finished):
                output = self._end_of_text(output, metrics)
            else:
                self.is_over = True
                metrics.requests_failed += 1
            passed.append(output)
        return passed

    def cancelled(self) -> list[Finished]:
        """The ends of texts of which nothing was written."""
        usage = Usage(len(self.prompt), 0)
        return [Finished(self.request, i, "cancelled", "", usage) for i in range(self.options.n)]

    def failed(self, why: str) -> Failed:
        return Failed(self.request, "engine", why)

    def _note_token(self, output: TokenOut, metrics: Metrics) -> None:
        if output.index not in self._first_at:
            now = self._first_at[output.index] = time.perf_counter()
            if output.index == 0:
                metrics.add_first_token(now - self.arrived)

    def _end_of_text(self, output: Finished, metrics: Metrics) -> Finished:
        usage = output.usage
        if self.cached_tokens is not None:  # whoever writes found all of it, since it was handed over
            usage = replace(usage, cached_tokens=self.cached_tokens)
        now = time.perf_counter()
        metrics.add_text(now - self._first_at.get(output.index, now), usage.completion_tokens)
        metrics.tokens_written += usage.completion_tokens
        self._n_ended += 1
        self._was_cancelled |= output.reason == "cancelled"
        if self._n_ended == self.options.n:
            self.is_over = True
            metrics.prompt_tokens += len(self.prompt)
            metrics.cached_tokens += usage.cached_tokens
            if self._was_cancelled:
                metrics.requests_cancelled += 1
            else:
                metrics.requests_finished += 1
        return replace(output, usage=usage)

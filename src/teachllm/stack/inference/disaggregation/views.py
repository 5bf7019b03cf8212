"""All engines of a disaggregated server as one snapshot, for a page that knows one engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from teachllm.stack.inference.disaggregation.messages import Pulled
from teachllm.stack.inference.disaggregation.remote import RemoteWorker
from teachllm.stack.inference.engine.blocks import BlockState
from teachllm.stack.inference.engine.metrics import Metrics, percentile
from teachllm.stack.inference.engine.snapshot import (
    EngineSnapshot,
    StepRecord,
    TextSnapshot,
    TransferSnapshot,
    WorkerSnapshot,
)

KEPT_PULLS = 256  # whose times are looked at


@dataclass(slots=True)
class Pulls:
    """Keys and values that were handed over since the beginning."""

    n: int = 0
    n_failed: int = 0
    n_tokens: int = 0
    n_bytes: int = 0

    def add(self, pulled: Pulled) -> None:
        self.n += 1
        self.n_tokens += pulled.n_tokens
        self.n_bytes += pulled.n_bytes

    def with_times(self, last: Iterable[Pulled]) -> TransferSnapshot:
        """last: the latest of them."""
        seconds = [pulled.seconds for pulled in last]
        return TransferSnapshot(
            self.n,
            self.n_failed,
            self.n_tokens,
            self.n_bytes,
            percentile(seconds, 50),
            percentile(seconds, 95),
        )


def snapshot_of(
    workers: Sequence[RemoteWorker], block_size: int, metrics: Metrics, transfers: TransferSnapshot
) -> EngineSnapshot:
    """Blocks of all workers in a row, and texts with the numbers that their blocks have there; the steps of
    the first worker that writes, as steps of different engines have no common count (each worker's own are in
    `workers`). metrics: of the requests as a whole.
    """
    alive = [worker for worker in workers if worker.is_alive and worker.last_seen is not None]
    texts, blocks = [], []
    for worker in alive:
        assert worker.last_seen is not None
        texts += _moved(worker.last_seen.texts, len(blocks))
        blocks += worker.last_seen.blocks
    seen = [worker.last_seen for worker in alive if worker.last_seen and worker.hello.role == "decode"]
    return EngineSnapshot(
        texts=tuple(texts),
        blocks=tuple(blocks),
        block_size=block_size,
        steps=seen[0].steps if seen else (),
        latencies=metrics.latencies,
        tokens_per_second=sum(one.tokens_per_second for one in seen),
        requests_finished=metrics.requests_finished,
        requests_failed=metrics.requests_failed,
        requests_cancelled=metrics.requests_cancelled,
        tokens_written=metrics.tokens_written,
        prompt_tokens=metrics.prompt_tokens,
        cached_tokens=metrics.cached_tokens,
        preemptions=sum(worker.last_seen.preemptions for worker in alive if worker.last_seen),
        workers=tuple(_view(worker) for worker in workers),
        transfers=transfers,
    )


def _moved(texts: Iterable[TextSnapshot], by: int) -> Iterator[TextSnapshot]:
    return (replace(text, blocks=tuple(block + by for block in text.blocks)) for text in texts)


def _view(worker: RemoteWorker) -> WorkerSnapshot:
    steps: tuple[StepRecord, ...] = ()
    blocks: tuple[BlockState, ...] = ()
    if worker.last_seen is not None:
        steps, blocks = worker.last_seen.steps, worker.last_seen.blocks
    return WorkerSnapshot(
        name=worker.hello.name,
        role=worker.hello.role,
        pid=worker.hello.pid,
        is_alive=worker.is_alive,
        queued_tokens=worker.queued_tokens,
        n_jobs=worker.n_jobs,
        n_kept=worker.n_kept,
        n_blocks=worker.hello.n_blocks,
        n_owned=sum(state in ("owned", "shared") for state in blocks) if worker.is_alive else 0,
        steps=steps,
    )

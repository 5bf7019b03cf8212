"""The router: from one request to two workers and back, behind the interface of one engine.

    submit → a prefill worker reads the prompt → Ready → a decode worker pulls and writes → answers

Every request has one owner at a time, and whatever happens to it, there is one rule: keys and values that are
lost can be computed again, words that were said cannot be taken back. So a prefill worker may die at any time
and nobody notices but by the clock; with a decode worker, what it was writing fails.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from itertools import count
from typing import TypeVar

from teachllm.stack.inference.disaggregation.dispatch import least_loaded, shortest_queue
from teachllm.stack.inference.disaggregation.journey import Journey
from teachllm.stack.inference.disaggregation.messages import (
    BadMessage,
    Cancel,
    Checked,
    Message,
    NotPulled,
    NotRead,
    Pulled,
    Read,
    Ready,
    Role,
    Said,
    Seen,
    Write,
)
from teachllm.stack.inference.disaggregation.remote import RemoteWorker, WorkerGone
from teachllm.stack.inference.disaggregation.views import KEPT_PULLS, Pulls, snapshot_of
from teachllm.stack.inference.engine.admission import Admission
from teachllm.stack.inference.engine.answers import Answer, Answers
from teachllm.stack.inference.engine.blocks import IntegrityError
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.metrics import Metrics
from teachllm.stack.inference.engine.request import Output, RequestOptions
from teachllm.stack.inference.engine.service import ServiceClosed
from teachllm.stack.inference.engine.snapshot import EngineSnapshot
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.nn.attention_choice import AttentionChoice

LOOK_SECONDS = 30.0  # the longest that a step takes

Answered = TypeVar("Answered", Seen, Checked)


class DisaggregatedService:
    """Has the interface of `EngineService`. Thread-safe.

    language_model: its tokenizer and sizes are what is needed here, not its weights. workers: at least one of
    each role, with equal blocks, else ValueError. They belong to the service now: `close` ends them.
    """

    def __init__(
        self, language_model: LanguageModel, config: EngineConfig, workers: Sequence[RemoteWorker]
    ) -> None:
        self._workers = tuple(workers)
        self._block_size = _check_workers(workers, config)
        n_blocks = min(worker.hello.n_blocks for worker in workers)
        self._admission = Admission(language_model, config, n_blocks)
        self._numbers = count(1)
        self._answers = Answers()
        self._journeys: dict[str, Journey] = {}
        self._metrics = Metrics()
        self._pulls: deque[Pulled] = deque(maxlen=KEPT_PULLS)
        self._totals = Pulls()
        self._refusal: str | None = None
        self._closing = False
        self._lock = threading.RLock()  # guards all of these, and what the workers say it guards
        for worker in self._workers:
            worker.begin(self._take, self._gone)

    def __enter__(self) -> DisaggregatedService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What callers need ---------------------------------------------------------------------------------

    def submit(
        self, prompt_ids: Sequence[int], options: RequestOptions | None = None, request_id: str | None = None
    ) -> Answer:
        """See `EngineService.submit`."""
        options = options or RequestOptions()
        self._admission.check(prompt_ids, options)
        with self._lock:
            if self._refusal is not None:
                raise ServiceClosed(self._refusal)
            request = f"request-{next(self._numbers)}" if request_id is None else request_id
            answer = self._answers.open(request, options.n, self._cancel)
            journey = Journey(request, tuple(prompt_ids), options)
            self._journeys[request] = journey
            self._send_to_read(journey)
        return answer

    @property
    def refusal(self) -> str | None:
        """Why nobody is let in any more; None while requests are taken."""
        with self._lock:
            return self._refusal

    @property
    def attention(self) -> AttentionChoice:
        """How steps of the workers attend, and why."""
        return self._workers[0].hello.blocks

    def snapshot(self) -> EngineSnapshot:
        """How all workers stand, each after the step that it is in; those that have ended, as last seen."""
        looks = [(worker, worker.look()) for worker in self._workers]
        for worker, look in looks:
            seen = _answer_of(look)
            if seen is not None:
                with self._lock:
                    worker.last_seen, worker.n_kept = seen.snapshot, seen.n_kept
        with self._lock:
            pulls = self._totals.with_times(self._pulls)
            return snapshot_of(self._workers, self._block_size, self._metrics, pulls)

    def check_integrity(self) -> None:
        """`IntegrityError` if the books of a worker that is alive are not in order, or, when no request is
        open, if blocks are owned all the same.
        """
        with self._lock:
            is_idle = not self._journeys
        problems: list[str] = []
        for worker, check in [(worker, worker.check()) for worker in self._workers]:
            checked = _answer_of(check)
            if checked is None:
                continue
            if checked.problem is not None:
                problems.append(f"{worker.hello.name}: {checked.problem}")
            if is_idle and (checked.n_kept or checked.n_free != worker.hello.n_blocks):
                n_owned = worker.hello.n_blocks - checked.n_free
                problems.append(
                    f"{worker.hello.name} owns {n_owned} blocks and keeps {checked.n_kept} prompts for nobody"
                )
        if problems:
            raise IntegrityError("; ".join(problems))

    def drain(self, timeout: float | None = None) -> bool:
        """See `EngineService.drain`."""
        with self._lock:
            self._refusal = self._refusal or "the engines are shutting down and take no new requests"
        return self._answers.wait_until_none(timeout)

    def close(self) -> None:
        """End the workers. Answers that are not complete end with a failure that says so."""
        with self._lock:
            self._closing = True
            self._refusal = self._refusal or "the engines are closed and take no new requests"
            self._journeys.clear()
        for worker in self._workers:
            worker.close()
        self._answers.fail_all("the engines were closed before this answer was complete")

    # Where a request goes ------------------------------------------------------------------------------

    def _alive(self, role: Role) -> list[RemoteWorker]:
        return [worker for worker in self._workers if worker.is_alive and worker.hello.role == role]

    # region: route
    def _send_to_read(self, journey: Journey) -> None:
        """To the prefill worker with the shortest queue, if there is a block to be handed over at all."""
        readers = self._alive("prefill")
        if not readers or len(journey.prompt) <= self._block_size:
            self._send_to_write(journey, None)
            return
        worker = shortest_queue(readers)
        journey.prefill = worker
        worker.reading[journey.request] = len(journey.prompt)
        worker.post(Read(journey.request, journey.prompt, journey.options.priority))

    def _send_to_write(self, journey: Journey, source: RemoteWorker | None) -> None:
        """To the decode worker with the fewest requests; `source` keeps the keys and values of its prompt."""
        writers = self._alive("decode")
        if not writers:
            self._fail(journey, "no worker that writes is left")
            return
        worker = least_loaded(writers)
        journey.decode = worker
        worker.writing.add(journey.request)
        port = None if source is None else source.hello.port
        worker.post(Write(journey.request, journey.prompt, journey.options, port))

    # endregion: route

    def _cancel(self, request: str) -> None:
        with self._lock:
            journey = self._journeys.get(request)
            if journey is None:
                return
            if journey.prefill is not None:
                journey.prefill.post(Cancel(request))
            if journey.decode is not None:
                journey.decode.post(Cancel(request))  # which says how far its texts have come
                return
            self._deliver(journey, journey.cancelled())

    # What workers say ----------------------------------------------------------------------------------

    def _take(self, worker: RemoteWorker, message: Message) -> None:
        with self._lock:
            match message:
                case Ready(request, cached_tokens):
                    worker.reading.pop(request, None)
                    if (journey := self._journeys.get(request)) is not None and journey.decode is None:
                        journey.cached_tokens = cached_tokens
                        self._send_to_write(journey, worker)
                case NotRead(request, reason):
                    logging.getLogger(__name__).warning("%s did not read: %s", worker.hello.name, reason)
                    worker.reading.pop(request, None)
                    if (journey := self._journeys.get(request)) is not None and journey.decode is None:
                        journey.prefill = None
                        self._send_to_write(journey, None)
                case Pulled():
                    self._pulls.append(message)
                    self._totals.add(message)
                    if (journey := self._journeys.get(message.request)) is not None:
                        journey.prefill = None  # it keeps nothing any more
                case NotPulled(request, reason):
                    logging.getLogger(__name__).warning("%s did not pull: %s", worker.hello.name, reason)
                    self._totals.n_failed += 1
                    if (journey := self._journeys.get(request)) is not None:
                        journey.cached_tokens = None
                        if journey.prefill is not None:
                            journey.prefill.post(Cancel(request))
                            journey.prefill = None
                case Said(outputs):
                    self._said(worker, outputs)
                case _:
                    raise BadMessage(f"a {type(message).__name__} came from {worker.hello.name}")

    def _said(self, worker: RemoteWorker, outputs: Iterable[Output]) -> None:
        by_request: dict[str, list[Output]] = {}
        for output in outputs:
            by_request.setdefault(output.request, []).append(output)
        for request, said in by_request.items():
            journey = self._journeys.get(request)
            if journey is not None and journey.decode is worker:
                self._deliver(journey, said)

    def _deliver(self, journey: Journey, outputs: Iterable[Output]) -> None:
        passed = journey.hear(outputs, self._metrics)
        if journey.is_over:
            self._journeys.pop(journey.request, None)
            if journey.decode is not None:
                journey.decode.writing.discard(journey.request)
            if journey.prefill is not None:
                journey.prefill.reading.pop(journey.request, None)
        self._answers.deliver(passed)

    def _fail(self, journey: Journey, why: str) -> None:
        if journey.prefill is not None:
            journey.prefill.post(Cancel(journey.request))
        self._deliver(journey, [journey.failed(why)])

    # region: gone
    def _gone(self, worker: RemoteWorker) -> None:
        """Its process has ended, or closed its connection."""
        with self._lock:
            if self._closing:
                return
            name = worker.hello.name
            logging.getLogger(__name__).error("%s (process %d) has ended", name, worker.hello.pid)
            reading, worker.reading = list(worker.reading), {}
            for request in reading:  # somebody else reads it
                if (journey := self._journeys.get(request)) is not None:
                    journey.prefill = None
                    self._send_to_read(journey)
            writing, worker.writing = list(worker.writing), set()
            for request in writing:
                if (journey := self._journeys.get(request)) is not None:
                    self._fail(journey, f"{name}, which was writing this answer, has ended")
            if not self._alive("decode"):
                self._refusal = self._refusal or "no worker that writes is left: start the server again"

    # endregion: gone


def _check_workers(workers: Sequence[RemoteWorker], config: EngineConfig) -> int:
    """Tokens of a block. ValueError if these workers cannot work together."""
    if {worker.hello.role for worker in workers} != {"prefill", "decode"}:
        raise ValueError("workers of both kinds are needed: at least one for prefill and one for decode")
    layouts = {worker.hello.layout for worker in workers}
    if len(layouts) > 1:
        raise ValueError(f"the workers cannot hand over blocks, since theirs differ: {layouts}")
    if not config.prefix_caching:
        raise ValueError("blocks are handed over by way of the prefix cache: leave prefix_caching on")
    return layouts.pop().block_size


def _answer_of(future: Future[Answered]) -> Answered | None:
    """None if the worker has ended, or does not say in time."""
    try:
        return future.result(LOOK_SECONDS)
    except (WorkerGone, TimeoutError):
        return None

"""A worker that reads prompts, and keeps their keys and values until somebody pulls them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial

from teachllm.stack.inference.disaggregation.handover import BlockCounter, Parcel
from teachllm.stack.inference.disaggregation.messages import (
    BadMessage,
    Blocks,
    Cancel,
    Message,
    NotRead,
    Pull,
    Read,
    Ready,
    digest,
)
from teachllm.stack.inference.disaggregation.transport import Connection
from teachllm.stack.inference.disaggregation.worker import Worker, layout_of
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Failed, Finished, Output, RequestOptions


class PrefillWorker(Worker):
    """For its engine a prompt is a request for one token, which is thrown away: the next tokens are chosen by
    the worker that writes, which alone needs to know how.
    """

    def __init__(self, engine: Engine, router: Connection, key: bytes) -> None:
        super().__init__(engine, router)
        self._reading: dict[str, tuple[int, ...]] = {}
        self._kept: dict[str, tuple[int, ...]] = {}  # until they are pulled
        self._lock = threading.Lock()  # guards what is kept
        self._layout = layout_of(engine)
        self._counter = BlockCounter(key, self._hand_out)

    @property
    def port(self) -> int:
        """Where blocks are handed out."""
        return self._counter.port

    @property
    def n_kept(self) -> int:
        return len(self.engine.prefixes.tables)

    def close(self) -> None:
        super().close()
        self._counter.close()

    def take(self, message: Message) -> None:
        match message:
            case Read():
                self._begin_to_read(message)
            case Cancel(request):
                self.engine.cancel(request)
                self._forget(request)
            case _:
                raise BadMessage(f"a {type(message).__name__} came to a worker that reads prompts")

    def begin(self) -> None:
        """Nothing: prompts wait in the engine's own line."""

    def _begin_to_read(self, message: Read) -> None:
        one_token = RequestOptions(max_tokens=1, end_tokens=frozenset(), priority=message.priority)
        try:
            self.engine.add(message.prompt, one_token, message.request)
        except ValueError as problem:
            self.tell(NotRead(message.request, str(problem)))
        else:
            self._reading[message.request] = message.prompt

    # region: said
    def said(self, outputs: Iterable[Output]) -> None:
        """Who is read keeps the blocks that are cached now, and says so."""
        for output in outputs:
            prompt = self._reading.get(output.request)
            if prompt is None:  # cancelled
                continue
            match output:
                case Finished():
                    # Nobody has taken a block since: the step has only just ended.
                    self.engine.prefixes.hold(output.request, prompt)
                    del self._reading[output.request]
                    with self._lock:
                        self._kept[output.request] = prompt
                    self.tell(Ready(output.request, output.usage.cached_tokens))
                case Failed(request, _, why):
                    self._forget(request)
                    self.tell(NotRead(request, why))
                case _:
                    continue

    # endregion: said

    # region: hand_out
    def _hand_out(self, pull: Pull) -> Parcel | None:
        """A copy of the blocks, which are let go then. In a thread of the counter, while the engine goes on:
        what is held is full, so nobody writes there.
        """
        if pull.first < 0 or pull.first % self._layout.block_size:
            raise BadMessage(f"no block begins at token {pull.first}")
        with self._lock:
            prompt = self._kept.pop(pull.request, None)
        if prompt is None:
            return None
        try:
            held = self.engine.prefixes.length(pull.request) or 0
            first = min(pull.first, held)
            blocks = self.engine.prefixes.read(pull.request, first)
            tokens = prompt[: max(pull.first, held)]
            return Blocks(pull.request, pull.first, held - first, digest(tokens), self._layout), blocks
        finally:
            self.do(partial(self.engine.prefixes.let_go, pull.request))

    # endregion: hand_out

    def _forget(self, request: str) -> None:
        self._reading.pop(request, None)
        with self._lock:
            is_kept = self._kept.pop(request, None) is not None
        if is_kept:  # else whoever hands it out lets it go
            self.engine.prefixes.let_go(request)

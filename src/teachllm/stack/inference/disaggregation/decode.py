"""A worker that writes: it pulls the keys and values of a prompt when it has room, and goes on from there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from teachllm.stack.inference.disaggregation.handover import BlockPuller, KVBlocks, NotHandedOver
from teachllm.stack.inference.disaggregation.messages import (
    BadMessage,
    Cancel,
    Message,
    NotPulled,
    Pulled,
    Said,
    Write,
)
from teachllm.stack.inference.disaggregation.transport import Connection
from teachllm.stack.inference.disaggregation.worker import Worker, layout_of
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.ongoing import Ongoing
from teachllm.stack.inference.engine.request import Failed, Output

PULLS = 4  # at the same time, from different workers


@dataclass(eq=False, slots=True)
class Arrival:
    """A request that is here, and whose keys and values are not. source: where they are, None for nowhere;
    is_over: cancelled while they came.
    """

    ongoing: Ongoing
    source: int | None
    is_over: bool = False


class DecodeWorker(Worker):
    """Keys and values that come are let in as a cached prefix, which the request then finds like any other.

    So if they do not come, nothing else changes: what is not found is computed. Whoever came first is let in
    first, and while one waits for room, nobody overtakes.
    """

    def __init__(self, engine: Engine, router: Connection, key: bytes) -> None:
        super().__init__(engine, router)
        self._waiting: deque[Arrival] = deque()
        self._pulling: dict[str, Arrival] = {}
        self._puller = BlockPuller(key, layout_of(engine), engine.prefixes.dtype)
        self._threads = ThreadPoolExecutor(PULLS, "pull")

    def close(self) -> None:
        super().close()
        self._puller.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def n_kept(self) -> int:
        return len(self._waiting) + len(self._pulling)

    def read(self, message: Message) -> None:
        if not isinstance(message, Write):
            super().read(message)
            return
        try:  # compiles a grammar, if there is one
            ongoing = self.engine.prepare(message.prompt, message.options, message.request)
        except ValueError as problem:
            self.tell(Said((Failed(message.request, "engine", str(problem)),)))
        else:
            self.do(partial(self._waiting.append, Arrival(ongoing, message.source)))

    def take(self, message: Message) -> None:
        if not isinstance(message, Cancel):
            raise BadMessage(f"a {type(message).__name__} came to a worker that writes")
        request = message.request
        if self.engine.cancel(request):
            return  # it says so itself
        for arrival in (*self._waiting, *self._pulling.values()):
            if arrival.ongoing.id == request and not arrival.is_over:
                arrival.is_over = True
                self.tell(Said(tuple(arrival.ongoing.cancelled())))

    def said(self, outputs: Iterable[Output]) -> None:
        if outputs := tuple(outputs):
            self.tell(Said(outputs))

    # region: begin
    def begin(self) -> None:
        """Pull for as many as there is room for, in the order in which they came."""
        while self._waiting:
            arrival = self._waiting[0]
            ongoing, source = arrival.ongoing, arrival.source
            if arrival.is_over:
                self._waiting.popleft()
            elif source is None:
                self._waiting.popleft()
                self.engine.enter(ongoing)
            elif self.engine.has_room_for(ongoing, [other.ongoing for other in self._pulling.values()]):
                self._waiting.popleft()
                first = self.engine.prefixes.hold(ongoing.id, ongoing.prompt)  # what is here already
                self._pulling[ongoing.id] = arrival
                self._threads.submit(self._pull, arrival, source, first)
            else:
                return

    # endregion: begin

    def _pull(self, arrival: Arrival, source: int, first: int) -> None:
        """In a thread of its own, while the engine goes on."""
        ongoing = arrival.ongoing
        began = time.perf_counter()
        try:
            pulled: KVBlocks | str = self._puller.pull(source, ongoing.id, first, ongoing.prompt)
        except NotHandedOver as problem:
            pulled = str(problem)
        except Exception as problem:  # not enough memory, say: the request must go on all the same
            pulled = f"{problem.__class__.__name__}: {problem}"
        seconds = time.perf_counter() - began
        self.do(partial(self._let_in, arrival, first, pulled, seconds))

    # region: let_in
    def _let_in(self, arrival: Arrival, first: int, pulled: KVBlocks | str, seconds: float) -> None:
        """What came becomes a cached prefix; then the request enters, and finds it."""
        prefixes, ongoing = self.engine.prefixes, arrival.ongoing
        del self._pulling[ongoing.id]
        message: Pulled | NotPulled
        if isinstance(pulled, str):
            message = NotPulled(ongoing.id, pulled)
        else:
            n_tokens = pulled.shape[2] * pulled.shape[3]
            message = Pulled(ongoing.id, n_tokens, pulled.nbytes, seconds)
            tokens = ongoing.prompt[first : first + n_tokens]
            if not arrival.is_over and not prefixes.write(ongoing.id, tokens, pulled):
                message = NotPulled(ongoing.id, "there were no blocks left for them when they came")
        prefixes.let_go(ongoing.id)
        if not arrival.is_over:
            self.engine.enter(ongoing)
        elif isinstance(message, NotPulled):
            return  # nobody waits for it any more
        self.tell(message)

    # endregion: let_in

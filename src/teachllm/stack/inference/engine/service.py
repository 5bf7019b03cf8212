"""The engine in a thread of its own: requests come from threads and event loops, answers go back to them.

Memory stays bounded without making anyone wait: an answer holds what its reader has not read yet, which is a
few hundred bytes a token and at most its `max_tokens`. So a slow reader slows nobody down, and whoever lets
requests in bounds how many answers there are.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.ongoing import Ongoing
from teachllm.stack.inference.engine.request import Failed, Finished, Output, RequestOptions
from teachllm.stack.inference.engine.snapshot import EngineSnapshot


class ServiceClosed(RuntimeError):
    """The service takes no more requests: it is draining or closed, or its engine has failed."""


@dataclass(frozen=True, slots=True)
class Enter:
    ongoing: Ongoing


@dataclass(frozen=True, slots=True)
class Cancel:
    request: str


@dataclass(frozen=True, slots=True)
class Look:
    seen: Future[EngineSnapshot]


Command: TypeAlias = Enter | Cancel | Look
Waiter: TypeAlias = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


class EngineService:
    """Steps the engine while there is work, and sleeps while there is none. Thread-safe.

    The thread starts at once; `close`, or leaving the `with` block, ends it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answers: dict[str, Answer] = {}
        self._inbox: deque[Command] = deque()
        self._changed = threading.Condition()  # guards all of these
        self._refusal: str | None = None  # why nobody is let in any more
        self._closing = self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def __enter__(self) -> EngineService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self, prompt_ids: Sequence[int], options: RequestOptions | None = None, request_id: str | None = None
    ) -> Answer:
        """The answer, which comes piece by piece. What can be refused is refused here: see `Engine.add`.

        A grammar is compiled here too, which may take a second. ServiceClosed if nobody is let in any more.
        """
        ongoing = self._engine.prepare(prompt_ids, options, request_id)
        answer = Answer(ongoing.id, ongoing.options.n, self._cancel)
        with self._changed:
            if self._refusal is not None:
                raise ServiceClosed(self._refusal)
            if ongoing.id in self._answers:
                raise ValueError(f"a request with the id {ongoing.id!r} is being answered; give another id")
            self._answers[ongoing.id] = answer
            self._tell(Enter(ongoing))
        return answer

    @property
    def refusal(self) -> str | None:
        """Why nobody is let in any more; None while requests are taken."""
        with self._changed:
            return self._refusal

    def snapshot(self) -> EngineSnapshot:
        """How the engine stands after the step that it is in. Waits for that; in an event loop, call it from
        a thread.
        """
        look = Look(Future())
        with self._changed:
            if self._has_ended:
                return self._engine.snapshot()
            self._tell(look)
        return look.seen.result()

    def drain(self, timeout: float | None = None) -> bool:
        """Let nobody in any more, and wait until all answers are complete; False if `timeout` seconds did not
        suffice.
        """
        with self._changed:
            self._refusal = self._refusal or "the engine is shutting down and takes no new requests"
            return self._changed.wait_for(lambda: not self._answers, timeout)

    def close(self) -> None:
        """End the thread after its step. Answers that are not complete end with a failure that says so."""
        with self._changed:
            self._refusal = self._refusal or "the engine is closed and takes no new requests"
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _cancel(self, request_id: str) -> None:
        with self._changed:
            if request_id in self._answers:
                self._tell(Cancel(request_id))

    def _tell(self, command: Command) -> None:
        self._inbox.append(command)
        self._changed.notify_all()

    # In the engine's thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        why = "the engine was closed before this answer was complete"
        try:
            while self._next_commands():
                if self._engine.has_work:
                    self._deliver(self._engine.step())
        except BaseException as problem:  # whatever it is, nobody may wait for ever
            why = f"the engine failed and has stopped: {problem.__class__.__name__}: {problem}"
            logging.getLogger(__name__).exception("the engine failed and has stopped")
        self._end(why)

    def _next_commands(self) -> bool:
        """Do what was told, after waiting for it if there is nothing else to do; False to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self._closing or self._engine.has_work)
            while self._inbox:
                match self._inbox.popleft():
                    case Enter(ongoing):
                        self._engine.enter(ongoing)
                    case Cancel(request):
                        self._engine.cancel(request)
                    case Look(seen):
                        seen.set_result(self._engine.snapshot())
            return not self._closing

    def _deliver(self, outputs: Iterable[Output]) -> None:
        """Each output to its answer, and each event loop that waits is woken once."""
        by_request: dict[str, list[Output]] = defaultdict(list)
        for output in outputs:
            by_request[output.request].append(output)
        waiters: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
        with self._changed:
            answers = {request: self._answers[request] for request in by_request}
        for request, answer in answers.items():
            waiter = answer.deliver(by_request[request])
            if waiter is not None:
                waiters[waiter[0]].append(waiter[1])
            if answer.is_complete:
                with self._changed:
                    del self._answers[request]
                    self._changed.notify_all()
        for loop, futures in waiters.items():
            try:
                loop.call_soon_threadsafe(_wake, futures)
            except RuntimeError:  # the loop has closed, and its readers with it
                continue

    def _end(self, why: str) -> None:
        with self._changed:
            self._has_ended = True
            self._refusal = self._refusal or why
            unfinished = list(self._answers)
            for command in self._inbox:
                if isinstance(command, Look):
                    command.seen.set_exception(ServiceClosed(why))
            self._inbox.clear()
        self._deliver([Failed(request, "engine", why) for request in unfinished])


class Answer:
    """What the engine says to one request: iterate over it with `for` in a thread or `async for` in an event
    loop, in one place. It ends after all texts have, or after a `Failed`.
    """

    def __init__(self, request: str, n_texts: int, cancel: Callable[[str], None]) -> None:
        self.request = request
        self._n_open = n_texts
        self._cancel = cancel
        self._unread: deque[Output] = deque()
        self._changed = threading.Condition()
        self._waiter: Waiter | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the engine has said all. Some of it may not be read yet."""
        return self._n_open == 0

    def cancel(self) -> None:
        """The engine stops and frees its memory; the texts end as "cancelled". Nothing if it is complete."""
        self._cancel(self.request)

    def deliver(self, outputs: Sequence[Output]) -> Waiter | None:
        """Add what the engine says; a reader in an event loop, if one waits, is for the caller to wake."""
        with self._changed:
            self._unread.extend(outputs)
            for output in outputs:
                if isinstance(output, Failed):
                    self._n_open = 0
                elif isinstance(output, Finished):
                    self._n_open -= 1
            self._changed.notify_all()
            waiter, self._waiter = self._waiter, None
            return waiter

    def __iter__(self) -> Answer:
        return self

    def __next__(self) -> Output:
        with self._changed:
            self._changed.wait_for(lambda: self._unread or self.is_complete)
            if not self._unread:
                raise StopIteration
            return self._unread.popleft()

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Output:
        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                if self._unread:
                    return self._unread.popleft()
                if self.is_complete:
                    raise StopAsyncIteration
                future: asyncio.Future[None] = loop.create_future()
                self._waiter = loop, future
            await future


def _wake(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():  # cancelled, while it waited to be woken
            future.set_result(None)

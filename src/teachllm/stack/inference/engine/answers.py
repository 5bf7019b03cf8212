"""Answers that come piece by piece, from whoever computes them to threads and event loops that read them.

Memory stays bounded without making anyone wait: an answer holds what its reader has not read yet, which is a
few hundred bytes a token and at most its `max_tokens`. So a slow reader slows nobody down, and whoever lets
requests in bounds how many answers there are.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from teachllm.stack.inference.engine.request import Failed, Finished, Output

Waiter: TypeAlias = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


class Answers:
    """The answers that are not complete, by the ids of their requests. Thread-safe."""

    def __init__(self) -> None:
        self._open: dict[str, Answer] = {}
        self._changed = threading.Condition()

    def __contains__(self, request: str) -> bool:
        with self._changed:
            return request in self._open

    def open(self, request: str, n_texts: int, cancel: Callable[[str], None]) -> Answer:
        """A new answer. ValueError if another of this id is not complete."""
        with self._changed:
            if request in self._open:
                raise ValueError(f"a request with the id {request!r} is being answered; give another id")
            answer = self._open[request] = Answer(request, n_texts, cancel)
            return answer

    def deliver(self, outputs: Iterable[Output]) -> None:
        """Each output to its answer, and each event loop that waits is woken once."""
        by_request: dict[str, list[Output]] = defaultdict(list)
        for output in outputs:
            by_request[output.request].append(output)
        waiters: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
        with self._changed:
            answers = {request: self._open[request] for request in by_request}
        for request, answer in answers.items():
            waiter = answer.deliver(by_request[request])
            if waiter is not None:
                waiters[waiter[0]].append(waiter[1])
            if answer.is_complete:
                with self._changed:
                    del self._open[request]
                    self._changed.notify_all()
        for loop, futures in waiters.items():
            try:
                loop.call_soon_threadsafe(_wake, futures)
            except RuntimeError:  # the loop has closed, and its readers with it
                continue

    def fail_all(self, why: str) -> None:
        """Nobody will complete what is open."""
        with self._changed:
            unfinished = list(self._open)
        self.deliver([Failed(request, "engine", why) for request in unfinished])

    def wait_until_none(self, timeout: float | None = None) -> bool:
        """Whether all are complete within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout)


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

"""A worker as its router knows it: a connection, what was sent there, and whether it is still alive."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from teachllm.stack.inference.disaggregation.messages import (
    BadMessage,
    CannotStart,
    Check,
    Checked,
    Hello,
    Look,
    Message,
    Seen,
)
from teachllm.stack.inference.disaggregation.transport import Connection, admit, listen
from teachllm.stack.inference.engine.snapshot import EngineSnapshot


class WorkerGone(ConnectionError):
    """The worker has ended, or cannot be reached any more."""


class RemoteWorker:
    """reading: requests that read their prompt there → its tokens; writing: those that write there, or will.
    last_seen: how its engine stood when somebody looked.

    The router guards these, and `is_alive`, by its own lock. Sending never waits: a thread does it.
    """

    def __init__(self, connection: Connection, hello: Hello) -> None:
        self.hello = hello
        self.is_alive = True
        self.reading: dict[str, int] = {}
        self.writing: set[str] = set()
        self.last_seen: EngineSnapshot | None = None
        self.n_kept = 0
        self._connection = connection
        self._outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._asked: deque[Future[Seen] | Future[Checked]] = deque()
        self._asking = threading.Lock()

    @property
    def queued_tokens(self) -> int:
        """Tokens of prompts that are not computed yet."""
        return sum(self.reading.values())

    @property
    def n_jobs(self) -> int:
        """Requests that are here or on the way here."""
        return len(self.reading) + len(self.writing)

    def begin(
        self, take: Callable[[RemoteWorker, Message], None], gone: Callable[[RemoteWorker], None]
    ) -> None:
        """From now on `take` gets what the worker says, and `gone` is called when it ends; in a thread."""
        name = self.hello.name
        threading.Thread(target=self._send, name=f"to {name}", daemon=True).start()
        threading.Thread(target=self._receive, args=(take, gone), name=f"from {name}", daemon=True).start()

    def post(self, message: Message) -> None:
        """Goes there, in the order of posting, unless the worker has ended."""
        self._outbox.put(message)

    def look(self) -> Future[Seen]:
        """How it stands after its step. `WorkerGone` if it ends before it says so."""
        seen: Future[Seen] = Future()
        self._ask(Look(), seen)
        return seen

    def check(self) -> Future[Checked]:
        """Whether its books are in order. `WorkerGone` if it ends before it says so."""
        checked: Future[Checked] = Future()
        self._ask(Check(), checked)
        return checked

    def close(self) -> None:
        """The worker notices, and ends."""
        self._outbox.put(None)
        self._connection.close()

    def _ask(self, question: Look | Check, answer: Future[Seen] | Future[Checked]) -> None:
        with self._asking:
            if not self.is_alive:
                answer.set_exception(WorkerGone(f"{self.hello.name} has ended"))
                return
            self._asked.append(answer)  # it answers in this order
            self.post(question)

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # whoever receives finds out that it has gone
            while (message := self._outbox.get()) is not None:
                self._connection.send(message)

    def _receive(
        self, take: Callable[[RemoteWorker, Message], None], gone: Callable[[RemoteWorker], None]
    ) -> None:
        try:
            while True:
                message = self._connection.receive_message()
                if isinstance(message, Seen | Checked):
                    with self._asking:
                        answer = self._asked.popleft()
                    answer.set_result(message)  # pyright: ignore[reportArgumentType]
                else:
                    take(self, message)
        except (OSError, BadMessage):
            pass
        finally:
            with self._asking:
                self.is_alive = False
                asked, self._asked = self._asked, deque()
            self.close()
            for answer in asked:
                answer.set_exception(WorkerGone(f"{self.hello.name} has ended"))
            gone(self)


class Door:
    """Where workers come in: those with the key, which say hello."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._listener = listen()
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def wait_for(self, n: int, seconds: float, still_alive: Callable[[], None]) -> list[RemoteWorker]:
        """`n` workers, in the order of their names. TimeoutError; ValueError if one says it cannot start.

        still_alive: called now and then; raises if waiting has become pointless.
        """
        self._listener.settimeout(0.2)
        end = time.monotonic() + seconds
        workers: list[RemoteWorker] = []
        try:
            while len(workers) < n:
                try:
                    connected, _ = self._listener.accept()
                except TimeoutError:  # nobody knocks: is it worth waiting?
                    still_alive()
                    if time.monotonic() > end:
                        raise TimeoutError(
                            f"{len(workers)} of {n} workers were ready after {seconds:g} s"
                        ) from None
                    continue
                with contextlib.suppress(OSError, BadMessage):  # a stranger
                    workers.append(_introduced(connected, self._key))
        except BaseException:
            for worker in workers:
                worker.close()
            raise
        return sorted(workers, key=lambda worker: worker.hello.name)


def _introduced(connected: socket.socket, key: bytes) -> RemoteWorker:
    connected.setblocking(True)
    connection = admit(connected, key)
    try:
        match connection.receive_message():
            case Hello() as hello:
                return RemoteWorker(connection, hello)
            case CannotStart(name, message):
                raise ValueError(f"{name} cannot start: {message}")
            case other:
                raise BadMessage(f"a {type(other).__name__} came from a worker before its Hello")
    except BaseException:
        connection.close()
        raise

"""The engine in a thread of its own: requests come from threads and event loops, answers go back to them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from teachllm.stack.inference.engine.answers import Answer, Answers
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.ongoing import Ongoing
from teachllm.stack.inference.engine.request import RequestOptions
from teachllm.stack.inference.engine.snapshot import EngineSnapshot
from teachllm.stack.nn.attention_choice import AttentionChoice


class ServiceClosed(RuntimeError):
    """The service takes no more requests: it is draining or closed, or its engine has failed."""


class Service(Protocol):
    """What a server asks of an engine, or of several in processes of their own. See `EngineService`."""

    def submit(
        self, prompt_ids: Sequence[int], options: RequestOptions | None = None, request_id: str | None = None
    ) -> Answer: ...

    @property
    def refusal(self) -> str | None: ...

    @property
    def attention(self) -> AttentionChoice: ...

    def snapshot(self) -> EngineSnapshot: ...

    def drain(self, timeout: float | None = None) -> bool: ...

    def close(self) -> None: ...


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


class EngineService:
    """Steps the engine while there is work, and sleeps while there is none. Thread-safe.

    The thread starts at once; `close`, or leaving the `with` block, ends it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answers = Answers()
        self._inbox: deque[Command] = deque()
        self._changed = threading.Condition()  # guards all that follows, and the inbox
        self._refusal: str | None = None  # why nobody is let in any more
        self._closing = self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def attention(self) -> AttentionChoice:
        """How steps attend, and why."""
        return self._engine.attention

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
        with self._changed:
            if self._refusal is not None:
                raise ServiceClosed(self._refusal)
            answer = self._answers.open(ongoing.id, ongoing.options.n, self._cancel)
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
        return self._answers.wait_until_none(timeout)

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
                    self._answers.deliver(self._engine.step())
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

    def _end(self, why: str) -> None:
        with self._changed:
            self._has_ended = True
            self._refusal = self._refusal or why
            for command in self._inbox:
                if isinstance(command, Look):
                    command.seen.set_exception(ServiceClosed(why))
            self._inbox.clear()
        self._answers.fail_all(why)

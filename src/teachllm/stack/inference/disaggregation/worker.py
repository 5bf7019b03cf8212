"""A worker: an engine and whoever tells it what to do, between one step and the next."""

from __future__ import annotations

import contextlib
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial

from teachllm.stack.inference.disaggregation.messages import (
    BadMessage,
    Check,
    Checked,
    KVLayout,
    Look,
    Message,
    Seen,
)
from teachllm.stack.inference.disaggregation.transport import Connection
from teachllm.stack.inference.engine.blocks import IntegrityError
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Output


class Worker(ABC):
    """Steps its engine while there is work, and sleeps while there is none, until the router goes.

    Only the thread that is in `run` touches the engine. Others leave it something to `do`.
    """

    def __init__(self, engine: Engine, router: Connection) -> None:
        self.engine, self.router = engine, router
        self._to_do: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    # region: run
    def run(self) -> None:
        """Returns when the router has closed its connection."""
        threading.Thread(target=self._listen, name="router", daemon=True).start()
        try:
            while self._do_what_is_to_do():
                if self.engine.has_work:
                    self.said(self.engine.step())
        finally:
            self.close()

    def _do_what_is_to_do(self) -> bool:
        """False at the end. Waits for something if there is nothing to compute, or no room for it."""
        self.begin()
        if not self.engine.has_work or self.engine.is_stalled:
            doing = [self._to_do.get()]
        else:
            doing = []
        with contextlib.suppress(queue.Empty):
            while True:
                doing.append(self._to_do.get_nowait())
        for do in doing:
            if do is None:
                return False
            do()
        self.begin()
        return True

    # endregion: run

    def do(self, what: Callable[[], None]) -> None:
        """Have `what` done between two steps. Any thread may call this."""
        self._to_do.put(what)

    def tell(self, message: Message) -> None:
        """Say it to the router; if it has gone, the end has come. Any thread may call this."""
        try:
            self.router.send(message)
        except OSError:
            self._to_do.put(None)

    def read(self, message: Message) -> None:
        """A message of the router, in the thread that listens to it: what takes long and needs no engine is
        done here.
        """
        self.do(partial(self.take, message))

    @abstractmethod
    def take(self, message: Message) -> None:
        """Do what the router says. `BadMessage` for what is not for this kind of worker."""

    @abstractmethod
    def begin(self) -> None:
        """Before a step: let in whatever waits for room, and has it now."""

    @abstractmethod
    def said(self, outputs: Iterable[Output]) -> None:
        """What a step wrote."""

    def close(self) -> None:
        """No connection stays open."""
        self.router.close()

    @property
    @abstractmethod
    def n_kept(self) -> int:
        """Prompts of which something is held that is no text's."""

    def _listen(self) -> None:
        try:
            while True:
                message = self.router.receive_message()
                if isinstance(message, Look):
                    self.do(lambda: self.tell(Seen(self.engine.snapshot(), self.n_kept)))
                elif isinstance(message, Check):
                    self.do(lambda: self.tell(self._checked()))
                else:
                    self.read(message)
        except (OSError, BadMessage):
            self._to_do.put(None)

    def _checked(self) -> Checked:
        problem = None
        try:
            self.engine.check_integrity()
        except IntegrityError as found:
            problem = str(found)
        owned = [state in ("owned", "shared") for state in self.engine.snapshot().blocks]
        return Checked(problem, owned.count(False), self.n_kept)


def layout_of(engine: Engine) -> KVLayout:
    """What the blocks of this engine are."""
    n_layers, _, _, block_size, n_kv_heads, head_dim = engine.prefixes.shape
    return KVLayout(
        n_layers, block_size, n_kv_heads, head_dim, str(engine.prefixes.dtype).removeprefix("torch.")
    )
